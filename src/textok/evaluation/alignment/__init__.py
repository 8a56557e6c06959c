"""Does a picture say what a caption says: two scores that read pictures and captions into one space."""

from textok.evaluation.alignment.class_posterior import ClassPosterior
from textok.evaluation.alignment.mean_states import TextSource, caption_features, mean_states
from textok.evaluation.alignment.retrieval import caption_places, ranks_of_own
from textok.evaluation.alignment.two_tower import TwoTower, TwoTowerConfig

__all__ = [
    "ClassPosterior",
    "TextSource",
    "TwoTower",
    "TwoTowerConfig",
    "caption_features",
    "caption_places",
    "mean_states",
    "ranks_of_own",
]
