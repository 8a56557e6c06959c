"""A small head on a tokenizer's latents that tells, before any decoding, how good every budget would be."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textok.models.checkpoint import Pretrained


@dataclass(frozen=True, kw_only=True)
class QualityPredictorConfig:
    """What the head reads and how wide it is.

    Attributes:
        tokenizer: model id of the tokenizer that it belongs to; it reads no other's latents.
        measure: the quality it tells, such as "psnr".
        num_latents: K of the tokenizer.
        latent_dim: its latent channels c.
        token_dim: width that every token is read into.
        hidden: width of the hidden layer.
        dropout: share of hidden units dropped in training.
    """

    tokenizer: str
    measure: str
    num_latents: int
    latent_dim: int
    token_dim: int = 32
    hidden: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("num_latents", "latent_dim", "token_dim", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"quality predictor {name}: got {getattr(self, name)}; expected at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"quality predictor dropout: got {self.dropout}; expected 0 up to below 1")


class QualityPredictor(Pretrained):
    """All K latents of a picture to its quality at 1 to K tokens.

    Two layers. Predicted curves are deviations from the mean curve of the training pictures, in units of their
    spread; both are stored with the weights.
    """

    config_class = QualityPredictorConfig
    config: QualityPredictorConfig
    curve_mean: Tensor
    curve_std: Tensor

    def __init__(self, config: QualityPredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.read = nn.Linear(config.latent_dim, config.token_dim)
        self.mix = nn.Linear(config.num_latents * config.token_dim, config.hidden)
        self.tell = nn.Linear(config.hidden, config.num_latents)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("curve_mean", torch.zeros(config.num_latents))
        self.register_buffer("curve_std", torch.ones(()))

    def forward(self, latents: Float[Tensor, "b K c"]) -> Float[Tensor, "b K"]:
        """Unit-scale latents, as ``TexTok.encode`` returns them, to quality; column k - 1 is that of k tokens."""
        tokens = nn.functional.gelu(self.read(latents.to(self.read.weight.dtype))).flatten(1)
        hidden = self.dropout(nn.functional.gelu(self.mix(tokens)))
        return self.curve_mean + self.curve_std * self.tell(hidden)

    def check(self, *, tokenizer_id: str, measure: str) -> None:
        """Refuse a tokenizer or a measure that this head was not trained for.

        Raises:
            ValueError: names both and says what to do.
        """
        if self.config.tokenizer != tokenizer_id:
            raise ValueError(
                f"quality predictor: trained for tokenizer {self.config.tokenizer!r}, and this is {tokenizer_id!r}; "
                "train one for it: textok train predictor"
            )
        if self.config.measure != measure:
            raise ValueError(
                f"quality predictor: tells {self.config.measure!r}, and the budget asks for {measure!r}; "
                "train one for it: textok train predictor"
            )
