"""``textok evaluate reconstruction``: every metric of a tokenizer on any captioned pictures."""

import json as json_format
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from tyro.conf import arg

from textok.cli.checks import check_at_least, check_files, check_folders, check_size
from textok.cli.distributed import is_first, note, open_device, place, process_group
from textok.cli.evaluate_generation import DEFAULT_NETWORK, NetworkChoice
from textok.cli.options import DEFAULT_DECODER, BadPictures, Data, DecoderOptions, Limit, Size, Splits
from textok.cli.output import score_table, shown
from textok.data import EvalLoader, Source
from textok.data.samples import report_bad, write_bad
from textok.data.subset import spread
from textok.display import Progress, with_progress
from textok.evaluation import adm
from textok.evaluation.captioned import (
    CONDITIONS,
    CaptionCondition,
    CaptionedPictures,
    check_conditions,
    usable_conditions,
)
from textok.evaluation.evaluator import BATCH_SIZE, Evaluator
from textok.evaluation.reconstruction import Cell, check_budgets, usual_budgets
from textok.evaluation.results import Result, Row, Scores, write_result
from textok.models.tokenizer import TexTok
from textok.training.run_folder import environment

CONDITIONS_HELP = (
    "what is read beside the picture: right (its own caption), none, wrong (another picture's), or its own made worse: "
    "short (first phrase), thing (noun phrase), shuffled (words), near (of a similar thing)"
)

# Headings in the terminal by how a metric's name begins, and by how it ends.
_HEADS = {"psnr": "psnr", "ssim": "ssim", "perceptual_": "perceptual", "fd_": "fd", "fid": "fid"}
_ENDS = {"_unpaired": " unpaired", "_floor": " floor"}
_PLACE = {"split": "split", "captions": "captions", "budget": "tokens"}

# How well the pictures fit their captions, in a table of its own.
_MEANING = {
    "retrieval_two_tower": "retrieval",
    "alignment_two_tower": "alignment",
    "retrieval_class_posterior": "retrieval by classes",
    "alignment_class_posterior": "alignment by classes",
    "posterior_agreement": "agreement",
    "top1_agreement": "same class",
}
_MEANING_NOTE = """Does the reconstruction still show what its caption says? Value / that of the originals, the best to
hope for. For drawings read retrieval and alignment (by the two-tower head), for photographs those by classes. Where
even the originals retrieve few captions, ignore that judge. Agreement and
same class compare a classifier on the reconstruction with the same on the original."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionOptions(BadPictures):
    """Which tokenizer is evaluated, on which pictures and how."""

    data: Data
    split: Splits = ()
    """parts of the source, such as test-drawing,test-concept; not needed when it has only one"""
    limit: Limit = None
    """number of pictures of each split, spread over it"""
    size: Size = None
    """height and width to resize and crop to"""
    model: str = "icons-128"
    """a shipped name, a folder with config.json and model.safetensors, or a hub id"""
    budgets: Annotated[
        tuple[int, ...], arg(help_behavior_hint="(default: 2,4,8,16,32, up to the model's)")
    ] = ()
    """tokens per picture, such as 2,4,8"""
    conditions: Annotated[tuple[str, ...], arg(help=CONDITIONS_HELP)] = CONDITIONS
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None
    """result file: settings, rows, and the values of every picture"""
    write_samples: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """write originals and reconstructions there as .npz for published evaluators"""
    no_semantics: bool = False
    """leave out whether the reconstruction still says what its caption says"""
    batch_size: int = BATCH_SIZE
    """pictures at a time"""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto takes cuda where there is one"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """dtype of the tokenizer's forward pass"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, limit=self.limit, batch_size=self.batch_size)
        check_size(self.size)
        check_files(out=self.out)
        check_folders(write_samples=self.write_samples)
        check_conditions(self.conditions)

    def sources(self) -> dict[str, Source]:
        """The source of every split, by the split's name, or the source's own where it has no splits.

        Raises:
            FileNotFoundError: when nothing is there.
            ValueError: for an unknown layout or split.
        """
        splits: list[str | None] = [*dict.fromkeys(self.split)] or [None]
        names = {split: split or Path(self.data.rstrip("/")).stem for split in splits}
        return {name: self.config(self.data, split=split).open() for split, name in names.items()}

    def fitted(self, model: TexTok) -> "ReconstructionOptions":
        """The same with the size, budgets and conditions that a model can be evaluated at."""
        config, conditions = model.config, tuple(dict.fromkeys(self.conditions))
        check_size(self.size, patch=config.patch_size)
        budgets = self.budgets or usual_budgets(config.num_latents)
        if config.placement == "none" and conditions != ("none",):
            note("this tokenizer reads no captions: evaluated with none only")
            conditions = ("none",)
        return replace(
            self,
            size=self.size or (config.image_size, config.image_size),
            budgets=tuple(check_budgets(budgets, max_tokens=config.num_latents)),
            conditions=conditions,
        )


