"""Does a picture show what a caption says: two scores that map pictures and captions into one space."""

from textok.evaluation.alignment.captions import (
    TextSource,
    caption_features,
    caption_places,
    mean_states,
    ranks_of_own,
)
from textok.evaluation.alignment.class_posterior import ClassPosterior
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
