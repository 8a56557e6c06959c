"""The settings of a generator training: one frozen dataclass per part, one for the whole run."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from textok.checks import check
from textok.data.latents import Manifest
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiTConfig
from textok.models.maskgit import MaskGITConfig
from textok.sampling.flow import FlowConfig
from textok.training.run import BudgetDraw, Run

PROMPTS = (
    "a glossy 3D emoji of a red apple; food, fruit",
    "a flat vector emoji of a cat face, on a teal background",
    "a clip art drawing of a house, in black and white",
    "a blue car",
)


@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """What a run reports: the loss on held-out latents, and pictures of fixed prompts and seeds.

    Attributes:
        held_out: folder of a latent cache of pictures that are not trained on, or None.
        every: steps between previews.
        count: most held-out rows, the first.
        budgets: numbers of tokens; those above K are left out.
        prompts: of the picture grid, for text; classes are the first ones.
        tokenizer: the tokenizer that decodes the grid; default the one that the cache names. "none" draws no grid.
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
        check(self, "preview", "every", "count", "steps", at_least=1)
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"preview.budgets: got {self.budgets}, expected numbers of at least 1")


@dataclass(frozen=True, kw_only=True)
class GeneratorRun(Run):
    """A whole training run of a generator.

    Attributes:
        model: a DiT for continuous latents, a MaskGIT for codes; what belongs to the tokenizer (``num_latents``,
            ``latent_dim`` or ``num_codes``, its id, the text encoder) is filled in from the cache.
        latents: folder of the training latents (``textok cache``).
        flow: how times are drawn (DiT).
        preview: see its class.
        condition_dropout: share of rows that train without their class or caption, for guidance.
        sharded: spread weights, gradients and optimizer state over the ranks of each machine (FSDP2), for large sizes.
    """

    kind: ClassVar[str] = "generator"

    name: str = "generator"
    model: DiTConfig | MaskGITConfig = field(default_factory=DiTConfig)
    latents: str
    flow: FlowConfig = field(default_factory=FlowConfig)
    budgets: BudgetDraw = field(default_factory=lambda: BudgetDraw(per_sample=False))
    preview: PreviewConfig = field(default_factory=PreviewConfig)
    condition_dropout: float = 0.1
    ema_decay: float = 0.9995
    sharded: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", "condition_dropout", at_least=0, at_most=1)
        if self.budgets.empty_share:
            raise ValueError(
                f"budgets.empty_share: got {self.budgets.empty_share} for a generator, expected 0; it makes tokens"
            )


# --- fitted to a cache ------------------------------------------------------------------------------------


def fitted(run: GeneratorRun, manifest: Manifest) -> GeneratorRun:
    """The run with all that the tokenizer of the cache fixes; ``ValueError`` for a model of other tokens."""
    discrete = manifest.num_codes is not None
    if isinstance(run.model, DiTConfig) == discrete:
        tokens, model = ("codes", "a MaskGIT") if discrete else ("continuous latents", "a DiT")
        raise ValueError(f"{run.latents}: got {tokens} of a {manifest.kind} tokenizer; train {model} on them")
    if run.sharded and run.optimizer.kind != "adamw":
        raise ValueError(f"optimizer.kind: got {run.optimizer.kind!r} with sharded weights, expected adamw")
    values: dict[str, Any] = {
        "num_latents": manifest.num_latents,
        "tokenizer": manifest.tokenizer,
        "tokenizer_source": manifest.tokenizer_source,
        "condition": fitted_condition(run.model.condition, manifest, data=run.latents),
    }
    values |= {"num_codes": manifest.num_codes} if discrete else {"latent_dim": manifest.latent_dim}
    return replace(run, model=replace(run.model, **values))


def fitted_condition(config: ConditionConfig, manifest: Manifest, *, data: str) -> ConditionConfig:
    """The condition, as the cached rows have it."""
    if config.kind == "text":
        if not manifest.settings.get("text", True):
            raise ValueError(f"{data}: was cached without text; cache it with, or train on classes")
        of_text = ("text_encoder", "text_dim", "max_text_tokens")
        return replace(config, **{name: getattr(manifest, name) for name in of_text})
    if manifest.num_classes is None:
        raise ValueError(f"{data}: its rows have no classes; cache a source with labels, or train on text")
    if config.num_classes and config.num_classes < manifest.num_classes:
        raise ValueError(
            f"condition.num_classes: got {config.num_classes}, but {data} has {manifest.num_classes} classes"
        )
    return replace(config, num_classes=config.num_classes or manifest.num_classes)
