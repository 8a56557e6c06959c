"""The judge's network: EfficientNet-lite0, its later stages fine-tuned, and one answer for each cell of the picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from research.judge.vocabulary import CELLS, COLOURS, GROUNDS
from textok.objectives.efficientnet_lite0 import EfficientNetLite0
from textok.pixels import to_unit

SIDE = 128
_STAGES, _CHANNELS, _LEVELS = 5, (40, 112), (2, 4)
_WIDTH, _BLOCKS, _FROZEN = 160, 3, 2


class Answers(NamedTuple):
    """Logits of each cell, row by row, and of the whole picture; the fields are those of ``Targets``."""

    concept: Float[Tensor, "b cells concepts+1"]
    colours: Float[Tensor, "b cells names"]
    shape: Float[Tensor, "b cells 3"]
    grounds: Float[Tensor, "b 2 grounds"]


class _Mix(nn.Module):
    """A residual block: a depthwise 5x5 convolution and two pointwise ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width),
            nn.GroupNorm(1, width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The input and what the block adds."""
        return x + self.layers(x)


class Judge(nn.Module):
    """Says of each cell what it shows, in which colour, and where its middle lies; and the background's colours.

    Args:
        concepts: the list of things.
    """

    def __init__(self, concepts: Sequence[str]) -> None:
        super().__init__()
        self.concepts = tuple(concepts)
        self.backbone = EfficientNetLite0.from_package(num_stages=_STAGES)
        self.backbone.stages[_FROZEN:].requires_grad_(True)
        self.laterals = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in _CHANNELS)
        self.pixels = nn.Conv2d(3, _WIDTH, SIDE // CELLS, stride=SIDE // CELLS)
        self.mix = nn.Sequential(*(_Mix(_WIDTH) for _ in range(_BLOCKS)), nn.GroupNorm(1, _WIDTH))
        self.concept = nn.Linear(_WIDTH, len(concepts) + 1)
        self.colours = nn.Linear(_WIDTH, len(COLOURS))
        self.shape = nn.Linear(_WIDTH, 3)
        self.grounds = nn.Linear(2 * _WIDTH, 2 * len(GROUNDS))

    def features(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b cells width"]:
        """One vector for each cell; pictures of other sizes are resized to 128 pixels."""
        pixels = to_unit(images)
        if pixels.shape[-2:] != (SIDE, SIDE):
            pixels = F.interpolate(pixels, (SIDE, SIDE), mode="bicubic", antialias=True)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        maps, x = self.backbone(pixels), self.pixels(pixels)
        for level, lateral in zip(_LEVELS, self.laterals, strict=True):
            x = x + F.interpolate(lateral(maps[level]), (CELLS, CELLS))
        return self.mix(x).flatten(2).transpose(1, 2)

    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> Answers:
        """The answers for each cell and picture."""
        cells = self.features(images)
        return Answers(self.concept(cells), self.colours(cells), self.shape(cells), self.background(cells))

    def background(self, cells: Float[Tensor, "b cells width"]) -> Float[Tensor, "b 2 grounds"]:
        """Logits of the first and of the last colour of the background."""
        pooled = torch.cat([cells.mean(1), cells.amax(1)], dim=1)
        return self.grounds(pooled).unflatten(1, (2, len(GROUNDS)))

    def save(self, path: Path) -> None:
        """Write the weights in half precision, and the list of concepts."""
        weights = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, path, metadata={"concepts": json.dumps(self.concepts)})

    @classmethod
    def load(cls, path: Path) -> "Judge":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: when there is no such file; says how to make it.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no judge; expected the file of python -m research.judge train")
        with safe_open(path, "pt") as file:
            judge = cls(json.loads(file.metadata()["concepts"]))
            judge.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
        return judge.eval().requires_grad_(False)
