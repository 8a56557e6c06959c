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

from textok.cli.checks import check_at_least, check_seed
from textok.cli.options import DEFAULT_DECODER, DecoderOptions, ModelOptions
from textok.cli.output import report
from textok.data.images import save_png
from textok.evaluation.pages.grids import sample_grid, save_picture
from textok.pipeline.generation import Pipeline
from textok.sampling.flow import SAMPLERS
from textok.writing import check_target, mark_folder

_BY_MODEL = "(default: the model's)"


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How the generator is sampled. What is not given comes with the weights."""

    num_tokens: Annotated[int | None, arg(metavar="K", help_behavior_hint=_BY_MODEL)] = None
    """the budget of every picture: fewer tokens are faster and coarser"""
    steps: Annotated[int | None, arg(metavar="INT", help_behavior_hint=_BY_MODEL)] = None
    """steps of the sampler"""
    guidance: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=_BY_MODEL)] = None
    """how strongly the prompt is followed; 1 is none"""
    guidance_interval: Annotated[
        tuple[float, float] | None, arg(metavar="LOW HIGH", help_behavior_hint=_BY_MODEL)
    ] = None
    """times within which guidance acts: 1 is pure noise, 0 the picture"""
    sampler: Annotated[
        str | None,
        arg(metavar="NAME", help=f"of a flow: {', '.join(SAMPLERS)}", help_behavior_hint=_BY_MODEL),
    ] = None
    temperature: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=_BY_MODEL)] = None
    """of the codes of a MaskGIT"""


_SAMPLING = SamplingOptions()
_MODEL = ModelOptions(batch_size=16)


def generate(
    prompts: Annotated[Positional[tuple[str, ...]], arg(metavar="PROMPT [PROMPT ...]")] = (),
    sampling: Annotated[SamplingOptions, arg(name="")] = _SAMPLING,
    model: Annotated[ModelOptions, arg(name="")] = _MODEL,
    decoder: Annotated[DecoderOptions, arg(name="")] = DEFAULT_DECODER,
    *,
    out: Path,
    labels: Annotated[tuple[int, ...], arg(help_behavior_hint="")] = (),
    negative: Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")] = None,
    num_images: int = 4,
    seed: int = 0,
    tokenizer: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Make pictures from prompts or classes: PNG files that hold their settings, and a grid of all.

    Args:
        prompts: what to draw; captions like those of the training pictures work best.
        out: the folder for the pictures and grid.png.
        labels: classes, for a class-conditional generator.
        negative: a negative prompt: what guidance leads away from.
        num_images: pictures of each prompt or class.
        seed: the same seed, prompt and settings give the same pictures.
        tokenizer: the tokenizer of the generator, when it is not where it was at training.
        overwrite: replace pictures of the same names, also in a folder that textok did not make; without it new
            ones take free names.
        json: print the files and the seconds as JSON.
    """
    check_at_least(1, num_images=num_images)
    check_seed(seed)
    check_target(out, overwrite=overwrite)
    if bool(labels) == bool(prompts):
        raise ValueError("PROMPT: expected prompts, or --labels for a class-conditional model, and not both")
    pipeline = Pipeline.from_pretrained(
        model.model, tokenizer=tokenizer, device=model.open(), dtype=model.dtype
    )
    conditions: dict[str, Any] = {"labels": list(labels)} if labels else {"prompts": list(prompts)}
    started = time.perf_counter()
    images = pipeline(
        **conditions,
        **vars(sampling),
        **vars(decoder),
        negative_prompt=negative,
        num_images=num_images,
        generator=torch.Generator().manual_seed(seed),
        batch_size=model.batch_size,
        progress=True,
    )
    seconds = time.perf_counter() - started
    names = [str(x) for x in (labels or prompts)]
    files, grid = save_pictures(images, out, names=names, seed=seed, overwrite=overwrite)
    by = f"{pipeline.model_id} on {pipeline.tokenizer.model_id}"
    report(
        {"files": [str(file) for file in files], "seconds": seconds},
        f"{out}: {len(files)} pictures and {grid.name} in {seconds:.1f} s ({by})",
        json=json,
    )


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
