"""The words that web pictures come with, cleaned; what was done to each is recorded."""

import html
import re
from collections.abc import Sequence

from textok.captioning import CaptionConfig
from textok.captioning.writers import Answer, Request, Writer
from textok.data.samples import RawSample

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
