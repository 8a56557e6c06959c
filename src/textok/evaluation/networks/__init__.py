"""Feature networks that metrics read pictures with; the network's name is part of the metric's name."""

from textok.evaluation.networks.effnet_lite2 import EffNetLite2
from textok.evaluation.networks.enlarged import Enlarged
from textok.evaluation.networks.loading import NETWORKS, load_network
from textok.evaluation.networks.naming import distance_name, inception_score_name, kernel_distance_name
from textok.evaluation.networks.protocol import FeatureNetwork, ImageFeatures

__all__ = [
    "NETWORKS",
    "EffNetLite2",
    "Enlarged",
    "FeatureNetwork",
    "ImageFeatures",
    "distance_name",
    "inception_score_name",
    "kernel_distance_name",
    "load_network",
]
