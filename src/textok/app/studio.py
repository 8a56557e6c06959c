"""What the page computes, without the page: every action takes plain values and gives plain values."""

import asyncio
import io
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from textok.captioning import CaptionConfig
from textok.captioning.writers import Request
from textok.captioning.writers.offline import DescribeWriter
from textok.codec import TtkReader, TtkWriter, check_model, find_prior, header_for
from textok.data import DataConfig
from textok.data.images import decode_image, decode_whole, fit_image, image_to_tensor, tensor_to_image
from textok.data.scenes.source import LENGTHS, SceneOptions, SceneSource
from textok.evaluation.demo import KINDS, SHIPPED_PICTURES
from textok.models.checkpoint import shipped_folder
from textok.models.decoder import FlowDecoderConfig
from textok.objectives.quality import psnr_per_image
from textok.pipeline.facts import bytes_per_image
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.tokens import Tokens

MAX_CAPTION = 2_000
"""Characters of a caption or a prompt: more than any text encoder here reads."""
MAX_PIXELS = 32_000_000
MAX_IMAGES = 8
"""Pictures of one prompt at a time."""
_DICE_SIDE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Sketch:
    """A picture in tokens, as each condition reads them."""

    tokens: Mapping[str, Tokens]
    """of one picture at the largest budget, with the caption that they are decoded with, by condition: "right" (the
    caption), "none" (none, on both sides) and "changed" (the tokens of "right" with other words)"""
    original: UInt8[Tensor, "3 h w"] | None = None
    """the picture at the model's size; None where only its tokens are there"""

    @property
    def first(self) -> Tokens:
        """The tokens of the first condition."""
        return next(iter(self.tokens.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A sketch at one budget: by condition the pictures, and without an original no PSNR in dB.

    The bytes are those of the tokens at 16 bits a value, or of the codes; the seconds those of decoding.
    """

    pictures: Mapping[str, UInt8[Tensor, "3 h w"]]
    psnr: Mapping[str, float]
    num_bytes: int
    seconds: float


class Studio:
    """The loaded models, which many visitors use at once: one works with the tokenizer and one draws at any time.

    With a tokenizer alone there is no drawing. Beside the ``source`` of it its prior for .ttk files may lie.
    """

    def __init__(self, pipeline: Pipeline | ImageTokenizer, *, source: str | Path) -> None:
        self.pipeline = pipeline if isinstance(pipeline, Pipeline) else None
        own = pipeline.tokenizer if isinstance(pipeline, Pipeline) else pipeline
        # What remembers captions is not for two threads: the weights are shared, the memory is not.
        encoder = own.remembered_text.encoder if own.model.config.placement != "none" else None
        self.tokenizer = ImageTokenizer(own.model, text_encoder=encoder, device=own.device, dtype=own.dtype)
        self.prior = find_prior(source, model_id=own.model_id)
        self.max_tokens: int = own.model.config.num_latents
        self.decoder_samples = isinstance(own.model.config.decoder, FlowDecoderConfig)
        self._describer: DescribeWriter | None = None
        self._coding, self._drawing = Lock(), Lock()

    @torch.inference_mode()
    def sketch(self, picture: bytes | Image.Image, caption: str | None, changed: str | None = None) -> Sketch:
        """Encode a picture, stored or not, with its caption and without; refuses what is no picture or too large."""
        size = (self.tokenizer.model.config.image_size,) * 2
        if isinstance(picture, bytes):
            pixels = decode_image(picture, size, max_pixels=MAX_PIXELS)
        else:
            pixels = image_to_tensor(fit_image(picture, size))
        captions = _conditions(caption)
        with self._coding:
            both = self.tokenizer.encode(pixels.expand(len(captions), -1, -1, -1), list(captions.values()))
        tokens = dict(zip(captions, both, strict=True))
        return reworded(Sketch(tokens=tokens, original=pixels), changed)

    def view(self, sketch: Sketch, num_tokens: int, decoding: Mapping[str, Any] | None = None) -> View:
        """Decode the first tokens under every condition; of a file with fewer all.

        ``decoding`` has steps, guidance and seed of a decoder that samples; another one refuses them.
        """
        num_tokens = min(num_tokens, sketch.first.num_tokens)
        settings = dict(decoding or {})
        if "seed" in settings:
            settings["generator"] = torch.Generator().manual_seed(settings.pop("seed"))
        tokens = Tokens.concat([one.first(num_tokens) for one in sketch.tokens.values()])
        with self._coding:
            start = time.perf_counter()
            decoded = self.tokenizer.decode(tokens, output="uint8", **settings)
            seconds = time.perf_counter() - start
        psnr = list[float]()
        if sketch.original is not None:
            psnr = psnr_per_image(sketch.original.expand_as(decoded), decoded).tolist()
        return View(
            pictures=dict(zip(sketch.tokens, decoded, strict=True)),
            psnr=dict(zip(sketch.tokens, psnr, strict=False)),
            num_bytes=bytes_per_image(self.tokenizer.model, num_tokens=num_tokens),
            seconds=seconds,
        )

    def curve(self, sketch: Sketch, decoding: Mapping[str, Any] | None = None) -> dict[str, dict[int, float]]:
        """PSNR in dB by condition and budget; ``ValueError`` when there is no original to compare with."""
        if sketch.original is None:
            raise ValueError("picture: got tokens alone, expected a picture to compare with; upload one")
        views = {k: self.view(sketch, k, decoding) for k in budgets_to(self.max_tokens)}
        return {name: {k: view.psnr[name] for k, view in views.items()} for name in sketch.tokens}

    def draw(
        self,
        prompt: str | None,
        *,
        num_images: int,
        seed: int,
        negative_prompt: str | None = None,
        **sampling: Any,
    ) -> list[Image.Image]:
        """Pictures for a prompt, by the loaded generator; the same settings and seed give the same pictures.

        ``sampling`` has ``num_tokens``, ``steps``, ``guidance`` and ``on_step``.
        """
        if self.pipeline is None:
            raise ValueError("prompt: got one, expected none: no generator is loaded; name one: --generator")
        if not (prompt := checked_caption(prompt)):
            raise ValueError("prompt: got an empty one, expected some words; write what to draw")
        if not 1 <= num_images <= MAX_IMAGES:
            raise ValueError(f"pictures: got {num_images}, expected 1 to {MAX_IMAGES}")
        with self._drawing:
            return self.pipeline(
                prompt,
                negative_prompt=checked_caption(negative_prompt) or None,
                num_images=num_images,
                generator=torch.Generator().manual_seed(seed),
                **sampling,
            )

    def write_ttk(self, sketch: Sketch, num_tokens: int) -> bytes:
        """The first tokens and the caption as a .ttk file."""
        stream = io.BytesIO()
        header = header_for(self.tokenizer.model, prior=self.prior)
        tokens = sketch.first.first(min(num_tokens, sketch.first.num_tokens))
        with TtkWriter(stream, header, prior=self.prior) as writer:  # pyrefly: ignore[bad-argument-type]
            writer.add(replace(tokens, keys=("picture",)))
        return stream.getvalue()

    def read_ttk(self, path: str | Path) -> Sketch:
        """The first picture of a .ttk file; ``ValueError`` for a damaged one, or one of another model."""
        with TtkReader(path, prior=self.prior) as reader:
            check_model(reader.header, self.tokenizer.model)
            first = next(iter(reader))[0]
        caption = (first.captions or ("",))[0]
        tokens = {name: replace(first, captions=(text,)) for name, text in _conditions(caption).items()}
        return Sketch(tokens=tokens)

    def describe(self, data: bytes) -> str:
        """A caption from an ImageNet classifier and measured colours."""
        with self._coding:
            if self._describer is None:
                self._describer = DescribeWriter(CaptionConfig(prompt="short", device="cpu"))
            picture = decode_whole(data, side=_DICE_SIDE, max_pixels=MAX_PIXELS)
            request = Request(key="", picture=picture, prompt="", captions=(), seed=0, temperature=0.0)
            return asyncio.run(self._describer.write([request]))[0].text


def roll() -> tuple[Image.Image, str]:
    """A random scene with its caption; where the drawings do not travel along, a random picture of the package."""
    try:
        source = SceneSource("test-drawing", SceneOptions())
    except FileNotFoundError:
        pictures = packaged_pictures()
        data, caption = pictures[secrets.randbelow(len(pictures))]
        return decode_whole(data, side=_DICE_SIDE), caption
    index = secrets.randbelow(LENGTHS["test-drawing"])
    pixels = source.draw(index, _DICE_SIDE)
    return tensor_to_image(pixels), source.caption(index, source.facts(index))


def packaged_pictures() -> list[tuple[bytes, str]]:
    """The stored pictures that travel with the package, with their captions."""
    folder, pictures = str(shipped_folder(SHIPPED_PICTURES)), list[tuple[bytes, str]]()
    for split in KINDS:
        source = DataConfig(source=folder, split=split, size=(1, 1)).open()
        samples = map(source.read, range(len(source)))
        pictures += [(one.image, one.captions[0]) for one in samples if isinstance(one.image, bytes)]
    return pictures


def reworded(sketch: Sketch, changed: str | None) -> Sketch:
    """The same picture with another "changed" caption, or without one."""
    tokens = {name: one for name, one in sketch.tokens.items() if name != "changed"}
    if words := checked_caption(changed):
        tokens["changed"] = replace(sketch.first, captions=(words,))
    return replace(sketch, tokens=tokens)


def budgets_to(max_tokens: int) -> list[int]:
    """1, 2, 4, ... and the largest."""
    return sorted({2**power for power in range(max_tokens.bit_length())} | {max_tokens})


def checked_caption(caption: str | None) -> str:
    """The caption without white space around it; ``ValueError`` when it is too long."""
    text = (caption or "").strip()
    if len(text) > MAX_CAPTION:
        raise ValueError(f"caption: got {len(text)} characters, expected at most {MAX_CAPTION}; shorten it")
    return text


def _conditions(caption: str | None) -> dict[str, str]:
    text = checked_caption(caption)
    return ({"right": text} if text else {}) | {"none": ""}
