"""``textok generate``: a prompt to pictures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from itertools import count as count_from
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from tyro.conf import Positional, arg

from textok.cli import checks
from textok.cli.distributed import is_first, place
from textok.cli.options import Decoder, Json, Limit, Model, ModelOptions, Split, optional
from textok.cli.output import report
from textok.data.images import save_png
from textok.display import Progress
from textok.evaluation.pages.grids import sample_grid, save_picture
from textok.pipeline.bulk import BulkRun, generate_shards, read_prompts
from textok.pipeline.generation import Pipeline
from textok.sampling.flow import SAMPLERS
from textok.writing import check_target, mark_folder, mark_folder_for

_BY_MODEL = "the model's"
_SAMPLERS = f"of a flow: {', '.join(SAMPLERS)}"


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How the generator is sampled. What is not given comes with the weights."""

    num_tokens: Annotated[int | None, optional("K", _BY_MODEL)] = None
    """the budget of every picture: fewer tokens are faster and coarser"""
    steps: Annotated[int | None, optional("INT", _BY_MODEL)] = None
    """steps of the sampler"""
    guidance: Annotated[float | None, optional("FLOAT", _BY_MODEL)] = None
    """how strongly the prompt is followed; 1 is none"""
    guidance_interval: Annotated[tuple[float, float] | None, optional("LOW HIGH", _BY_MODEL)] = None
    """times within which guidance acts: 1 is pure noise, 0 the picture"""
    sampler: Annotated[str | None, optional("NAME", _BY_MODEL, about=_SAMPLERS)] = None
    temperature: Annotated[float | None, optional("FLOAT", _BY_MODEL)] = None
    """of the codes of a MaskGIT"""


@dataclass(frozen=True, kw_only=True)
class BulkOptions:
    """Prompts of a file or a data set, for the thousands of samples of a benchmark."""

    prompts_from: Annotated[str | None, arg(name="prompts", metavar="FILE", help_behavior_hint="")] = None
    """prompts of a .txt file (one in each line), of a .json or .jsonl file by key, or the captions of any data set"""
    split: Split = None
    limit: Limit = None
    tars: bool = False
    """pack a thousand pictures and their prompts into each tar, instead of a file for each"""

    def __post_init__(self) -> None:
        checks.at_least(1, limit=self.limit)
        absent = self.prompts_from is None
        checks.needs(absent=absent, by="prompts", split=self.split, limit=self.limit, tars=self.tars)


_MODEL = ModelOptions(batch_size=16)


