"""The settings of a tokenizer training: one frozen dataclass per part, one for the whole run."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from textok.checks import check, check_choice
from textok.data import DataConfig
from textok.data.loading import Mix
from textok.models.tokenizer import TexTokConfig
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.objectives.reconstruction import LossConfig
from textok.training.optimizers import OptimizerConfig
from textok.training.run import BudgetDraw, Run


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """What is evaluated during training, with the EMA weights.

    Attributes:
        source: of the held-out pictures; None takes that of the training data.
        split: the part to hold out. Where there is none of this name, a part called validation, valid, dev or test, or
            a few pictures by the hash of their keys.
        count: most pictures, the first of the split.
        every: steps between evaluations.
        budgets: numbers of tokens; those above the model's K are left out.
        batch_size: pictures at a time.
        best_by: metric that chooses the best weights, averaged over budgets with the right caption.
        pictures: how many are drawn in the PNG grid.
    """

    source: str | None = None
    split: str = "val"
    count: int = 305
    every: int = 1000
    budgets: tuple[int, ...] = (2, 4, 8, 16, 32)
    batch_size: int = 32
    best_by: Literal["psnr", "ssim", "perceptual_effnet_lite2", "fd_effnet_lite2"] = "perceptual_effnet_lite2"
    pictures: int = 6

    def __post_init__(self) -> None:
        check(self, "validation", "count", "every", "batch_size", "pictures", at_least=1)
        if not self.budgets or min(self.budgets) < 1:
            raise ValueError(f"validation.budgets: got {self.budgets}, expected numbers of at least 1")


DISCRIMINATOR_OPTIMIZER = OptimizerConfig(
    kind="adamw", lr=2e-4, betas=(0.0, 0.99), weight_decay=0.0, warmup_steps=0
)


@dataclass(frozen=True, kw_only=True)
class TokenizerRun(Run):
    """A whole training run of a tokenizer.

    Attributes:
        model, data, loss, validation: see their classes. ``data.size`` may be below ``model.image_size``: patches are
            then fewer and stand for more of the picture, steps cost less, and a next run goes on by ``init_from``.
        adversarial: the GAN terms, or None for none.
        discriminator: its widths; None takes the published ones for the resolution.
        discriminator_optimizer: how the discriminator moves (AdamW).
        caption_dropout: share of training pictures whose caption is replaced by the null token.
        decoder_caption_dropout: the same share for the decoder alone, drawn independently of the encoder's; None drops
            the captions of the same pictures on both sides.
        wrong_caption_share: share of training pictures that get the caption of another picture of the batch, so
            that the model learns to doubt captions.
        words_first: share of the steps, at the start, in which no picture keeps a latent, as with
            ``budgets.empty_share`` 1: the decoder learns to read captions, which it neglects once latents are there.
        mix: SOURCE:SHARE, such as scenes:0.5: so much of each batch comes from another source. Few pictures are learned
            without losing what ``init_from`` knew.
        init_from: shipped name, folder or hub id whose weights the run starts from (fine-tuning).
        text_states: "stored" encodes every caption before the first step and reads its states from ``text_cache``;
            "online" encodes those of each step on the training's device, which costs time in each but no disk.
        text_cache: folder of the caption features; default the user's cache.
    """

    kind: ClassVar[str] = "tokenizer"

    name: str = "tokenizer"
    model: TexTokConfig = field(default_factory=TexTokConfig)
    data: DataConfig
    loss: LossConfig = field(default_factory=LossConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    adversarial: AdversarialConfig | None = None
    discriminator: DiscriminatorConfig | None = None
    discriminator_optimizer: OptimizerConfig = DISCRIMINATOR_OPTIMIZER
    caption_dropout: float = 0.1
    decoder_caption_dropout: float | None = None
    wrong_caption_share: float = 0.0
    words_first: float = 0.0
    mix: str | None = None
    init_from: str | None = None
    text_states: Literal["stored", "online"] = "stored"
    text_cache: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", "caption_dropout", "wrong_caption_share", "words_first", at_least=0, at_most=1)
        check_choice(self, "", text_states=("stored", "online"))
        if self.mix is not None:
            Mix.parse(self.mix)
        side, patch = self.model.image_size, self.model.patch_size
        if max(self.data.size) > side or any(size % patch for size in self.data.size):
            raise ValueError(
                f"data.size: got {self.data.size}, expected model.image_size: {(side, side)}, "
                f"or fewer patches of {patch} for a first stage on small pictures"
            )
        if self.discriminator_optimizer.kind != "adamw":
            raise ValueError(
                f"discriminator_optimizer.kind: got {self.discriminator_optimizer.kind!r}, expected adamw"
            )
        if self.decoder_caption_dropout is not None:
            check(self, "", "decoder_caption_dropout", at_least=0, at_most=1)
        for name, share in (
            ("budgets.empty_share", self.budgets.empty_share),
            ("words_first", self.words_first),
        ):
            if share and not self.model.reads_text("decoder"):
                raise ValueError(
                    f"{name}: got {share} with model.placement {self.model.placement}, "
                    "expected 0: without latents such a decoder has nothing to read"
                )
        self._check_flow()
        unused = {"discriminator": None, "discriminator_optimizer": DISCRIMINATOR_OPTIMIZER}
        for name, default in unused.items():  # a mistake, not a wish
            if self.adversarial is None and (value := getattr(self, name)) != default:
                raise ValueError(
                    f"{name}: got {value} while adversarial is None, expected the default; set adversarial too"
                )

    def budgets_at(self, step: int) -> BudgetDraw:
        """How many latents the pictures of a step keep."""
        in_words = step < self.words_first * self.steps
        return replace(self.budgets, empty_share=1.0) if in_words else self.budgets

    def _check_flow(self) -> None:
        has_flow = self.model.decoder.kind == "flow"
        if has_flow != (self.loss.flow is not None):
            raise ValueError(
                f"loss.flow: got {self.loss.flow} with a {self.model.decoder.kind} decoder, "
                "expected settings for a flow decoder, None for a direct one"
            )
        if has_flow and self.adversarial is not None:
            raise ValueError("adversarial: got GAN terms with a flow decoder, expected None")
