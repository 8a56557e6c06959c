"""``textok evaluate reconstruction``: every metric of a tokenizer on any captioned pictures."""

import io
import json as json_format
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from tyro.conf import arg

from textok.cli import checks
from textok.cli.distributed import is_first, note, open_device, place, process_group
from textok.cli.evaluate_generation import Network
from textok.cli.options import BadPictures, Data, Decoder, Engine, EngineOptions, Json, Size, optional
from textok.cli.output import reconstruction_table
from textok.data import EvalLoader, Source
from textok.data.samples import BadSample, report_bad, spread, write_bad
from textok.display import Progress, with_progress
from textok.evaluation import adm
from textok.evaluation.captioned import CaptionedPictures, usable_conditions
from textok.evaluation.evaluator import BATCH_SIZE, Evaluator
from textok.evaluation.reconstruction import Cell, Measurements, check_budgets, usual_budgets
from textok.evaluation.results import Result, Scores, write_result
from textok.models.tokenizer import TexTok
from textok.pipeline.precision import torch_device
from textok.training.run_folder import environment


@dataclass(frozen=True, kw_only=True)
class ReconstructionOptions(BadPictures):
    """Which tokenizer is evaluated, on which pictures and how: all that another process needs to take a part in it."""

    network: Network
    decoder: Decoder
    data: Data
    split: Annotated[tuple[str, ...], optional()] = ()
    """parts of the source, such as test-drawing,test-concept; not needed when it has only one"""
    limit: Annotated[int | None, optional("INT", "all")] = None
    """number of pictures of each split, spread over it"""
    size: Size = None
    """height and width to resize and crop to"""
    model: str = "icons-128"
    """a shipped name, a folder with config.json and model.safetensors, or a hub id"""
    budgets: Annotated[tuple[int, ...], optional(default="2,4,8,16,32, up to the model's")] = ()
    """tokens per picture, such as 2,4,8"""
    conditions: tuple[Literal["right", "none", "wrong"], ...] = ("right", "none", "wrong")
    """what is read beside the picture: its own caption, none, or another picture's"""
    out: Annotated[Path | None, optional("FILE.json")] = None
    """result file: settings, rows, and the values of every picture"""
    write_samples: Annotated[Path | None, optional("FOLDER")] = None
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
        checks.at_least(1, limit=self.limit, batch_size=self.batch_size)
        checks.size(self.size)
        checks.files(out=self.out)
        checks.folders(write_samples=self.write_samples)

    def sources(self) -> dict[str, Source]:
        """The source of every split, by the split's name, or the source's own where it has no splits."""
        splits: list[str | None] = [*dict.fromkeys(self.split)] or [None]
        names = {split: split or Path(self.data.rstrip("/")).stem for split in splits}
        return {name: self.config(self.data, split=split).open() for split, name in names.items()}

    def fitted(self, model: TexTok) -> "ReconstructionOptions":
        """The same with the size, budgets and conditions that a model can be evaluated at."""
        config, conditions = model.config, tuple(dict.fromkeys(self.conditions))
        checks.size(self.size, patch=config.patch_size)
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

    def evaluator(self, tokenizer: TexTok, device: torch.device) -> Evaluator:
        """The tokenizer with all that scores it."""
        return Evaluator.load(
            tokenizer,
            self.network.load(device),
            semantics=not self.no_semantics,
            batch_size=self.batch_size,
            autocast=torch.bfloat16 if self.dtype == "bfloat16" else None,
            decoding=self.decoder.settings,
        )

    def read(self, name: str, source: Source) -> tuple[CaptionedPictures, list[BadSample]]:
        """The pictures of a split, and those that are left out."""
        config = self.config(self.data, size=self.size)
        loader = EvalLoader(config, batch_size=self.batch_size, source=spread(source, self.limit))
        title = f"{name}: reading"
        progress = with_progress(loader, len(loader), unit="batch", title=title, shown=is_first())
        return CaptionedPictures.collect(name, progress), loader.bad.samples

    def batches(self, pictures: CaptionedPictures) -> Sequence[Tensor]:
        """Positions of the pictures, a batch at a time."""
        return torch.arange(len(pictures)).split(self.batch_size)


