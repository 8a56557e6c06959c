"""What a generator training is made of: one frozen dataclass a part, one for the whole run."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from textok.models.dit import DiTConfig
from textok.models.maskgit import MaskGITConfig
from textok.sampling.flow import FlowConfig
from textok.training.draws import BudgetDraw
from textok.training.optimizers import OptimizerConfig

PROMPTS = (
    "a glossy 3D emoji of a red apple; food, fruit",
    "a flat vector emoji of a cat face, on a teal background",
    "a clip art drawing of a house, in black and white",
    "a blue car",
)


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """What a run shows of itself: the loss on held-out latents, and pictures of fixed prompts and seeds.

    Attributes:
        held_out: folder of a latent cache of pictures that are not trained on, or None.
        every: steps between previews.
        count: most held-out rows, the first.
        budgets: numbers of tokens; those above K are left out.
        prompts: of the picture grid, for text; classes are the first ones.
        tokenizer: where the tokenizer is that decodes the grid; default where the cache says. "none" draws no grid.
        steps, guidance: of its sampler.
    """

    held_out: str | None = None
    every: int = 1000
    count: int = 512
    budgets: tuple[int, ...] = (8, 16, 32)
    prompts: tuple[str, ...] = PROMPTS
    tokenizer: str | None = None
    steps: int = 24
    guidance: float = 3.0

    def __post_init__(self) -> None:
        for name in ("every", "count", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"preview.{name}: got {getattr(self, name)}, expected at least 1")
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"preview.budgets: got {self.budgets}, expected numbers of at least 1")


@dataclass(frozen=True, kw_only=True)
class GeneratorRun:
    """A whole training run.

    Attributes:
        name: of the weights that come out.
        model: a DiT for continuous latents, a MaskGIT for codes; what belongs to the tokenizer (``num_latents``,
            ``latent_dim`` or ``num_codes``, its id, the text encoder) is filled in from the cache.
        data: folder of the training latents (``textok cache``).
        flow: how times are drawn (DiT with velocity prediction).
        optimizer, budgets, preview: see their classes.
        condition_dropout: share of rows that train without their class or caption, for guidance.
        steps: optimizer steps of the whole run; the schedule depends on it.
        batch_size: rows a step over all ranks and micro-batches.
        micro_batch: most rows a rank takes through the network at once; more are accumulated.
        seed: of every random choice.
        ema_decay: of the averaged weights, which are evaluated and exported.
        precision: "auto" trains in bfloat16 where the hardware multiplies it natively.
        activation_checkpointing: recompute activations in the backward pass.
        sharded: spread weights, gradients and optimizer state over the ranks (FSDP2), for large sizes.
        log_every, checkpoint_every: in steps.
        max_skipped_steps: the run stops when more steps than this had a loss or gradient that was not finite.
    """

    kind: ClassVar[str] = "generator"

    name: str = "generator"
    model: DiTConfig | MaskGITConfig = field(default_factory=DiTConfig)
    data: str
    flow: FlowConfig = field(default_factory=FlowConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budgets: BudgetDraw = field(default_factory=lambda: BudgetDraw(per_sample=False))
    preview: PreviewConfig = field(default_factory=PreviewConfig)
    condition_dropout: float = 0.1
    steps: int = 10_000
    batch_size: int = 64
    micro_batch: int = 64
    seed: int = 0
    ema_decay: float = 0.9995
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    activation_checkpointing: bool = False
    sharded: bool = False
    log_every: int = 20
    checkpoint_every: int = 500
    max_skipped_steps: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "micro_batch", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if not 0 <= self.condition_dropout <= 1:
            raise ValueError(f"condition_dropout: got {self.condition_dropout}, expected a share in [0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: got {self.ema_decay}, expected a number in [0, 1)")
