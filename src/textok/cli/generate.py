"""``textok generate``: a prompt to pictures."""

import json as json_format
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from textok.cli.choices import torch_device

if TYPE_CHECKING:
    from PIL import Image

    from textok.pipeline.generation import Pipeline

THEIRS = "(default: the model's)"


@dataclass(frozen=True, kw_only=True)
class SamplingChoice:
    """How the generator is sampled; what is not given comes with the weights."""

    num_tokens: Annotated[int | None, arg(metavar="INT", help_behavior_hint=THEIRS)] = None
    """the token budget: fewer are faster and coarser"""
    steps: Annotated[int | None, arg(metavar="INT", help_behavior_hint=THEIRS)] = None
    """of the sampler"""
    guidance: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=THEIRS)] = None
    """how strongly the prompt is followed; 1 is none"""
    guidance_interval: Annotated[
        tuple[float, float] | None, arg(metavar="LOW HIGH", help_behavior_hint=THEIRS)
    ] = None
    """times within which guidance acts: 1 is pure noise, 0 the picture"""
    sampler: Annotated[
        Literal["euler", "heun", "stochastic", "ddim", "ddpm"] | None,
        arg(metavar="NAME", help_behavior_hint=THEIRS),
    ] = None
    """euler, heun or stochastic; ddim or ddpm for a generator that predicts noise"""
    time_shift: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=THEIRS)] = None
    """of a flow: above 1 spends more steps near the noise"""
    temperature: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=THEIRS)] = None
    """of a MaskGIT's codes"""
    confidence_temperature: Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint=THEIRS)] = None
    """of the order in which a MaskGIT fixes its codes"""


DEFAULT_SAMPLING = SamplingChoice()


def generate(
    prompts: Annotated[Positional[tuple[str, ...]], arg(metavar="PROMPT [PROMPT ...]")] = (),
    sampling: Annotated[SamplingChoice, arg(name="")] = DEFAULT_SAMPLING,
    *,
    out: Path,
    labels: Annotated[tuple[int, ...], arg(metavar="INT [INT ...]", help_behavior_hint="")] = (),
    num_images: int = 4,
    seed: int = 0,
    model: str = "icons-128",
    tokenizer: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="")] = None,
    batch_size: int = 16,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    json: bool = False,
) -> None:
    """Make pictures from prompts (or classes): PNGs that say how they were made, and a grid of all.

    Args:
        prompts: what to draw; captions like those of the training pictures work best.
        out: the folder for the pictures and grid.png.
        labels: classes, for a class-conditional generator.
        num_images: pictures of each prompt or class.
        seed: the same seed, prompt and settings give the same pictures.
        model: a generator: a shipped name, a folder or a hub id.
        tokenizer: its tokenizer, when it is not where it was at training.
        batch_size: pictures at a time.
        device: cpu, cuda, cuda:1, mps; auto takes cuda where there is one.
        precision: number type of the weights; auto takes bfloat16 where the processor has it.
        json: print the files and the seconds as JSON.
    """
    import torch

    from textok.pipeline.generation import Pipeline

    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed: got {seed}, expected 0 to {2**63 - 1}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: {out} is a file, expected a folder")
    pipeline = Pipeline.from_pretrained(
        model, tokenizer=tokenizer, device=torch_device(device), precision=precision
    )
    if bool(labels) == bool(prompts):
        raise ValueError("PROMPT: expected prompts, or --labels for a class-conditional model, and not both")
    asked: dict[str, Any] = {"labels": list(labels)} if labels else {"prompts": list(prompts)}
    started = time.perf_counter()
    images = pipeline(
        **asked,
        **vars(sampling),
        num_images=num_images,
        generator=torch.Generator().manual_seed(seed),
        batch_size=batch_size,
        progress=True,
    )
    seconds = time.perf_counter() - started
    files = save_pictures(images, out, names=[str(x) for x in (labels or prompts)], seed=seed)
    if json:
        print(json_format.dumps({"files": [str(file) for file in files], "seconds": seconds}))
    else:
        print(f"{out}: {len(files)} pictures and grid.png in {seconds:.1f} s ({_facts(pipeline)})")


def save_pictures(
    images: Sequence["Image.Image"], out: Path, *, names: Sequence[str], seed: int
) -> list[Path]:
    """Write every picture with its settings inside, and the grid with a row for each name."""
    import numpy as np
    import torch

    from textok.evaluation.pages.grids import save_picture
    from textok.evaluation.pages.sample_grid import sample_grid
    from textok.pipeline.pictures import save_png

    count = len(images) // len(names)
    files = []
    for index, image in enumerate(images):
        name = f"{file_words(names[index // count])}-seed{seed}-{index % count}.png"
        files.append(save_png(image, out / f"{index // count:02d}-{name}"))
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).movedim(-1, 1)
    save_picture(sample_grid(pixels.unflatten(0, (len(names), count)), rows=names), out / "grid.png")
    return files


def file_words(prompt: str) -> str:
    """A prompt as part of a file name: its first words, letters and digits only."""
    kept = "".join(c if c.isalnum() else "-" for c in prompt.lower())
    return "-".join(part for part in kept.split("-") if part)[:48].rstrip("-") or "empty"


def _facts(pipeline: "Pipeline") -> str:
    return f"{pipeline.model_id} on {pipeline.tokenizer.model_id}"
