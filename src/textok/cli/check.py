"""``textok check``: what a source holds and what would go wrong with it, without training or encoding anything."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor
from tyro.conf import Positional, arg

from textok.cli.options import DATA_HELP, Json, Limit, OnBad, Size, Split, optional
from textok.cli.output import report
from textok.data import BadSample, BadSampleError, DataConfig, Source, decode_image
from textok.data.images import ImageError, is_animated, stored_size
from textok.data.samples import RawSample
from textok.display import Progress
from textok.evaluation.pages import render
from textok.models.checkpoint import SHIPPED, read_config, resolve
from textok.models.text_encoder import token_counts
from textok.writing import check_target, write_text

_SHOWN = 24
_BANDS = 4
_SIDE = 32
_COLOUR_STEP = 8


def check(
    data: Annotated[Positional[str], arg(metavar="DATA", help=DATA_HELP)],
    *,
    split: Split = None,
    limit: Limit = None,
    model: str = "icons-128",
    size: Size = None,
    on_bad: OnBad = "skip",
    page: Annotated[Path | None, optional("FILE.html")] = None,
    json: Json = False,
) -> None:
    """Read captioned pictures and report what is in them: counts, sizes, captions, bad samples, repeats.

    Args:
        model: for whose picture size and text encoder it is judged what would be cut.
        size: height and width, instead of the model's.
        on_bad: what to do with a file that cannot be opened: stop, or count it. Bad samples are listed either way.
        page: write a page with the worst samples here.
    """
    if page is not None:
        check_target(page, option="page", sources=[data])
    settings = read_config(resolve(model, shipped=SHIPPED) / "config.json")["model"]
    size = size or (settings["image_size"], settings["image_size"])
    config = DataConfig(source=data, split=split, size=size, on_bad=on_bad)
    result, source = check_source(config, limit=limit)
    facts = result.facts(size, settings["text_encoder"], max_tokens=settings["max_text_tokens"])
    if page is not None:
        write_text(page, _page(data, facts, source))
    report(facts, *_lines(data, facts), json=json)


def _lines(data: str, facts: dict[str, Any]) -> list[str]:
    tokens, cut, small = facts["caption_tokens"], facts["captions_cut"], facts["smaller_than_model"]
    heights, widths = facts["heights"], facts["widths"]
    lines = [
        f"{data}: {facts['pictures']:,} pictures, {facts['captioned']:,} with captions ({facts['captions']:,} in all)",
        f"  sizes      height {heights['least']} to {heights['most']} px, median {heights['median']}; width "
        f"{widths['least']} to {widths['most']} px, median {widths['median']}",
        f"  cropped    {facts['cropped_share']:.0%} of each picture on average, to {small['size'][0]} x "
        f"{small['size'][1]} px; {small['count']:,} pictures are smaller",
        f"  captions   {tokens['least']} to {tokens['most']} tokens, median {tokens['median']}; {cut['count']:,} are "
        f"cut to {cut['limit']}",
    ]
    passed = facts["census"]["passed_over"]
    problems = {
        "bad": [f"{bad['key']}: {bad['reason']}" for bad in facts["bad"]],
        "passed": [f"{one['count']} {reason} ({', '.join(one['first'])})" for reason, one in passed.items()],
        "notes": facts["census"]["notes"],
        "animated": [f"{key}: first frame" for key in facts["animated"]],
        "repeats": [" = ".join(group) for group in facts["repeats"]],
        "look alike": [" ~ ".join(pair) for pair in facts["near_repeats"]],
    }
    for name, values in problems.items():
        if values:
            first = "; ".join(values[:3])
            lines.append(f"  {name:<10} {len(values):,}: {first}{'; ...' if len(values) > 3 else ''}")
    return lines


def _page(data: str, facts: dict[str, Any], source: Source) -> str:
    small = ([key] for key in facts["smaller_than_model"]["first"])
    suspects = [key for group in (*facts["repeats"], *facts["near_repeats"], *small) for key in group]
    pictures = list(_pictures(source, set(suspects[:_SHOWN]))) if suspects else []
    words = {"title": f"textok check {data}", "data": data, "lines": "\n".join(_lines(data, facts))}
    return render("check.html", **words, facts=facts, pictures=pictures)


def _pictures(source: Source, keys: set[str]) -> Iterator[tuple[str, str]]:
    for index in range(len(source)):
        try:
            raw = source.read(index)
        except BadSampleError:
            continue
        if raw.key in keys and isinstance(raw.image, bytes):
            yield base64.b64encode(raw.image).decode(), f"{raw.key} {raw.captions[0] if raw.captions else ''}"


class _Looks(NamedTuple):
    key: str
    size: tuple[int, int]  # stored height and width
    digest: bytes
    bits: int  # whether brightness falls from each of 8 x 9 cells to the next
    colour: tuple[int, ...]  # the mean, in coarse steps


@dataclass(kw_only=True)
class SourceCheck:
    """The outcome of a dry run: what is read and passed over, the looks of each good picture, all captions by key, and
    the keys of pictures of which only the first frame is read.
    """

    census: dict[str, Any]
    looks: list[_Looks] = field(default_factory=list)
    bad: list[BadSample] = field(default_factory=list)
    captions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    animated: list[str] = field(default_factory=list)

    def add(self, raw: RawSample, *, max_pixels: int) -> None:
        """Count one sample; an unreadable picture becomes a bad one."""
        if not isinstance(raw.image, bytes):
            raise ValueError(f"{raw.shard}: its pictures are drawn, not stored; there is nothing to check")
        try:
            small = decode_image(raw.image, (_SIDE, _SIDE), max_pixels=max_pixels)
            size = stored_size(raw.image)
            if is_animated(raw.image):
                self.animated.append(raw.key)
        except ImageError as error:
            self.bad.append(BadSample(key=raw.key, shard=raw.shard, reason=str(error)))
            return
        digest = hashlib.blake2b(raw.image, digest_size=16).digest()
        bits, colour = _outline(small)
        self.looks.append(_Looks(raw.key, size, digest, bits, colour))
        self.captions[raw.key] = raw.captions

    def repeats(self) -> list[list[str]]:
        """Keys of pictures with the very same bytes."""
        groups: dict[bytes, list[str]] = {}
        for one in self.looks:
            groups.setdefault(one.digest, []).append(one.key)
        return [keys for keys in groups.values() if len(keys) > 1]

    def near_repeats(self) -> list[tuple[str, str]]:
        """Pairs that look alike but are not the same bytes: outlines differ in at most 3 of 64 bits."""
        bands: dict[tuple[Any, ...], list[_Looks]] = {}
        pairs: dict[tuple[str, str], None] = {}
        for one in self.looks:
            for band in range(_BANDS):  # outlines that differ in fewer bits than there are bands share one
                place = (band, (one.bits >> (16 * band)) & 0xFFFF, one.colour)
                for other in bands.get(place, ())[:100]:
                    close = (one.bits ^ other.bits).bit_count() < _BANDS and one.bits
                    if close and one.digest != other.digest:
                        pairs[other.key, one.key] = None
                bands.setdefault(place, []).append(one)
        return list(pairs)

    def facts(self, size: tuple[int, int], text_encoder: str, *, max_tokens: int) -> dict[str, Any]:
        """All of it as plain JSON values, for a model of this picture size and text encoder."""
        texts = [text for texts in self.captions.values() for text in texts]
        counts = token_counts(text_encoder, texts)
        cut = [text for text, count in zip(texts, counts, strict=True) if count > max_tokens]
        small = [one.key for one in self.looks if min(one.size) < min(size)]
        ratios = [one.size[0] * size[1] / (one.size[1] * size[0]) for one in self.looks]
        return {
            "census": self.census,
            "pictures": len(self.looks),
            "bad": [vars(bad) for bad in self.bad],
            "captioned": sum(map(bool, self.captions.values())),
            "captions": len(texts),
            "caption_tokens": _spread(counts),
            "captions_cut": {"limit": max_tokens, "count": len(cut), "first": cut[:3]},
            "heights": _spread([one.size[0] for one in self.looks]),
            "widths": _spread([one.size[1] for one in self.looks]),
            "smaller_than_model": {"size": list(size), "count": len(small), "first": small[:3]},
            "cropped_share": sum(1 - min(x, 1 / x) for x in ratios) / max(1, len(ratios)),
            "animated": self.animated,
            "repeats": self.repeats(),
            "near_repeats": [list(pair) for pair in self.near_repeats()],
        }


def check_source(config: DataConfig, *, limit: int | None = None) -> tuple[SourceCheck, Source]:
    """Read and decode every sample of a source, at most ``limit``; bad ones are listed, whatever the policy."""
    source = config.open(all_parts=True)
    check = SourceCheck(census=source.census.facts())
    total = min(len(source), limit or len(source))
    with Progress(total, unit="image") as progress:
        for index in range(total):
            try:
                check.add(source.read(index), max_pixels=config.max_pixels)
            except BadSampleError as error:
                check.bad.append(error.bad)
            progress.update()
    return check, source


def _outline(picture: UInt8[Tensor, "3 s s"]) -> tuple[int, tuple[int, ...]]:
    gray = picture.float().mean(0, keepdim=True)
    cells = torch.nn.functional.adaptive_avg_pool2d(gray, (8, 9))[0]
    bits = (cells[:, 1:] < cells[:, :-1] - 1).flatten().tolist()  # a step of 1 in 255 is noise
    colour = (picture.float().mean((1, 2)) / _COLOUR_STEP).round().int().tolist()
    return sum(1 << place for place, bit in enumerate(bits) if bit), tuple(colour)


def _spread(values: Sequence[int]) -> dict[str, int]:
    ordered = sorted(values) or [0]
    return {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]}