def generate(
    sampling: Annotated[SamplingOptions, arg(name="")],
    decoder: Decoder,
    bulk: Annotated[BulkOptions, arg(name="")],
    words: Annotated[Positional[tuple[str, ...]], arg(metavar="PROMPT [PROMPT ...]")] = (),
    model: Model = _MODEL,
    *,
    out: Path,
    labels: Annotated[tuple[int, ...], optional()] = (),
    negative: Annotated[str | None, optional("TEXT")] = None,
    num_images: Annotated[int | None, optional("INT", "4, with --prompts 1")] = None,
    seed: int = 0,
    tokenizer: Annotated[str | None, optional("MODEL")] = None,
    overwrite: bool = False,
    json: Json = False,
) -> None:
    """Make pictures from prompts or classes: PNG files that hold their settings, and a grid of all.

    With --prompts there is no grid, each picture has its prompt in a .txt file beside it, which textok evaluate
    generation reads, and the same command goes on where it was stopped; torchrun shares the work.

    Args:
        words: what to draw; captions like those of the training pictures work best.
        out: the folder for the pictures and grid.png.
        labels: classes, for a class-conditional generator.
        negative: a negative prompt: what guidance leads away from.
        num_images: pictures of each prompt or class.
        seed: the same seed, prompt and settings give the same pictures.
        tokenizer: the tokenizer of the generator, when it is not where it was at training.
        overwrite: replace pictures of the same names, also in a folder that textok did not make; without it new
            ones take free names.
    """
    checks.at_least(1, num_images=num_images)
    checks.seed(seed)
    check_target(out, overwrite=overwrite)
    if (ways := bool(labels) + bool(words) + (bulk.prompts_from is not None)) != 1:
        raise ValueError(f"PROMPT: got {ways} of prompts, --prompts and --labels (for classes), expected one")
    if bulk.prompts_from is not None and overwrite:
        raise ValueError("overwrite: got it with --prompts, which goes on and replaces nothing; leave it out")
    prompts = bulk.prompts_from and read_prompts(bulk.prompts_from, split=bulk.split, limit=bulk.limit)
    pipeline = Pipeline.from_pretrained(
        model.model, tokenizer=tokenizer, device=model.open(), dtype=model.dtype
    )
    settings = vars(sampling) | vars(decoder) | {"negative_prompt": negative}
    by = f"{pipeline.model_id} on {pipeline.tokenizer.model_id}"
    if prompts:
        run = BulkRun(
            prompts=prompts,
            num_images=num_images or 1,
            seed=seed,
            batch_size=model.batch_size,
            tars=bulk.tars,
            sampling=settings,
        )
        _generate_in_bulk(pipeline, run, out, by=by, json=json)
        return
    conditions: dict[str, Any] = {"labels": list(labels)} if labels else {"prompts": list(words)}
    started = time.perf_counter()
    images = pipeline(
        **conditions,
        **settings,
        num_images=num_images or 4,
        generator=torch.Generator().manual_seed(seed),
        batch_size=model.batch_size,
        progress=True,
    )
    seconds = time.perf_counter() - started
    names = list(map(str, labels or words))
    files, grid = save_pictures(images, out, names=names, seed=seed, overwrite=overwrite)
    report(
        {"files": [str(file) for file in files], "seconds": seconds},
        f"{out}: {len(files)} pictures and {grid.name} in {seconds:.1f} s ({by})",
        json=json,
    )


def _generate_in_bulk(pipeline: Pipeline, run: BulkRun, out: Path, *, by: str, json: bool) -> None:
    mark_folder_for(out, run.record(pipeline))
    rank, count = place()
    drawn = 0
    with Progress(-(-len(run) // count), unit="image", shown=is_first()) as progress:
        for pictures in generate_shards(pipeline, run, out, rank=rank, count=count):
            progress.update(pictures)
            drawn += pictures
    facts = {"pictures": drawn, "prompts": len(run.prompts)}
    report(facts, f"{out}: {drawn} pictures of {len(run.prompts)} prompts ({by})", json=json)


def save_pictures(
    images: Sequence[Image.Image], out: Path, *, names: Sequence[str], seed: int, overwrite: bool = False
) -> tuple[list[Path], Path]:
    """Write every picture with its settings inside, and the grid with a row for each name; returns their files."""
    mark_folder(out, "generated pictures")
    count = len(images) // len(names)
    files = []
    for index, image in enumerate(images):
        name = f"{index // count:02d}-{file_words(names[index // count])}-seed{seed}-{index % count}.png"
        files.append(save_png(image, _place(out / name, image, overwrite=overwrite)))
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).movedim(-1, 1)
    grid = sample_grid(pixels.unflatten(0, (len(names), count)), rows=names)
    return files, save_picture(grid, _place(out / "grid.png", grid, overwrite=overwrite))


def _place(path: Path, image: Image.Image, *, overwrite: bool) -> Path:
    """The file itself, or the first name behind it that is free or holds this picture: others are not replaced."""
    names = chain([path], (path.with_stem(f"{path.stem}-{number}") for number in count_from(2)))
    return path if overwrite else next(name for name in names if not name.exists() or _holds(name, image))


def _holds(file: Path, image: Image.Image) -> bool:
    try:
        with Image.open(file) as other:
            same_settings = other.info.get("textok") == image.info.get("textok")
            return same_settings and other.size == image.size and other.tobytes() == image.tobytes()
    except OSError:  # no picture
        return False


def file_words(prompt: str) -> str:
    """A prompt as part of a file name: its first words, letters and digits only."""
    letters = "".join(c if c.isalnum() else "-" for c in prompt.lower())
    return "-".join(part for part in letters.split("-") if part)[:48].rstrip("-") or "empty"