def evaluate_reconstruction(
    options: Annotated[ReconstructionOptions, arg(name="")],
    network: Annotated[NetworkChoice, arg(name="")] = DEFAULT_NETWORK,
    decoder: Annotated[DecoderOptions, arg(name="")] = DEFAULT_DECODER,
    *,
    json: bool = False,
) -> None:
    """Score a tokenizer: every metric by split, caption condition and number of tokens.

    Under torchrun the processes share the pictures, and the first one prints and writes.

    Args:
        json: print the rows as JSON instead of a table.
    """
    sources, device = options.sources(), open_device(options.device, float64=True)
    tokenizer = TexTok.from_pretrained(options.model).to(device)
    options = options.fitted(tokenizer)
    evaluator = Evaluator.load(
        tokenizer,
        network.load(device),
        semantics=not options.no_semantics,
        batch_size=options.batch_size,
        autocast=torch.bfloat16 if options.dtype == "bfloat16" else None,
        decoding=decoder.settings,
    )
    with process_group(device):
        result = _evaluate(evaluator, options, sources)
    if not is_first():
        return
    if options.out is not None:
        write_result(options.out, **vars(result))
    print(json_format.dumps(result.rows) if json else reconstruction_table(result.rows))


def _evaluate(evaluator: Evaluator, options: ReconstructionOptions, sources: dict[str, Source]) -> Result:
    """The scores of all splits, the same in every process."""
    settings = evaluator.settings | {
        "model_source": options.model,
        "budgets": list(options.budgets),
        "captions": list(options.conditions),
        "data": options.data,
        "limit": options.limit,
        "size": list(options.size or ()),
        "splits": {},
    }
    result = Result(settings=settings, made_by=environment())
    if options.out is not None and is_first():
        write_bad(options.out, [])
    for name, source in sources.items():
        pictures = _read(options, name, source)
        settings["splits"][name] = {
            "fingerprint": source.fingerprint,
            "count": len(pictures),
            "captioned": sum(map(bool, pictures.captions)),
            "census": source.census.facts(),
        }
        conditions, reason = usable_conditions(pictures, options.conditions)
        if left_out := [name for name in options.conditions if name not in conditions]:
            note(f"{pictures.split}: not evaluated: {', '.join(left_out)}: {reason}")
        pictures = evaluator.with_variants(pictures, conditions)
        scores = _score(evaluator, pictures, conditions=conditions, budgets=options.budgets)
        result.rows.extend(scores.rows)
        result.per_image.extend(scores.per_image)
        result.latents.extend(scores.latents)
        if options.write_samples is not None and is_first():
            cells = [(condition, k) for condition in conditions for k in options.budgets]
            _write_samples(evaluator, pictures, cells, options.write_samples)
    return result


def _read(options: ReconstructionOptions, name: str, source: Source) -> CaptionedPictures:
    """The pictures of a split; those that are left out are reported, and listed beside the result file."""
    config = options.config(options.data, size=options.size)
    loader = EvalLoader(config, batch_size=options.batch_size, source=spread(source, options.limit))
    progress = with_progress(loader, len(loader), unit="batch", title=f"{name}: reading", shown=is_first())
    pictures = CaptionedPictures.collect(name, progress)
    if is_first():
        report_bad(loader.bad.samples, options.out)
    return pictures


def _score(
    evaluator: Evaluator,
    pictures: CaptionedPictures,
    *,
    conditions: Sequence[CaptionCondition],
    budgets: Sequence[int],
) -> Scores:
    rank, count = place()
    share = len(range(rank, len(pictures), count))
    with Progress(share, unit="image", title=pictures.split, shown=is_first()) as bar:
        return evaluator.score(
            pictures, budgets=budgets, captions=conditions, rank=rank, world_size=count, progress=bar.update
        )


def _write_samples(
    evaluator: Evaluator, pictures: CaptionedPictures, cells: Sequence[Cell], folder: Path
) -> None:
    """An ADM sample file of the originals and of the reconstructions of each cell."""
    stem = pictures.split.replace("/", "-")
    adm.write_samples(folder / f"{stem}-original.npz", pictures.images)
    for condition, budget in cells:  # one at a time: the pictures of all cells may not fit in memory
        outputs = evaluator.reconstruct(pictures, budgets=[budget], captions=[condition])
        adm.write_samples(folder / f"{stem}-{condition}-{budget}.npz", outputs[condition, budget])


def reconstruction_table(rows: Sequence[Row]) -> str:
    """The main scores of a reconstruction result, one line per split, caption condition and budget."""
    heads = _PLACE | {"count": "count"} | _headings(rows, _HEADS)
    legend = [f"{head} = {name}" for name, head in heads.items() if head != name and "_" in name]
    blocks = [score_table(rows, heads), "\n".join(legend)]
    meaning = _headings(rows, _MEANING)
    if any("_agreement" in name for name in meaning):
        beside = [{name: _beside(row, name) for name in row} for row in rows]
        blocks += [_MEANING_NOTE, score_table(beside, _PLACE | meaning)]
    return "\n\n".join(blocks)


def _headings(rows: Sequence[Row], starts: Mapping[str, str]) -> dict[str, str]:
    """A heading for every metric whose name has one of these beginnings, in their order."""
    names = dict.fromkeys(name for row in rows for name in row)
    shown_names = [name for name in names if "_pca" not in name and not name.endswith("_original")]
    return {
        name: head + next((words for end, words in _ENDS.items() if name.endswith(end)), "")
        for start, head in starts.items()
        for name in shown_names
        if name.startswith(start)
    }


def _beside(row: Row, name: str) -> str | int | float:
    """A value, with that of the originals where there is one."""
    ceiling = row.get(f"{name}_original")
    return row[name] if ceiling is None else f"{shown(row[name])} / {shown(ceiling)}"