def evaluate_reconstruction(
    options: Annotated[ReconstructionOptions, arg(name="")], engine: Engine, *, json: Json = False
) -> None:
    """Score a tokenizer: every metric by split, caption condition and number of tokens.

    Under torchrun the processes share the pictures, and the first one prints and writes; or the workers of Ray do.
    """
    sources, device = options.sources(), open_device(options.device, float64=True)
    tokenizer = TexTok.from_pretrained(options.model).to(device)
    options = options.fitted(tokenizer)
    with process_group(device):
        result = _evaluate(options.evaluator(tokenizer, device), options, sources, engine)
    if not is_first():
        return
    if options.out is not None:
        write_result(options.out, **vars(result))
    print(json_format.dumps(result.rows) if json else reconstruction_table(result.rows))


class _Measurer:
    """Measures one batch of a split after another, in a process of Ray."""

    def __init__(self, options: ReconstructionOptions, name: str) -> None:
        device = torch_device(options.device)
        evaluator = options.evaluator(TexTok.from_pretrained(options.model).to(device), device)
        pictures, _ = options.read(name, options.sources()[name])
        self._batches = options.batches(pictures)
        self._measure = evaluator.measuring(pictures, budgets=options.budgets, captions=options.conditions)

    def __call__(self, number: int) -> dict[str, Any]:
        file = io.BytesIO()
        torch.save(self._measure(self._batches[number]), file)
        return {"values": b64encode(file.getvalue()).decode()}


def _measured(
    options: ReconstructionOptions, pictures: CaptionedPictures, engine: EngineOptions
) -> Iterator[tuple[Tensor, Measurements]]:
    """The batches of a split with what Ray's workers measured, in their order: sums round as in one process."""
    make = partial(_Measurer, options, pictures.split)
    batches, early, following = options.batches(pictures), dict[int, str](), 0
    for number, known in engine.run(make, range(len(batches)), device=options.device):
        early[number] = known["values"]
        while following in early:
            file = io.BytesIO(b64decode(early.pop(following)))
            yield batches[following], torch.load(file, map_location="cpu", weights_only=True)
            following += 1


def _evaluate(
    evaluator: Evaluator, options: ReconstructionOptions, sources: dict[str, Source], engine: EngineOptions
) -> Result:
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
        pictures, left_out = options.read(name, source)
        if is_first():
            report_bad(left_out, options.out)
        settings["splits"][name] = {
            "fingerprint": source.fingerprint,
            "count": len(pictures),
            "captioned": sum(map(bool, pictures.captions)),
            "census": source.census.facts(),
        }
        conditions, reason = usable_conditions(pictures, options.conditions)
        if unusable := [name for name in options.conditions if name not in conditions]:
            note(f"{pictures.split}: not evaluated: {', '.join(unusable)}: {reason}")
        usable: Any = tuple(conditions)
        result.extend(_score(evaluator, replace(options, conditions=usable), pictures, engine))
        if options.write_samples is not None and is_first():
            cells = [(condition, k) for condition in conditions for k in options.budgets]
            _write_samples(evaluator, pictures, cells, options.write_samples)
    return result


def _score(
    evaluator: Evaluator, options: ReconstructionOptions, pictures: CaptionedPictures, engine: EngineOptions
) -> Scores:
    measured = _measured(options, pictures, engine) if engine.is_ray else None
    rank, count = place()
    share = len(range(rank, len(pictures), count))
    with Progress(share, unit="image", title=pictures.split, shown=is_first()) as bar:
        return evaluator.score(
            pictures,
            budgets=options.budgets,
            captions=options.conditions,
            rank=rank,
            world_size=count,
            measured=measured,
            progress=bar.update,
        )


def _write_samples(
    evaluator: Evaluator, pictures: CaptionedPictures, cells: Sequence[Cell], folder: Path
) -> None:
    stem = pictures.split.replace("/", "-")
    adm.write_samples(folder / f"{stem}-original.npz", pictures.images)
    for condition, budget in cells:  # one at a time: the pictures of all cells may not fit in memory
        outputs = evaluator.reconstruct(pictures, budgets=[budget], captions=[condition])
        adm.write_samples(folder / f"{stem}-{condition}-{budget}.npz", outputs[condition, budget])
