"""Feature networks that metrics read pictures with; the network's name is part of the metric's name."""

import difflib
from pathlib import Path

from textok.evaluation.networks.effnet_lite2 import EffNetLite2
from textok.evaluation.networks.inception_2015 import Inception2015
from textok.evaluation.networks.protocol import FeatureNetwork, ImageFeatures
from textok.evaluation.networks.vision_transformers import FAMILIES, VisionTransformer

__all__ = [
    "NETWORKS",
    "EffNetLite2",
    "FeatureNetwork",
    "ImageFeatures",
    "load_network",
    "metric_name",
]

NETWORKS = (EffNetLite2.name, Inception2015.name, *FAMILIES)
"""Names that ``load_network`` knows."""

_PUBLISHED = {"fd": "fid", "kd": "kid", "is": "is"}


def metric_name(kind: str, network: FeatureNetwork) -> str:
    """Name of a Fréchet distance ("fd"), a kernel distance ("kd") or an Inception score ("is") by a network.

    A published name (fid, kid, is) is given only with the published weights: Inception of 2015 with the file that
    everyone uses, known by its hash. With any other network, or other weights, the name is KIND_NETWORK.
    """
    published = isinstance(network, Inception2015) and network.published
    return _PUBLISHED[kind] if published else f"{kind}_{network.name}"


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
