"""A small head beside a tokenizer's encoder that predicts, before any decoding, how good every budget would be."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, gelu

from textok.checks import check
from textok.models.checkpoint import SHIPPED_PREDICTORS, Pretrained

DETAIL_SCALES = (2, 4, 8, 16, 32, 64)
"""Sides in pixels of the squares whose means are taken away; the last measure takes away the picture's own."""

NUM_DETAILS = len(DETAIL_SCALES) + 1
_MIN_ENERGY = 1e-4  # of the energy of pixels in [-1, 1]; about a third of a level of 255


@dataclass(frozen=True, kw_only=True)
class QualityPredictorConfig:
    """What the head reads and how wide it is."""

    tokenizer: str  # model id; it reads no other's latents
    measure: str  # the quality that it predicts, such as "psnr"
    num_latents: int  # K of the tokenizer
    latent_dim: int  # its latent channels c
    token_dim: int = 16  # width that every token is read into
    hidden: int = 128
    degree: int = 3  # of the polynomials in the logarithm of the budget that curves are made of
    dropout: float = 0.3

    def __post_init__(self) -> None:
        check(self, "", "num_latents", "latent_dim", "token_dim", "hidden", "degree", at_least=1)
        check(self, "", "dropout", at_least=0, below=1)


class QualityPredictor(Pretrained):
    """The latents of a picture, and how much detail it has, to its quality at 1 to K tokens.

    Latents alone say what is kept; how much is lost shows in the picture, of which seven numbers are read. Curves
    are the mean one of the training pictures and a few smooth functions of log k, as many as there is to tell of
    noisy measurements; a free value for each budget would order neighbouring budgets by chance. A tokenizer makes
    pictures that it was trained on better than others: ``correction`` is what held-out pictures differ by on
    average at each budget, and is in every curve.
    """

    config_class = QualityPredictorConfig
    shipped = SHIPPED_PREDICTORS
    config: QualityPredictorConfig
    curve_mean: Tensor
    correction: Tensor
    curve_std: Tensor
    detail_mean: Tensor
    detail_std: Tensor
    shapes: Tensor

    def __init__(self, config: QualityPredictorConfig) -> None:
        super().__init__()
        self.config = config
        shapes = curve_shapes(config.num_latents, degree=config.degree)
        self.read = nn.Linear(config.latent_dim, config.token_dim)
        self.mix = nn.Linear(config.num_latents * config.token_dim + NUM_DETAILS, config.hidden)
        self.tell = nn.Linear(config.hidden, len(shapes))
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("shapes", shapes, persistent=False)
        self.register_buffer("curve_mean", torch.zeros(config.num_latents))
        self.register_buffer("correction", torch.zeros(config.num_latents))
        self.register_buffer("curve_std", torch.ones(()))
        self.register_buffer("detail_mean", torch.zeros(NUM_DETAILS))
        self.register_buffer("detail_std", torch.ones(NUM_DETAILS))

    def forward(self, latents: Float[Tensor, "b K c"], detail: Float[Tensor, "b f"]) -> Float[Tensor, "b K"]:
        """Quality of each picture, of which column k - 1 is that of k tokens.

        Reads all K latents of unit scale, as ``TexTok.encode`` returns them, and what :func:`picture_detail` measures.
        """
        tokens = self.dropout(gelu(self.read(latents.to(self.read.weight.dtype))).flatten(1))
        detail = (detail - self.detail_mean) / self.detail_std
        hidden = self.dropout(gelu(self.mix(torch.cat([tokens, detail], dim=1))))
        return self.curve_mean + self.correction + self.curve_std * self.tell(hidden) @ self.shapes

    def check(self, *, tokenizer_id: str, measure: str) -> None:
        """Refuse a tokenizer or a measure that this head was not trained for."""
        for name, value in {"tokenizer": tokenizer_id, "measure": measure}.items():
            own = getattr(self.config, name)
            if own != value:
                raise ValueError(
                    f"quality predictor: got one for {name} {own!r}, expected {value!r}; "
                    "train one for it with textok train predictor"
                )


def picture_detail(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f"]:
    """Log10 of the energy that pictures in [-1, 1] have in detail finer than 2, 4 ... 64 pixels, and in all.

    That finer than s is what is left of the mean square when the means of s x s squares are taken away.
    """
    height, width = images.shape[-2:]
    means, energies = images.float(), []
    total = means.square().mean(dim=(1, 2, 3))
    for scale in (*DETAIL_SCALES, max(height, width)):
        means = adaptive_avg_pool2d(means, (max(1, height // scale), max(1, width // scale)))
        energies.append((total - means.square().mean(dim=(1, 2, 3))).clamp(min=0))
    return (torch.stack(energies, dim=1) + _MIN_ENERGY).log10()


def curve_shapes(num_latents: int, *, degree: int) -> Float[Tensor, "j K"]:
    """Orthogonal polynomials of unit mean square in log k, k from 1 to K; a constant first."""
    place = torch.arange(1, num_latents + 1, dtype=torch.float64).log() / math.log(max(2, num_latents))
    powers = place[:, None] ** torch.arange(min(degree, num_latents - 1) + 1)  # (K j)
    return (torch.linalg.qr(powers).Q.T * math.sqrt(num_latents)).float()
