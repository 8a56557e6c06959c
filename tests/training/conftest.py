"""Runs that take a second, and what they leave."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor

from textok.data import DataConfig
from textok.models.bottleneck import KLConfig
from textok.models.dit import DiTConfig
from textok.recipes.tokenizers import toy
from textok.training.generator.config import GeneratorRun, PreviewConfig
from textok.training.optimizers import OptimizerConfig
from textok.training.run import BudgetDraw
from textok.training.tokenizer.config import TokenizerRun, ValidationConfig


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums on any machine, and no precision left over from another test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(icons: Path, text_cache: Path) -> TokenizerRun:
    """The toy recipe with one block a side; steps are logged by threes and saved by twos."""
    run = toy()
    model = replace(run.model, dim=32, encoder_depth=1, decoder_depth=1, num_latents=4)
    return replace(
        run,
        name="tiny",
        model=model,
        data=DataConfig(source=str(icons), split="train", size=(32, 32)),
        text_cache=str(text_cache),
        precision="float32",
        steps=12,
        batch_size=8,
        log_every=3,
        checkpoint_every=2,
        validation=ValidationConfig(count=12, every=12, budgets=(1, 4), batch_size=8, pictures=2),
    )


@pytest.fixture(scope="session")
def read_checkpoint() -> Callable[[Path, int], tuple[dict[str, Tensor], dict[str, Any]]]:
    """The tensors and the other state of a run's checkpoint, as they lie on disk."""

    def read(run: Path, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        folder = run / "checkpoints" / f"step-{step:08d}"
        return load_file(folder / "tensors.safetensors"), json.loads((folder / "state.json").read_text())

    return read


@pytest.fixture(scope="session")
def read_metrics() -> Callable[[Path], list[dict[str, float]]]:
    """The lines of metrics.jsonl without the speed, which no two runs share."""

    def read(run: Path) -> list[dict[str, float]]:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]

    return read


@pytest.fixture(scope="session")
def generator_run(
    make_latents: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> GeneratorRun:
    """A DiT of one block on kl latents, with every random draw and several micro-batches."""
    latents = str(make_latents(tmp_path_factory.mktemp("kl"), KLConfig(latent_dim=4)))
    return GeneratorRun(
        name="tiny",
        model=DiTConfig(dim=32, depth=1, num_heads=2),
        latents=latents,
        optimizer=OptimizerConfig(kind="adamw", lr=3e-3, warmup_steps=2),
        budgets=BudgetDraw(kind="uniform", per_sample=True),
        preview=PreviewConfig(held_out=latents, every=6, budgets=(2, 4), tokenizer="none"),
        steps=12,
        batch_size=8,
        micro_batch=5,
        precision="float32",
        log_every=3,
        checkpoint_every=2,
    )
