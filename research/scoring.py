"""Scores of the arms of a study: computed once, then read from a file beside the arm."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from textok.evaluation.alignment import Semantics
from textok.evaluation.networks import EffNetLite2, FeatureNetwork, ImageFeatures
from textok.evaluation.results import Result, Scores, read_result, write_result
from textok.training.run_folder import environment, steps_of

FEATURE_SIDE = 128
SCORES_FILE = "scores.json"


def scores_in(path: Path, settings: Mapping[str, Any], evaluate: Callable[[], Scores]) -> Result:
    """The scores in a file if they were computed with these settings; else computed now and written there."""
    if path.is_file() and (result := read_result(path)).settings == settings:
        return result
    scores = evaluate()
    write_result(
        path,
        settings=settings,
        rows=scores.rows,
        per_image=scores.per_image,
        made_by=environment(),
    )
    return read_result(path)


def is_finished(folder: Path, *, steps: int) -> bool:
    """Whether the weights in a run folder come from its last step."""
    return steps_of(folder / "weights") == steps


@cache
def judges(side: int, device: str) -> Semantics:
    """The networks of every evaluation of a study, loaded once; small pictures are enlarged to ``side``."""
    network = Enlarged(EffNetLite2().to(device), side=side)
    return Semantics.from_pretrained(network=network, device=device)


class Enlarged(nn.Module):
    """A feature network that reads pictures after bicubic enlargement of their shorter side to ``side`` pixels.

    A network trained at 260 px sees little in 64 px. It keeps its name, as Inception does, which enlarges to 299 px:
    report the side beside the scores. Larger pictures are left as they are.
    """

    def __init__(self, network: FeatureNetwork, *, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side
        self.name, self.dim = network.name, network.dim
        self.description = f"{network.name}, pictures enlarged to {side} px (bicubic)"

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures."""
        shorter = min(images.shape[-2:])
        if shorter >= self.side:
            return self.network(images)
        larger = interpolate(images.float(), scale_factor=self.side / shorter, mode="bicubic")
        return self.network(larger.round().clamp(0, 255).to(torch.uint8))
