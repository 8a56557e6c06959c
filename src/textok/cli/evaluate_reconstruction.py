"""``textok evaluate reconstruction``: every metric of a tokenizer on any captioned pictures."""

import json as json_format
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.reconstruction import check_budgets, usual_budgets
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
class TestedPictures(BadPictures):
    """Which pictures to evaluate on."""

    data: Data
    split: Splits = ()
    """parts of the source, such as test-drawing,test-concept; not needed when it has only one"""
    limit: Limit = None
    """number of pictures of each split, spread over it"""
    size: Size = None
    """height and width to resize and crop to"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, limit=self.limit)
        check_size(self.size)

    def open(self) -> dict[str, Source]:
        """The source of every split, by the split's name, or the source's own where it has no splits.

        Raises:
            FileNotFoundError: when nothing is there.
            ValueError: for an unknown layout or split.
        """
        splits: list[str | None] = [*dict.fromkeys(self.split)] or [None]
        names = {split: split or Path(self.data.rstrip("/")).stem for split in splits}
        return {name: self.config(self.data, split=split).open() for split, name in names.items()}

    def read(
        self,
        name: str,
        source: Source,
        *,
        size: tuple[int, int],
        batch_size: int,
        out: Path | None = None,
    ) -> CaptionedPictures:
        """The pictures of a split; those that are left out are reported, and listed beside ``out``."""
        config = self.config(self.data, size=size)
        loader = EvalLoader(config, batch_size=batch_size, source=spread(source, self.limit))
        batches = math.ceil(len(loader.source) / batch_size)
        progress = with_progress(loader, batches, unit="batch", title=f"{name}: reading", shown=is_first())
        pictures = CaptionedPictures.collect(name, progress)
        if is_first():
            report_bad(loader.bad.samples, out)
        return pictures


def evaluate_reconstruction(
    pictures: Annotated[TestedPictures, arg(name="")],
    network: Annotated[NetworkChoice, arg(name="")] = DEFAULT_NETWORK,
    decoder: Annotated[DecoderOptions, arg(name="")] = DEFAULT_DECODER,
    *,
    model: str = "icons-128",
    budgets: Annotated[
        tuple[int, ...], arg(help_behavior_hint="(default: 2,4,8,16,32, up to the model's)")
    ] = (),
    conditions: Annotated[tuple[str, ...], arg(help=CONDITIONS_HELP)] = CONDITIONS,
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    write_samples: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    no_semantics: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16"] = "float32",
    json: bool = False,
) -> None:
    """Score a tokenizer: every metric by split, caption condition and number of tokens.

    Under torchrun the processes share the pictures, and the first one prints and writes.

    Args:
        model: a shipped name, a folder with config.json and model.safetensors, or a hub id.
        budgets: tokens per picture, such as 2,4,8.
        out: result file: settings, rows, and the values of every picture.
        write_samples: write originals and reconstructions there as .npz for published evaluators.
        no_semantics: leave out whether the reconstruction still says what its caption says.
        batch_size: pictures at a time.
        device: cpu, cuda, cuda:1; auto takes cuda where there is one.
        dtype: dtype of the tokenizer's forward pass.
        json: print the rows as JSON instead of a table.
    """
    check_at_least(1, batch_size=batch_size)
    check_files(out=out)
    check_folders(write_samples=write_samples)
    check_conditions(conditions)
    sources, torch_device = pictures.open(), open_device(device, float64=True)
    tokenizer = TexTok.from_pretrained(model).to(torch_device)
    config = tokenizer.config
    check_size(pictures.size, patch=config.patch_size)
    chosen = check_budgets(budgets or usual_budgets(config.num_latents), max_tokens=config.num_latents)
    evaluator = Evaluator.load(
        tokenizer,
        network.load(torch_device),
        semantics=not no_semantics,
        batch_size=batch_size,
        autocast=torch.bfloat16 if dtype == "bfloat16" else None,
        decoding=decoder.settings,
    )
    command = _Command(
        evaluator=evaluator,
        pictures=pictures,
        size=pictures.size or (config.image_size, config.image_size),
        budgets=chosen,
        conditions=_conditions(list(dict.fromkeys(conditions)), tokenizer),
        samples=write_samples,
        out=out,
    )
    with process_group(torch_device):
        result = command.result(sources, model)
    if not is_first():
        return
    if out is not None:
        write_result(out, **vars(result))
    print(json_format.dumps(result.rows) if json else reconstruction_table(result.rows))


def _conditions(conditions: list[CaptionCondition], model: TexTok) -> list[CaptionCondition]:
    """Only "none" for a tokenizer that reads no captions."""
    if model.config.placement != "none" or conditions == ["none"]:
        return conditions
    note("this tokenizer reads no captions: evaluated with none only")
    return ["none"]


@dataclass(frozen=True, kw_only=True)
class _Command:
    """The pictures to evaluate on, and the cells to evaluate."""

    evaluator: Evaluator
    pictures: TestedPictures
    size: tuple[int, int]
    budgets: list[int]
    conditions: list[CaptionCondition]
    samples: Path | None
    out: Path | None

    def result(self, sources: dict[str, Source], model: str) -> Result:
        """The scores of all splits, the same in every process."""
        settings = self.evaluator.settings | {
            "model_source": model,
            "budgets": self.budgets,
            "captions": self.conditions,
            "data": self.pictures.data,
            "limit": self.pictures.limit,
            "size": list(self.size),
            "splits": {},
        }
        result = Result(settings=settings, made_by=environment())
        if self.out is not None and is_first():
            write_bad(self.out, [])
        for name, source in sources.items():
            pictures = self.pictures.read(
                name, source, size=self.size, batch_size=self.evaluator.batch_size, out=self.out
            )
            settings["splits"][name] = {
                "fingerprint": source.fingerprint,
                "count": len(pictures),
                "captioned": sum(map(bool, pictures.captions)),
                "census": source.census.facts(),
            }
            conditions, reason = usable_conditions(pictures, self.conditions)
            if left_out := [name for name in self.conditions if name not in conditions]:
                note(f"{pictures.split}: not evaluated: {', '.join(left_out)}: {reason}")
            pictures = self.evaluator.with_variants(pictures, conditions)
            scores = self._scores(pictures, conditions)
            result.rows.extend(scores.rows)
            result.per_image.extend(scores.per_image)
            result.latents.extend(scores.latents)
            if self.samples is not None and is_first():
                self._write_samples(self.samples, pictures, conditions)
        return result

    def _scores(self, pictures: CaptionedPictures, conditions: Sequence[CaptionCondition]) -> Scores:
        rank, count = place()
        share = len(range(rank, len(pictures), count))
        with Progress(share, unit="image", title=pictures.split, shown=is_first()) as bar:
            return self.evaluator.score(
                pictures,
                budgets=self.budgets,
                captions=conditions,
                rank=rank,
                world_size=count,
                progress=bar.update,
            )

    def _write_samples(
        self, folder: Path, pictures: CaptionedPictures, conditions: Sequence[CaptionCondition]
    ) -> None:
        """An ADM sample file of the originals and of each condition's and budget's reconstructions."""
        stem = pictures.split.replace("/", "-")
        adm.write_samples(folder / f"{stem}-original.npz", pictures.images)
        for condition in conditions:
            for budget in self.budgets:  # one at a time: the pictures of all cells may not fit in memory
                cell = self.evaluator.reconstruct(pictures, budgets=[budget], captions=[condition])
                adm.write_samples(folder / f"{stem}-{condition}-{budget}.npz", cell[condition, budget])


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
