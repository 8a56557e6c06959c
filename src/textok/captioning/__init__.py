"""Captions for pictures that have none: writers, a judge of what they write, and files by key that can be resumed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from textok.checks import check

_KNOWN = "{known}"
_MAX_KNOWN = 300  # characters of known words that a prompt takes


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Who writes the captions, what is asked, what is accepted and what it may cost."""

    writer: Literal["describe", "alt-text", "transformers", "openai"] = "describe"
    """describe: classes and measured colours, offline, no language model; alt-text: the words that came with the
    pictures, cleaned; transformers: a local model; openai: a server that speaks the OpenAI protocol"""
    model: str | None = None
    """the model's name at the server (openai), or its folder or hub id (transformers)"""
    base_url: str | None = None
    """where the server is, such as http://127.0.0.1:8000/v1; the key is read from the environment variables
    TEXTOK_CAPTION_KEY or OPENAI_API_KEY"""
    prompt: str = "dense"
    """name, short, dense, one of them with its version (dense.v1), or a text file"""
    known: Literal["none", "captions", "folder"] = "none"
    """words that the prompt gives to the model: none, the captions of the source, or the name of the folder"""
    captions_per_picture: int = 1
    """captions of each picture, each by a seed of its own"""
    temperature: float = 0.4
    """0 takes the likeliest word each time"""
    seed: int = 0
    """the seeds of the captions are made from it"""
    max_tokens: int = 250
    """longest answer; one that is cut off there is asked again"""
    asks: int = 3
    """how often a picture is asked about before it is rejected"""
    language: Literal["english", "any"] = "english"
    """answers in another language are asked again"""
    contradiction: float = 0.0
    """ask again when the caption fits the known words (or the captions of the source) worse than this share of the
    ImageNet class names does; 0.5 is a fair choice, 0 does not judge it"""
    side: int = 512
    """longer side of the picture that the model gets, in pixels; smaller pictures stay as they are"""
    quality: int = 90
    """JPEG quality of the picture sent to a server"""
    concurrency: int = 32
    """requests to the server at a time; fewer while it is overloaded"""
    timeout: float = 120.0
    """seconds that a request may take"""
    retries: int = 8
    """more tries of a request that failed at the server"""
    no_probe: bool = False
    """do not ask first whether the model is there and sees pictures"""
    batch_size: int = 16
    """pictures at a time (describe, transformers)"""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes cuda where there is one"""
    price_in: float = 0.0
    """price of a million tokens read"""
    price_out: float = 0.0
    """price of a million tokens written"""
    max_cost: float | None = None
    """stop when so much is spent on the folder; needs the prices"""

    def __post_init__(self) -> None:
        counts = ("captions_per_picture", "max_tokens", "side", "concurrency", "batch_size", "asks")
        check(self, "", *counts, at_least=1)
        check(self, "", "retries", "price_in", "price_out", at_least=0)
        check(self, "", "temperature", at_least=0, at_most=2)
        check(self, "", "quality", at_least=1, at_most=100)
        check(self, "", "timeout", above=0)
        check(self, "", "contradiction", at_least=0, below=1)
        check(self, "", "seed", at_least=0, below=2**31)
        if self.max_cost is not None and not self.price_in + self.price_out:
            raise ValueError(
                f"max_cost: got {self.max_cost} without prices, expected price_in and price_out too"
            )
        if self.captions_per_picture > 1 and not self.temperature:
            raise ValueError(
                "temperature: got 0, at which all captions of a picture are alike, expected more"
            )


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a model is asked."""

    name: str
    """with its version, such as "dense.v1"; for a file of one's own its name and the hash of its text"""
    text: str
    """a line with ``{known}`` takes the words that came with the picture"""

    def render(self, known: Sequence[str] = ()) -> str:
        """The prompt for one picture; without known words the line that would hold them is left out."""
        words = "; ".join(known).replace("\n", " ")[:_MAX_KNOWN]
        lines = [line for line in self.text.splitlines() if words or _KNOWN not in line]
        return "\n".join(lines).replace(_KNOWN, words)


def shipped_prompts() -> dict[str, str]:
    """The texts of the prompts in the package by name with version, ``prompts/NAME.vN.txt``, the versions in order."""
    folder = files("textok.captioning").joinpath("prompts")
    names = [file.name.removesuffix(".txt") for file in folder.iterdir() if file.name.endswith(".txt")]
    names.sort(key=lambda name: (name.partition(".v")[0], int(name.partition(".v")[2])))
    return {name: folder.joinpath(f"{name}.txt").read_text("utf-8").strip() for name in names}


def load_prompt(name: str) -> Prompt:
    """A prompt of the package by name ("dense": its newest version; "dense.v1"), or a text file, or ``ValueError``."""
    shipped = shipped_prompts()
    for full, text in reversed(shipped.items()):
        if name in (full, full.partition(".")[0]):
            return Prompt(name=full, text=text)
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"prompt: got {name!r}, expected a text file or one of {', '.join(shipped)}")
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"prompt: got the empty file {name}, expected what to ask of each picture")
    return Prompt(name=f"{path.stem}.{hashlib.sha256(text.encode()).hexdigest()[:8]}", text=text)
