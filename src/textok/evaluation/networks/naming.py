"""Names of the metrics that are named after the network they are computed with.

A published name is given only where the published weights are: Inception of 2015 with the file that everyone
uses, known by its hash. With any other network, or other weights, the name says which network it was.
"""

from textok.evaluation.networks.inception_2015 import Inception2015
from textok.evaluation.networks.protocol import FeatureNetwork


def distance_name(network: FeatureNetwork) -> str:
    """Name of a Fréchet distance: "fid" with the published Inception, else "fd_NETWORK"."""
    return "fid" if _published_inception(network) else f"fd_{network.name}"


def kernel_distance_name(network: FeatureNetwork) -> str:
    """Name of a kernel distance: "kid" with the published Inception, else "kd_NETWORK"."""
    return "kid" if _published_inception(network) else f"kd_{network.name}"


def inception_score_name(network: FeatureNetwork) -> str:
    """Name of an Inception score: "is" with the published Inception, else "is_NETWORK"."""
    return "is" if _published_inception(network) else f"is_{network.name}"


def _published_inception(network: FeatureNetwork) -> bool:
    return isinstance(network, Inception2015) and network.published
