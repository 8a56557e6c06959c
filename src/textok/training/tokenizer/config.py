"""What a tokenizer training is made of: one frozen dataclass a part, one for the whole run."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from textok.data import DataConfig
from textok.models.tokenizer import TexTokConfig
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.training.draws import BudgetDraw
from textok.training.optimizers import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What is evaluated during training, with the EMA weights.

    Attributes:
        split: of the same source as the training data.
        count: most pictures, the first of the split.
        every: steps between evaluations.
        budgets: numbers of tokens; those above the model's K are left out.
        batch_size: pictures at a time.
        best_by: metric that chooses the best weights, averaged over budgets with the right caption.
        pictures: how many are drawn in the PNG grid.
    """

    split: str = "val"
    count: int = 305
    every: int = 1000
    budgets: tuple[int, ...] = (2, 4, 8, 16, 32)
    batch_size: int = 32
    best_by: Literal["psnr", "ssim", "perceptual_effnet_lite2", "fd_effnet_lite2"] = "perceptual_effnet_lite2"
    pictures: int = 6

    def __post_init__(self) -> None:
        for name in ("count", "every", "batch_size", "pictures"):
            if getattr(self, name) < 1:
                raise ValueError(f"validation.{name}: got {getattr(self, name)}, expected at least 1")
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"validation.budgets: got {self.budgets}, expected numbers of at least 1")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What a reconstruction is judged by. Every term is a mean, so a weight means the same at any size.

    Attributes:
        l2, l1: weights of the pixel losses, means over all pixel values on [-1, 1].
        perceptual: weight of the perceptual distance, a mean over positions, stages and pictures.
        perceptual_network: "effnet_lite0" (packaged), or "vgg16" / "alexnet" with ``perceptual_weights``.
        perceptual_weights: safetensors file with the LPIPS network; needed for vgg16 and alexnet only.
    """

    l2: float = 1.0
    l1: float = 0.0
    perceptual: float = 0.1
    perceptual_network: Literal["effnet_lite0", "vgg16", "alexnet"] = "effnet_lite0"
    perceptual_weights: str | None = None

    def __post_init__(self) -> None:
        for name in ("l2", "l1", "perceptual"):
            if getattr(self, name) < 0:
                raise ValueError(f"loss.{name}: got {getattr(self, name)}, expected 0 or more")
        if self.l2 + self.l1 <= 0:
            raise ValueError("loss: l2 and l1 are both 0; a tokenizer needs a pixel loss")
        if (self.perceptual_network == "effnet_lite0") == (self.perceptual_weights is not None):
            raise ValueError(
                f"loss.perceptual_weights: got {self.perceptual_weights!r} for {self.perceptual_network}; "
                "expected a file for vgg16 and alexnet, none for effnet_lite0"
            )


CRITIC_OPTIMIZER = OptimizerConfig(kind="adamw", lr=2e-4, betas=(0.0, 0.99), weight_decay=0.0, warmup_steps=0)


@dataclass(frozen=True, kw_only=True)
class TokenizerRun:
    """A whole training run.

    Attributes:
        name: of the weights that come out.
        model, data, loss, optimizer, budgets, validation: see their classes.
        adversarial: the GAN terms, or None for none.
        discriminator: its widths; None takes the published ones for the resolution.
        critic_optimizer: how the discriminator moves (AdamW).
        caption_dropout: share of training pictures whose caption is replaced by the null token.
        wrong_caption_share: share of training pictures that get the caption of another picture of the batch, so
            that the model learns to doubt captions.
        steps: optimizer steps of the whole run; the schedule depends on it.
        batch_size: pictures a step over all ranks and micro-batches.
        micro_batch: most pictures a rank takes through the network at once; more are accumulated.
        seed: of every random choice.
        ema_decay: of the averaged weights, which are evaluated and exported.
        init_from: shipped name, folder or hub id whose weights the run starts from (fine-tuning).
        text_dtype: number type the text encoder computes in when captions are missing from the cache.
        text_cache: folder of the caption features; default the user's cache.
        precision: "auto" trains in bfloat16 where the hardware multiplies it natively.
        activation_checkpointing: recompute activations in the backward pass; saves memory, costs a third.
        log_every, checkpoint_every: in steps.
        max_skipped_steps: the run stops when more steps than this had a loss or gradient that was not finite.
    """

    kind: ClassVar[str] = "tokenizer"

    name: str = "tokenizer"
    model: TexTokConfig = field(default_factory=TexTokConfig)
    data: DataConfig
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budgets: BudgetDraw = field(default_factory=BudgetDraw)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    adversarial: AdversarialConfig | None = None
    discriminator: DiscriminatorConfig | None = None
    critic_optimizer: OptimizerConfig = CRITIC_OPTIMIZER
    caption_dropout: float = 0.1
    wrong_caption_share: float = 0.0
    steps: int = 10_000
    batch_size: int = 64
    micro_batch: int = 64
    seed: int = 0
    ema_decay: float = 0.999
    init_from: str | None = None
    text_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    text_cache: str | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    activation_checkpointing: bool = False
    log_every: int = 20
    checkpoint_every: int = 500
    max_skipped_steps: int = 20

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "micro_batch",
            "log_every",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        side = self.model.image_size
        if tuple(self.data.size) != (side, side):
            raise ValueError(f"data.size: got {self.data.size}, expected model.image_size: {(side, side)}")
        for name in ("caption_dropout", "wrong_caption_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a share in [0, 1]")
        if self.critic_optimizer.kind != "adamw":
            raise ValueError(f"critic_optimizer.kind: got {self.critic_optimizer.kind!r}, expected adamw")
        if self.adversarial is None:
            self._check_no_critic()
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: got {self.ema_decay}, expected a number in [0, 1)")

    def _check_no_critic(self) -> None:
        """Settings of a critic that no loss asks for are a mistake, not a wish."""
        if self.discriminator is not None:
            raise ValueError(
                "discriminator: got widths while adversarial is None; expected None, or GAN terms in adversarial"
            )
        if self.critic_optimizer != CRITIC_OPTIMIZER:
            raise ValueError(
                f"critic_optimizer: got {self.critic_optimizer} while adversarial is None; "
                "expected the default, or GAN terms in adversarial"
            )
