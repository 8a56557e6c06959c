"""Which optimizer moves what, how fast, and how the average follows."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from textok.models.bottleneck import VQConfig
from textok.models.tokenizer import TexTok
from textok.training.optimizers import (
    Average,
    OptimizerConfig,
    build_optimizers,
    learning_rate,
    set_learning_rate,
)
from tiny import tiny_model


@pytest.fixture(scope="module")
def model() -> TexTok:
    return tiny_model(VQConfig(codebook_size=8), dim=16, encoder_depth=6, decoder_depth=6)


@pytest.mark.parametrize("kind", ["muon", "adamw", "adam"])
def test_every_parameter_moves_once(model: TexTok, kind: str) -> None:
    optimizers = build_optimizers(model, OptimizerConfig(kind=kind))
    moved = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in model.parameters())


def test_muon_moves_the_matrices_of_the_blocks(model: TexTok) -> None:
    adamw, muon = build_optimizers(model, OptimizerConfig(kind="muon"))
    assert isinstance(adamw, AdamW) and isinstance(muon, Muon)
    names = {id(p): name for name, p in model.named_parameters()}
    moved = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and ".blocks." in name
    }
    assert moved == linear and len(linear) == 12 * 6


def test_only_matrices_decay(model: TexTok) -> None:
    for kind in ("muon", "adamw"):
        adamw = build_optimizers(model, OptimizerConfig(kind=kind, weight_decay=0.3))[0]
        names = {id(p): name for name, p in model.named_parameters()}
        free = [names[id(p)] for g in adamw.param_groups if not g["weight_decay"] for p in g["params"]]
        assert {"encoder.queries", "decoder.query", "encoder.text.null", "bottleneck.codebook"} <= set(free)
        assert not any(name.endswith(("project.weight", "output.weight", "patch.weight")) for name in free)
    (adam,) = build_optimizers(model, OptimizerConfig(kind="adam", weight_decay=0.25))
    assert adam.param_groups[0]["weight_decay"] == 0.25


def test_the_rate_warms_up_and_falls() -> None:
    config = OptimizerConfig(lr=1.0, warmup_steps=10, final_lr=0.1)
    rates = [learning_rate(config, step=step, steps=110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1) and rates[4] == pytest.approx(0.5)
    assert rates[9] == rates[10] == max(rates) == 1.0
    assert rates[60] == pytest.approx(0.55)  # half way down the cosine
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert learning_rate(config, step=500, steps=110) == pytest.approx(0.1)


def test_a_rate_reaches_every_group(model: TexTok) -> None:
    optimizers = build_optimizers(model, OptimizerConfig())
    set_learning_rate(optimizers, 0.125)
    assert {group["lr"] for o in optimizers for group in o.param_groups} == {0.125}


def test_the_average_follows_its_formula() -> None:
    decay = 0.3
    live = nn.Linear(2, 2)
    averaged = Average(live, decay=decay)
    expected: torch.Tensor | None = None
    for n in range(12):
        with torch.no_grad():
            live.weight.fill_(math.sin(n + 1))
        averaged.update_parameters(live)
        d = min(decay, (1 + n) / (10 + n))
        expected = live.weight.clone() if expected is None else d * expected + (1 - d) * live.weight
        torch.testing.assert_close(averaged.module.weight, expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0.0}, "optimizer.lr: got 0.0"),
        ({"clip_norm": -1.0}, "optimizer.clip_norm: got -1.0"),
        ({"final_lr": 2.0}, "optimizer.final_lr: got 2.0"),
    ],
)
def test_bad_values_are_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**values)
