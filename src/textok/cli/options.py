"""Options that several commands share. One thing has one name in every command.

A command that turns one thing into another takes it as its first words (pictures, tokens, prompts); everything else
is an option with a name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from tyro.conf import arg

from textok.cli import checks
from textok.cli.distributed import check_single_process, open_device
from textok.data import DataConfig
from textok.display import waiting
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.scale import Work, run_blocks


def optional(metavar: str | None = None, default: str = "", *, about: str | None = None) -> Any:
    """What the help says of an option that may be left out: its value, what it is then, and what it is about."""
    hint = f"(default: {default})" if default else ""
    return arg(metavar=metavar, help=about, help_behavior_hint=hint)


DATA_HELP = (
    "captioned pictures: scenes or icons, which are drawn; a folder (pictures alone or with .txt, .caption or .json "
    "files, metadata.jsonl or .csv, one folder per class, COCO captions, Hugging Face datasets), webdataset tars, "
    "parquet files, a glob, or an address such as hf:// or s3://"
)
CAPTIONS_HELP = "captions by key (what textok caption wrote, or a JSON file), instead of those that are there"

Data = Annotated[str, arg(metavar="DATA", help=DATA_HELP)]
Split = Annotated[str | None, optional("NAME", about="which part of the data, such as test-drawing")]
Limit = Annotated[int | None, optional("INT", "all", about="take at most so many, from the first")]
Size = Annotated[tuple[int, int] | None, optional("H W", "the model's")]
Captions = Annotated[Path | None, optional("FILE", about=CAPTIONS_HELP)]
Json = Annotated[bool, arg(help="print the result as JSON")]
OnBad = Literal["stop", "skip"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class BadPictures:
    """What is done about pictures that cannot be read."""

    on_bad: OnBad = "stop"
    """what to do with an unreadable picture: stop and name it, or leave it out and list it in bad.jsonl"""
    max_bad_share: Annotated[float, arg(metavar="SHARE")] = 1.0
    """with skip: stop when more than this share of the pictures is unreadable"""

    @property
    def policy(self) -> dict[str, Any]:
        """The same as settings of :class:`textok.data.DataConfig`."""
        return {"on_bad": self.on_bad, "max_bad_share": self.max_bad_share}

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_share <= 1:
            raise ValueError(f"max_bad_share: got {self.max_bad_share}, expected a share from 0 to 1")

    def config(self, source: str, *, captions: Path | None = None, **settings: Any) -> DataConfig:
        """How a source is read, with these and the given settings; a picture needs no caption."""
        file = None if captions is None else str(captions)
        return DataConfig(source=source, captions=file, **self.policy, **settings)


Bad = Annotated[BadPictures, arg(name="")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which tokenizer or generator, where it runs and how."""

    model: str = "icons-128"
    """a shipped name, a folder with config.json and model.safetensors, or a hub id"""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes cuda where there is one"""
    dtype: Precision = "auto"
    """dtype of the weights; auto takes bfloat16 where the processor computes with it fast"""
    batch_size: int = 32
    """pictures at a time"""

    def __post_init__(self) -> None:
        checks.at_least(1, batch_size=self.batch_size)

    def open(self) -> torch.device:
        """The device."""
        return open_device(self.device)

    def load(self) -> ImageTokenizer:
        """The tokenizer, ready to use."""
        with waiting(f"loading {self.model}"):
            return ImageTokenizer.from_pretrained(self.model, device=self.open(), dtype=self.dtype)


Model = Annotated[ModelOptions, arg(name="")]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which processes do the work."""

    engine: Literal["local", "ray"] = "local"
    """local: this process; ray: workers of Ray Data, on this machine or a cluster that has the same folders"""
    address: Annotated[str | None, optional("auto|HOST:PORT")] = None
    """with ray: the cluster; without it one is started on this machine for the time"""
    workers: Annotated[int | None, optional("N", "a GPU or core each")] = None
    """with ray: processes that hold a model"""

    def __post_init__(self) -> None:
        checks.at_least(1, workers=self.workers)
        checks.needs(absent=not self.is_ray, by="engine ray", address=self.address, workers=self.workers)
        if self.is_ray:
            check_single_process()

    @property
    def is_ray(self) -> bool:
        """Whether Ray's workers do the work."""
        return self.engine == "ray"

    def run(
        self, make: Callable[[], Work], numbers: Sequence[int], *, device: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Do blocks by Ray on a kind of device, as :func:`textok.scale.run_blocks`."""
        cuda = device.startswith(("auto", "cuda"))
        return run_blocks(make, numbers, address=self.address, workers=self.workers, cuda=cuda)


Engine = Annotated[EngineOptions, arg(name="")]


@dataclass(frozen=True, kw_only=True)
class DecoderOptions:
    """How a tokenizer decodes whose decoder samples; another one takes 0 steps only."""

    decoder_steps: Annotated[int | None, optional("N", "the model's")] = None
    """of a decoder that samples; 0 decodes in one pass"""
    decoder_guidance: Annotated[float | None, optional("FLOAT", "the model's")] = None
    """how strongly a decoder that samples follows the caption; 1 is plain"""

    @property
    def settings(self) -> dict[str, Any]:
        """Those that are given, as ``TexTok.decode`` takes them."""
        given = {"steps": self.decoder_steps, "guidance": self.decoder_guidance}
        return {name: value for name, value in given.items() if value is not None}


Decoder = Annotated[DecoderOptions, arg(name="")]
