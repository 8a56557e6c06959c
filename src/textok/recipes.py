"""Named runs: each function returns one whole configuration; variants are small changes of another.

A recipe is chosen by name (``textok train tokenizer icons-128 --out RUN``) and its fields can be overridden.
"""

import difflib
from collections.abc import Callable
from dataclasses import replace

from textok.data import DataConfig
from textok.models.bottleneck import AEConfig, FSQConfig, VQConfig
from textok.models.tokenizer import TexTokConfig
from textok.training.draws import BudgetDraw
from textok.training.optimizers import OptimizerConfig
from textok.training.tokenizer_run import LossConfig, TokenizerRun, ValidationConfig

ICONS = DataConfig(source="datasets/icons-128", split="train")


def icons_128() -> TokenizerRun:
    """The small default: 128 px drawings, K = 32 elastic tokens of 8 channels, MiniLM text, 10M parameters."""
    return TokenizerRun(
        name="icons-128",
        model=TexTokConfig(),
        data=ICONS,
        loss=LossConfig(l2=1.0, perceptual=0.04),
        optimizer=OptimizerConfig(kind="muon", lr=1e-3, warmup_steps=200),
        budgets=BudgetDraw(kind="log_uniform", full_share=0.25),
        steps=3800,
        batch_size=64,
        micro_batch=64,
        validation=ValidationConfig(every=1000),
    )
