"""What a captioning run may be asked."""

from dataclasses import dataclass
from typing import Literal


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
        for name in ("captions_per_picture", "max_tokens", "side", "concurrency", "batch_size", "asks"):
            _check(name, getattr(self, name), "at least 1", getattr(self, name) >= 1)
        _check("temperature", self.temperature, "0 to 2", 0 <= self.temperature <= 2)
        _check("quality", self.quality, "1 to 100", 1 <= self.quality <= 100)
        _check("timeout", self.timeout, "more than 0 seconds", self.timeout > 0)
        _check("contradiction", self.contradiction, "0 to 1", 0 <= self.contradiction < 1)
        _check("seed", self.seed, "0 to 2147483647", 0 <= self.seed < 2**31)
        for name in ("retries", "price_in", "price_out"):
            _check(name, getattr(self, name), "0 or more", getattr(self, name) >= 0)
        has_prices = self.max_cost is None or self.price_in + self.price_out > 0
        _check("max_cost", self.max_cost, "it together with price_in and price_out", has_prices)
        alike = self.captions_per_picture > 1 and self.temperature == 0
        _check("temperature", self.temperature, "more than 0 for several captions per picture", not alike)

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """The price of so many tokens."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


def _check(name: str, value: object, expected: str, ok: bool) -> None:  # noqa: FBT001 (reads as a sentence)
    if not ok:
        raise ValueError(f"{name}: got {value!r}, expected {expected}")
