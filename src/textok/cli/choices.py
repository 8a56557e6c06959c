"""Options that several commands share: which model, which pictures."""

import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from textok.cli.checks import check_at_least, check_size

if TYPE_CHECKING:
    import torch

    from textok.data import Batch, EvalLoader
    from textok.pipeline.image_tokenizer import ImageTokenizer

ONE_PICTURE = "a picture file, or "
SOURCE_HELP = (
    f"{ONE_PICTURE}captioned pictures: webdataset tars (a file, a glob, a folder), a folder of pictures "
    "with metadata.jsonl or .txt files, a folder a class, COCO captions_*.json, Places365, parquet, a Hugging "
    "Face datasets folder"
)
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")


def torch_device(name: str) -> "torch.device":
    """The device of that name; "auto" takes CUDA where there is one.

    Raises:
        ValueError: for another word, or CUDA where there is none.
    """
    import torch

    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(automatic if name == "auto" else name)
    except RuntimeError as error:
        raise ValueError(f"device: got {name!r}; expected auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device: got {name!r}, but no CUDA device is found here; use auto or cpu")
    return device


def comma_list(words: Sequence[str], *, name: str) -> list[str]:
    """The items of ``a,b c``: commas and spaces do alike; each item once; none without words.

    Raises:
        ValueError: when there are words of the option ``name``, but no item in them.
    """
    items = [item.strip() for word in words for item in word.split(",")]
    found = list(dict.fromkeys(item for item in items if item))
    if words and not found:
        raise ValueError(f"{name}: got {' '.join(words)!r}; expected items and commas, such as A,B")
    return found


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which tokenizer, and how it runs."""

    model: str = "icons-128"
    """a shipped name, a folder with config.json and model.safetensors, or a hub id"""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes cuda where there is one"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """number type of the weights; auto takes bfloat16 where the processor has it"""
    batch_size: int = 32
    """pictures at a time"""

    def __post_init__(self) -> None:
        check_at_least(1, batch_size=self.batch_size)

    def load(self) -> "ImageTokenizer":
        """The tokenizer, ready to use."""
        from textok.pipeline.image_tokenizer import ImageTokenizer

        device = torch_device(self.device)
        return ImageTokenizer.from_pretrained(self.model, device=device, precision=self.precision)


DEFAULT_MODEL = ModelChoice()


@dataclass(frozen=True, kw_only=True)
class PictureChoice:
    """Which pictures, at which size."""

    source: Annotated[Positional[str], arg(metavar="SOURCE", help=SOURCE_HELP)]
    caption: Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")] = None
    """one caption for every picture, instead of those of the source"""
    split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """which part of the source, such as test-drawing; not needed when it has only one"""
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    """take only so many pictures, from the first"""
    size: Annotated[
        tuple[int, int] | None, arg(metavar="H W", help_behavior_hint="(default: the model's)")
    ] = None
    """height and width to resize and crop to, divisible by the patch size"""
    on_bad: Literal["stop", "skip"] = "stop"
    """what to do with an unreadable picture: stop and name it, or leave it out and say so"""

    def __post_init__(self) -> None:
        check_at_least(1, limit=self.limit)
        check_size(self.size)

    def batches(
        self, tokenizer: "ImageTokenizer", *, batch_size: int, title: str | None = None
    ) -> Generator["Batch", None, None]:
        """The pictures in order, with a progress bar on stderr.

        Bad ones left out, and how many have no caption, are told there at the end; not with the ``title`` of a pass
        before the one that counts.
        """
        from tqdm import tqdm

        side = tokenizer.model.config.image_size
        size = self.size or (side, side)
        if Path(self.source).suffix.lower() in PICTURE_ENDINGS:
            yield _one_picture(Path(self.source), size, caption=self.caption or "")
            return
        loader = self._loader(size, batch_size=batch_size)
        count = min(len(loader.source), self.limit or len(loader.source))
        bare = 0
        with tqdm(total=count, desc=title, unit="image") as bar:
            for batch in loader:
                batch = self._asked(batch, count - bar.n)
                bare += sum(not caption.strip() for caption in batch.captions)
                yield batch
                bar.update(len(batch))
                if bar.n >= count:
                    break
        if not bar.n and loader.bad.samples:
            raise ValueError(f"{self.source}: no usable picture; the first: {loader.bad.samples[0].reason}")
        if title is not None:
            return
        for bad in loader.bad.samples:
            print(f"textok: left out '{bad.key}' in {bad.shard}: {bad.reason}", file=sys.stderr)
        if bare and tokenizer.model.config.placement != "none":
            print(f"textok: {bare} of {bar.n} pictures have no caption: encoded without", file=sys.stderr)

    def _loader(self, size: tuple[int, int], *, batch_size: int) -> "EvalLoader":
        from textok.data import DataConfig, EvalLoader

        config = DataConfig(
            source=self.source, split=self.split, size=size, require_captions=False, on_bad=self.on_bad
        )
        return EvalLoader(config, batch_size=batch_size)

    def _asked(self, batch: "Batch", count: int) -> "Batch":
        captions = batch.captions if self.caption is None else [self.caption] * len(batch)
        return replace(batch, images=batch.images[:count], captions=captions[:count], keys=batch.keys[:count])


def _one_picture(path: Path, size: tuple[int, int], *, caption: str) -> "Batch":
    from textok.data import Batch, decode_image

    try:
        image = decode_image(path.read_bytes(), size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Batch(images=image[None], captions=[caption], keys=[path.stem])
