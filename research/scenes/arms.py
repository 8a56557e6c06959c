"""The arms of the study on scenes: with and without captions, and with names only, in both kinds of decoder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from textok.models.decoder import FlowDecoderConfig
from textok.models.vit import Placement
from textok.recipes import RECIPES
from textok.training.tokenizer.config import TokenizerRun

DECODERS = ("direct", "flow")
TEXTS = ("none", "both", "both-name")
"""No captions; captions of all densities on both sides; the names of the things only, on both sides."""

PICTURES = 400_000


@dataclass(frozen=True, kw_only=True)
class SceneArm:
    """One training.

    Attributes:
        text: one of ``TEXTS``.
        decoder: one of ``DECODERS``.
        run: the training.
    """

    text: str
    decoder: str
    run: TokenizerRun

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.text}-{self.decoder}-seed{self.run.seed}"


def scene_arms(
    *, seeds: Sequence[int], pictures: int = PICTURES, flow_recipe: str = "scenes-64-flow"
) -> list[SceneArm]:
    """All arms, by seed; within a seed those come first that the main question needs.

    Args:
        seeds: of the trainings.
        pictures: that each arm sees.
        flow_recipe: the recipe of the flow arms; its twin with ``-direct`` makes the others.
    """
    bases = {"flow": RECIPES[flow_recipe](), "direct": RECIPES[flow_recipe.replace("-flow", "-direct")]()}
    return [
        SceneArm(text=text, decoder=decoder, run=_arm_run(bases[decoder], text, seed, pictures))
        for seed in seeds
        for text in TEXTS
        for decoder in DECODERS
    ]


def is_flow(run: TokenizerRun) -> bool:
    """Whether its decoder generates."""
    return isinstance(run.model.decoder, FlowDecoderConfig)


def _arm_run(base: TokenizerRun, text: str, seed: int, pictures: int) -> TokenizerRun:
    placement: Placement = "none" if text == "none" else "both"
    return replace(
        base,
        name=f"{base.name}-{text}-seed{seed}",
        seed=seed,
        steps=pictures // base.batch_size,
        model=replace(base.model, placement=placement),
        budgets=replace(base.budgets, empty_share=0.0) if text == "none" else base.budgets,
        words_first=0.0 if text == "none" else base.words_first,
        data=replace(base.data, source="scenes:name" if text == "both-name" else base.data.source),
    )
