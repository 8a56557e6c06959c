"""The sources ``scenes`` (composed pictures without end) and ``icons`` (each drawing alone on its background)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.data.census import Census
from textok.data.samples import RawSample
from textok.data.scenes.captions import Density, as_density, write_caption
from textok.data.scenes.composition import MOST_THINGS, compose
from textok.data.scenes.drawings import Drawings, drawings_folder
from textok.data.scenes.facts import Facts
from textok.data.scenes.icons import draw_icon
from textok.data.scenes.picture import draw_scene
from textok.data.scenes.stream import Stream

LENGTHS = {"train": 10_000_000, "val": 500, "test-drawing": 1_000, "test-concept": 1_000}
"""Scenes of each split; those of train are an epoch, which no training here ends."""


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What stands after ``scenes:``, separated by commas: a density, or KEY=VALUE.

    Attributes:
        density: "name", "short", "dense", or "mixed", which draws one for each scene.
        seed: of the scenes; the same seed, split and index is the same picture and caption everywhere.
        max_drawings: different drawings in a scene at most, 1 to 4.
        count: scenes of the split; 0 takes the usual number. With a number, train is a set like any other: shuffled
            anew in each epoch, its captions encoded once and kept.
        drawings: folder with the drawings; "" takes the clone's.
    """

    density: str = "mixed"
    seed: int = 0
    max_drawings: int = MOST_THINGS
    count: int = 0
    drawings: str = ""

    def __post_init__(self) -> None:
        as_density(self.density)
        for name in ("seed", "count"):
            if getattr(self, name) < 0:
                raise ValueError(f"scenes {name}: got {getattr(self, name)}; expected 0 or more")
        if not 1 <= self.max_drawings <= MOST_THINGS:
            raise ValueError(f"scenes max_drawings: got {self.max_drawings}; expected 1 to {MOST_THINGS}")

    @classmethod
    def parse(cls, text: str) -> "SceneOptions":
        """Options from "dense,seed=1,max_drawings=2".

        Raises:
            ValueError: for an unknown key or value.
        """
        kinds = {option.name: option.type for option in fields(cls)}
        values: dict[str, str | int] = {}
        for item in filter(None, text.split(",")):
            key, equals, value = item.partition("=")
            key, value = (key, value) if equals else ("density", key)
            if key not in kinds:
                raise ValueError(f"scenes: got option {key!r}; expected one of {', '.join(kinds)}")
            if kinds[key] is int and not value.isdecimal():
                raise ValueError(f"scenes {key}: got {value!r}; expected a number, 0 or more")
            values[key] = int(value) if kinds[key] is int else value
        return cls(**values)  # pyrefly: ignore[bad-argument-type]


@dataclass(frozen=True, kw_only=True)
class ScenePicture:
    """A scene that is drawn at the size that is asked for."""

    facts: Facts
    drawings: Drawings = field(repr=False)

    def draw(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """RGB pixels.

        Raises:
            ValueError: unless ``size`` is a square of 64 to 512 pixels.
        """
        return _tensor(draw_scene(self.facts, self.drawings, _square(size, "scenes")))


@dataclass(frozen=True, kw_only=True)
class IconPicture:
    """A drawing alone on its background."""

    place: int
    drawings: Drawings = field(repr=False)

    def draw(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """RGB pixels.

        Raises:
            ValueError: unless ``size`` is a square.
        """
        return _tensor(draw_icon(self.drawings, self.place, _square(size, "icons")))


class SceneSource:
    """Scenes of one split by number; each is a pure function of the seed, the split, the number and the drawings.

    Args:
        split: train, val, test-drawing or test-concept; a split's scenes show its own drawings only.
        options: see :class:`SceneOptions`.

    Raises:
        FileNotFoundError: when the drawings are not there; says where to get them.
        ValueError: for an unknown split.
    """

    def __init__(self, split: str, options: SceneOptions) -> None:
        self.split, self.options = split, options
        self.drawings = Drawings(drawings_folder(options.drawings), split)
        self._density: Density | None = as_density(options.density)
        self.shard_lengths = [options.count or LENGTHS[split]]
        # Scenes are independent draws: an endless epoch of train needs no other order.
        self.max_window = 0 if split == "train" and not options.count else None
        self.census, self.splits = Census(read=len(self)), ()
        parts = (
            split,
            len(self),
            options.density,
            options.seed,
            options.max_drawings,
            self.drawings.fingerprint,
        )
        self.fingerprint = "-".join(map(str, ("scenes-1", *parts)))

    def __len__(self) -> int:
        return self.shard_lengths[0]

    def facts(self, index: int) -> Facts:
        """What the scene at ``index`` shows."""
        stream = Stream("scene", self.options.seed, self.split, index)
        return compose(stream, self.drawings, most_things=self.options.max_drawings)

    def draw(self, index: int, size: int) -> UInt8[Tensor, "3 h w"]:
        """The picture at ``index``; raises ``ValueError`` for a size out of range."""
        return _tensor(draw_scene(self.facts(index), self.drawings, size))

    def caption_stream(self, index: int) -> Stream:
        """The draws of the caption at ``index``."""
        return Stream("caption", self.options.seed, self.split, index)

    def read(self, index: int) -> RawSample:
        """The scene at ``index``, not drawn yet; its facts are JSON of :class:`~textok.data.scenes.facts.Facts`."""
        facts = self.facts(index)
        return RawSample(
            key=f"scene-{self.split}-{self.options.seed}-{index:08d}",
            shard=f"scenes/{self.split}",
            image=ScenePicture(facts=facts, drawings=self.drawings),
            captions=(write_caption(facts, self.caption_stream(index), self._density).text,),
            facts=facts.to_json(),
        )

    def captions(self) -> Iterator[str]:
        """The caption of every scene, one by one; ten million in train."""
        for index in range(len(self)):
            yield write_caption(self.facts(index), self.caption_stream(index), self._density).text


class IconSource:
    """The samples of icons-128, made from the drawings: the same keys, splits, order and captions.

    Args:
        split: train, val, test-drawing or test-concept.
        folder: with the drawings; "" takes the clone's.

    Raises:
        FileNotFoundError: when the drawings are not there; says where to get them.
        ValueError: for an unknown split.
    """

    max_window = None

    def __init__(self, split: str, folder: str = "") -> None:
        self.drawings = Drawings(drawings_folder(folder), split)
        self.split = split
        self.shard_lengths = [len(self.drawings)]
        self.census, self.splits = Census(read=len(self.drawings)), ()
        self.fingerprint = f"icons-1-{self.drawings.fingerprint}"

    def __len__(self) -> int:
        return len(self.drawings)

    def read(self, index: int) -> RawSample:
        """The icon at ``index``, not drawn yet."""
        drawing = self.drawings.rows[index]
        return RawSample(
            key=drawing.icon_key,
            shard=f"icons/{self.split}",
            image=IconPicture(place=index, drawings=self.drawings),
            captions=(drawing.icon_caption,),
        )

    def captions(self) -> Iterator[str]:
        """The caption of every icon."""
        for drawing in self.drawings.rows:
            yield drawing.icon_caption


def _tensor(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _square(size: tuple[int, int], name: str) -> int:
    if size[0] != size[1]:
        raise ValueError(f"size: got {size[0]} x {size[1]}; expected a square for {name}")
    return size[0]
