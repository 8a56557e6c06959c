"""The arms of the caption study: normal tokenizer runs that differ in one thing from their base."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textok.models.bottleneck import AEConfig, FSQConfig, VQConfig
from textok.models.vit import Placement
from textok.recipes import RECIPES
from textok.training.run import BudgetDraw
from textok.training.tokenizer.config import TokenizerRun

TABLES = ("placement", "explanation", "bottleneck", "quality", "encoder", "budgets")
"""The tables in order of importance."""

LONGER = 4
"""How many times the steps the longer arms take."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One training.

    Attributes:
        name: name of its run folder.
        table: the table that it belongs to.
        label: its name in the table.
        run: the training.
        trainable: False for an arm whose setting the package no longer has: the record holds its scores.
    """

    name: str
    table: str
    label: str
    run: TokenizerRun
    trainable: bool = True

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.run.seed


def study_arms(base: TokenizerRun, *, seeds: Sequence[int] = (0, 1, 2)) -> list[Arm]:
    """All arms, the most important first.

    Args:
        base: text on both sides, kl bottleneck; every arm keeps its data, size, steps and schedule.
        seeds: of "both" and "none"; all other arms are trained with the first one only.

    Raises:
        ValueError: without a seed.
    """
    if not seeds:
        raise ValueError("seeds: got none, expected at least one")
    base = replace(base, seed=seeds[0])
    others = (explanation_arms, bottleneck_arms, quality_arms, encoder_arms, budget_arms)
    arms = placement_arms(base, seeds=seeds) + [arm for arms_of in others for arm in arms_of(base)]
    return [replace(arm, run=replace(arm.run, name=arm.name)) for arm in arms]


def placement_arms(base: TokenizerRun, *, seeds: Sequence[int]) -> list[Arm]:
    """Text on both sides, on none, on one: the paper's ablation."""

    def arm(placement: Placement, seed: int) -> Arm:
        run = replace(base, seed=seed, model=replace(base.model, placement=placement))
        return Arm(name=f"{placement}-seed{seed}", table="placement", label=placement, run=run)

    every: tuple[Placement, ...] = ("both", "none", "encoder", "decoder")
    first = [arm(placement, seeds[0]) for placement in every]
    return first + [arm(placement, seed) for seed in seeds[1:] for placement in every[:2]]


PERCEPTUAL = 1.0
"""Weight of the perceptual distance in the arms whose loss asks for meaning before pixels."""


def explanation_arms(base: TokenizerRun) -> list[Arm]:
    """Why the first table says what it says.

    Longer trainings; captions that are not held back at first; and a loss that is nearly all perceptual.
    """
    longer = replace(base, steps=LONGER * base.steps)
    without = replace(longer, model=replace(longer.model, placement="none"))
    plain = replace(base, model=replace(base.model, text_bias=None))
    meaning = replace(base, loss=replace(base.loss, perceptual=PERCEPTUAL))
    meaning_without = replace(meaning, model=replace(meaning.model, placement="none"))
    runs = {
        "both-longer": (f"both, {LONGER} times the steps", longer),
        "none-longer": (f"none, {LONGER} times the steps", without),
        "both-plain": ("both, plain attention to captions", plain),
        "both-perceptual": (f"both, perceptual weight {PERCEPTUAL:g}", meaning),
        "none-perceptual": (f"none, perceptual weight {PERCEPTUAL:g}", meaning_without),
    }
    return [Arm(name=name, table="explanation", label=label, run=run) for name, (label, run) in runs.items()]


def bottleneck_arms(base: TokenizerRun) -> list[Arm]:
    """The same tokenizer with other bottlenecks; kl is the placement table's "both"."""
    others = {"ae": AEConfig(), "fsq": FSQConfig(), "vq": VQConfig()}
    return [
        Arm(
            name=f"bottleneck-{kind}",
            table="bottleneck",
            label=kind,
            run=replace(base, model=replace(base.model, bottleneck=config)),
        )
        for kind, config in others.items()
    ]


def quality_arms(base: TokenizerRun) -> list[Arm]:
    """Trained with some captions taken from other pictures, to be robust against them."""
    run = replace(base, wrong_caption_share=0.2)
    return [Arm(name="wrong-captions-20", table="quality", label="20 % wrong captions in training", run=run)]


def encoder_arms(base: TokenizerRun) -> list[Arm]:
    """Fewer tokens of the same text encoder, whose 40 tokens are the table's base, and encoders of the past."""
    arms = [
        Arm(
            name=f"text-minilm-{tokens}",
            table="encoder",
            label=f"minilm-{tokens}",
            run=replace(base, model=replace(base.model, max_text_tokens=tokens)),
        )
        for tokens in (8, 16, 32)
    ]
    retired = [_retired(base, f"text-{name}", "encoder", name) for name in ("minilm-mean", "words")]
    return arms + retired


def _retired(base: TokenizerRun, name: str, table: str, label: str) -> Arm:
    return Arm(name=name, table=table, label=label, run=base, trainable=False)


FIXED_LENGTHS = (8, 32)
"""Tokens of the arms of fixed length."""


def budget_arms(base: TokenizerRun) -> list[Arm]:
    """Other ways to draw the training budgets, and models of one length.

    The table's base is "both": lengths log-uniform, a quarter of them full, each picture its own, the tail cut.
    """
    drawn: dict[str, tuple[str, BudgetDraw]] = {
        "uniform": ("uniform", replace(base.budgets, kind="uniform")),
        "powers": ("powers of two", replace(base.budgets, kind="powers")),
        "no-full": ("no share at full K", replace(base.budgets, full_share=0.0)),
        "half-full": ("half at full K", replace(base.budgets, full_share=0.5)),
        "per-batch": ("one length a batch", replace(base.budgets, per_sample=False)),
    }
    arms = [
        Arm(name=f"budgets-{name}", table="budgets", label=label, run=replace(base, budgets=draw))
        for name, (label, draw) in drawn.items()
    ]
    arms.append(_retired(base, "budgets-mask-token", "budgets", "mask token for the tail"))
    for length in FIXED_LENGTHS:
        model, budgets = replace(base.model, num_latents=length), replace(base.budgets, kind="fixed")
        fixed = replace(base, model=model, budgets=budgets)
        label = f"{length} tokens, fixed length"
        arms.append(Arm(name=f"budgets-fixed-{length}", table="budgets", label=label, run=fixed))
    return arms


def icons_64_small() -> TokenizerRun:
    """icons-64 at a third of its cost, in float32 on every machine: for studies of many arms on any two cores."""
    run = RECIPES["icons-64"]()
    return replace(
        run,
        name="icons-64-small",
        model=replace(run.model, dim=128, num_heads=2, encoder_depth=3, decoder_depth=3),
        steps=1200,
        precision="float32",  # so that arms trained on different processors may stand in one table
        validation=replace(run.validation, every=1200),
    )
