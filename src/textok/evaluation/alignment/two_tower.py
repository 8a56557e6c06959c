"""Caption alignment of drawings: a small head on frozen picture and caption features."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from textok.models.checkpoint import Pretrained, shipped_folder

SHIPPED_NAME, SHIPPED_FOLDER = "two-tower", "two-tower-alignment"


@dataclass(frozen=True, kw_only=True)
class TwoTowerConfig:
    """What the head reads and how wide it is.

    Attributes:
        image_network: feature network whose pooled features the head reads.
        image_dim: their channels.
        text_encoder: frozen text encoder whose mean token states the head reads.
        text_dim: their channels.
        max_text_tokens: captions are cut to this many tokens.
        hidden: width of each tower's hidden layer.
        dim: channels of the shared space.
        dropout: share of hidden units dropped in training.
    """

    image_network: str = "effnet_lite2"
    image_dim: int = 1280
    text_encoder: str = "minilm"
    text_dim: int = 384
    max_text_tokens: int = 40
    hidden: int = 512
    dim: int = 256
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for name in ("image_dim", "text_dim", "max_text_tokens", "hidden", "dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"two-tower {name}: got {getattr(self, name)}; expected at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"two-tower dropout: got {self.dropout}; expected 0 up to below 1")


class TwoTower(Pretrained):
    """Picture features and caption features to unit vectors of one space (the form of CLIP, arXiv 2103.00020).

    Each tower normalises its features and has one hidden layer. Both feature networks are frozen and not part
    of it. The cosine of the two vectors is the score ``alignment_two_tower``.
    """

    config_class = TwoTowerConfig
    config: TwoTowerConfig

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.image_tower = _tower(config.image_dim, config)
        self.text_tower = _tower(config.text_dim, config)

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path = SHIPPED_NAME, *, revision: str | None = None
    ) -> "TwoTower":
        """Load the shipped head, ``two-tower``, or one from a folder or a hub id; in fp32, evaluation mode.

        Raises:
            FileNotFoundError: when there is no such folder or hub entry.
            ValueError: when the files are damaged, or of another configuration or a newer format.
        """
        name = str(name_or_folder)
        if name == SHIPPED_NAME:
            return super().from_pretrained(shipped_folder(SHIPPED_FOLDER))
        if not Path(name).is_dir() and "/" not in name:
            hint = "; did you mean it?" if difflib.get_close_matches(name, [SHIPPED_NAME]) else ""
            raise FileNotFoundError(f"{name}: no such folder; the shipped head is {SHIPPED_NAME}{hint}")
        return super().from_pretrained(name, revision=revision)

    def embed_images(self, features: Float[Tensor, "b i"]) -> Float[Tensor, "b e"]:
        """Pooled picture features (b, image_dim) to unit vectors."""
        return nn.functional.normalize(self.image_tower(features.float()), dim=1)

    def embed_captions(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Mean token states (b, text_dim) to unit vectors."""
        return nn.functional.normalize(self.text_tower(features.float()), dim=1)


def _tower(width: int, config: TwoTowerConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, config.hidden),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, config.dim),
    )
