"""Sources of pictures that are drawn: scenes without end, which can be written as tars, and icons."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from textok.checks import check
from textok.data.files import Census
from textok.data.images import tensor_to_image
from textok.data.samples import RawSample, Source
from textok.data.scenes.captions import Density, as_density, write_caption
from textok.data.scenes.composition import MOST_THINGS, compose
from textok.data.scenes.drawings import SPLITS, Drawings, draw_icon, draw_scene, drawings_folder
from textok.data.scenes.facts import Facts
from textok.data.scenes.stream import Stream
from textok.writing import write_tar

LENGTHS = {"train": 10_000_000, "val": 500, "test-drawing": 1_000, "test-concept": 1_000}
"""Scenes of each split; those of train are an epoch, which no training here ends."""


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What stands after ``scenes:``, separated by commas: a density, or KEY=VALUE.

    Attributes:
        density: "name", "short", "dense", or "mixed", which draws one for each scene.
        seed: the seed of the scenes; the same seed, split and index is the same picture and caption everywhere.
        max_drawings: different drawings in a scene at most, 1 to 4.
        count: number of scenes, from the first; of a source 0 takes the usual number, and with a number train is a set
            like any other: shuffled anew in each epoch, its captions encoded once and kept.
        drawings: folder with the drawings; "" takes the clone's.
    """

    density: str = "mixed"
    seed: int = 0
    max_drawings: int = MOST_THINGS
    count: int = 0
    drawings: str = ""

    def __post_init__(self) -> None:
        as_density(self.density)
        check(self, "scenes", "seed", "count", at_least=0)
        check(self, "scenes", "max_drawings", at_least=1, at_most=MOST_THINGS)

    @classmethod
    def parse(cls, text: str) -> "SceneOptions":
        """Options from "dense,seed=1,max_drawings=2"; ``ValueError`` for an unknown key or value."""
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
class Picture:
    """A picture that ``pixels`` draws with as many of them a side as are asked for; ``kind`` is for messages."""

    kind: str
    pixels: Callable[[int], np.ndarray] = field(repr=False)

    def draw(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """RGB pixels; ``ValueError`` unless ``size`` is a square, of 64 to 512 pixels a side for scenes."""
        if size[0] != size[1]:
            raise ValueError(f"size: got {size[0]} x {size[1]}; expected a square for {self.kind}")
        return torch.from_numpy(self.pixels(size[0])).permute(2, 0, 1).contiguous()


def scene_picture(facts: Facts, drawings: Drawings) -> Picture:
    """The picture of a scene."""
    return Picture(kind="scenes", pixels=partial(draw_scene, facts, drawings))


class SceneSource(Source):
    """Scenes of one split by number; each is a pure function of the seed, the split, the number and the drawings.

    The splits are train, val, test-drawing and test-concept; a split's scenes show its own drawings only. Errors say
    where to get drawings that are not there, and name an unknown split.
    """

    def __init__(self, split: str, options: SceneOptions) -> None:
        self.drawings = Drawings(drawings_folder(options.drawings), split)
        self.split, self.options, self._density = split, options, as_density(options.density)
        count = options.count or LENGTHS[split]
        self.shard_lengths, self.census = [count], Census(read=count)
        settings = f"{split}-{count}-{options.density}-{options.seed}-{options.max_drawings}"
        self.fingerprint = f"scenes-2-{settings}-{self.drawings.fingerprint}"
        # Scenes are independent draws: an endless epoch of train needs no other order.
        self.max_window = 0 if split == "train" and not options.count else None

    def facts(self, index: int) -> Facts:
        """What the scene at ``index`` shows."""
        stream = Stream("scene", self.options.seed, self.split, index)
        return compose(stream, self.drawings, most_things=self.options.max_drawings)

    def draw(self, index: int, size: int) -> UInt8[Tensor, "3 h w"]:
        """The picture at ``index``; raises ``ValueError`` for a size out of range."""
        return scene_picture(self.facts(index), self.drawings).draw((size, size))

    def caption(self, index: int, facts: Facts, density: Density | None = None) -> str:
        """The caption of the scene at ``index``; in the density of the options unless another is asked for."""
        stream = Stream("caption", self.options.seed, self.split, index)
        return write_caption(facts, stream, density or self._density).text

    def read(self, index: int) -> RawSample:
        """The scene at ``index``, not drawn yet; its facts are JSON of :class:`~textok.data.scenes.facts.Facts`."""
        facts = self.facts(index)
        return RawSample(
            key=f"scene-{self.split}-{self.options.seed}-{index:08d}",
            shard=f"scenes/{self.split}",
            image=scene_picture(facts, self.drawings),
            captions=(self.caption(index, facts),),
            facts=facts.to_json(),
        )


class IconSource(Source):
    """The samples of icons-128, made from the drawings of a folder: the same keys, splits, order and captions."""

    def __init__(self, split: str, folder: str = "") -> None:
        self.drawings = Drawings(drawings_folder(folder), split)
        self.split, count = split, len(self.drawings.rows)
        self.shard_lengths, self.census = [count], Census(read=count)
        self.fingerprint = f"icons-1-{self.drawings.fingerprint}"

    def read(self, index: int) -> RawSample:
        """The icon at ``index``, not drawn yet."""
        drawing = self.drawings.rows[index]
        return RawSample(
            key=drawing.icon_key,
            shard=f"icons/{self.split}",
            image=Picture(kind="icons", pixels=partial(draw_icon, index, self.drawings)),
            captions=(drawing.icon_caption,),
        )


def open_drawn(name: str, split: str | None) -> SceneSource | IconSource:
    """Open ``scenes[:OPTIONS]`` or ``icons``, which takes ``:drawings=FOLDER`` only; errors as of the sources."""
    kind, _, text = name.partition(":")
    options = SceneOptions.parse(text)
    if kind != "scenes" and options != SceneOptions(drawings=options.drawings):
        raise ValueError(f"{name}: got {text!r}; expected drawings=FOLDER or nothing after {kind}")
    if split not in SPLITS:
        raise ValueError(f"{name}: split is {split!r}; expected one of {', '.join(SPLITS)}")
    return SceneSource(split, options) if kind == "scenes" else IconSource(split, options.drawings)


# --- scenes as webdataset tars ------------------------------------------------------------------------------

Format = Literal["png", "webp"]
_SHARD = 1000
_SAVING: dict[Format, dict[str, Any]] = {"png": {}, "webp": {"lossless": True, "method": 1, "quality": 20}}


def write_shards(
    source: SceneSource, out: Path, *, count: int, size: int, file_format: Format = "webp"
) -> Iterator[int]:
    """Write the first scenes of a source, a thousand per tar; yields how many are there after each shard.

    A sample is a picture, ``KEY.txt`` with its caption, and ``KEY.json`` with that and the facts. A shard that is there
    already is left as it is. "webp" is lossless, about half the size of "png".
    """
    for start in range(0, count, _SHARD):
        end = min(start + _SHARD, count)
        path = out / f"{source.split}-{start // _SHARD:06d}.tar"
        if not _is_whole(path, end - start):
            scenes = (_members(source, index, size, file_format) for index in range(start, end))
            write_tar(path, chain.from_iterable(scenes))
        yield end


CARD = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
"""The card of a folder of scenes as a data set, with the header that the Hugging Face hub reads."""


def _is_whole(path: Path, count: int) -> bool:
    """Whether a shard holds so many scenes; the last one of an earlier, shorter run does not."""
    if not path.is_file():
        return False
    with tarfile.open(path) as tar:
        return sum(member.name.endswith(".txt") for member in tar) == count


def _members(source: SceneSource, index: int, size: int, file_format: Format) -> Iterator[tuple[str, bytes]]:
    sample = source.read(index)
    picture = io.BytesIO()
    tensor_to_image(source.draw(index, size)).save(picture, file_format, **_SAVING[file_format])
    record = {"caption": sample.captions[0], "facts": json.loads(sample.facts)}
    yield f"{sample.key}.{file_format}", picture.getvalue()
    yield f"{sample.key}.txt", sample.captions[0].encode()
    yield f"{sample.key}.json", json.dumps(record).encode()
