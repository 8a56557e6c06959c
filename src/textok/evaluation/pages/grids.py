"""Picture grids for run folders and model cards: one PNG of pictures side by side, with words around them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from textok.data.images import save_png, tensor_to_image
from textok.evaluation.captioned import CaptionCondition, CaptionedPictures
from textok.evaluation.reconstruction import Reconstructions
from textok.objectives.quality import psnr_per_image

CAPTION_LABELS = {"right": "with caption", "none": "without", "wrong": "wrong caption"}

_CELL = 128  # width of a shown picture
_GAP, _GROUP_GAP = 6, 18  # between columns, and between groups of columns
_MARGIN, _LINE = 16, 20
_INK, _FAINT, _RULE, _PAPER = (24, 24, 28), (112, 112, 122), (224, 224, 228), (255, 255, 255)


class _Column(NamedTuple):
    head: str = ""
    group: str = ""


def caption_label(condition: CaptionCondition) -> str:
    """A caption condition in the words of a reader."""
    return CAPTION_LABELS.get(condition, condition.replace("_", " "))


def reconstruction_grid(pictures: CaptionedPictures, outputs: Reconstructions) -> Image.Image:
    """One row per picture: original | with caption | without | wrong caption, at every budget, with the PSNR."""
    cells = sorted(outputs, key=lambda cell: (cell[1], list(CAPTION_LABELS).index(cell[0])))
    columns = [_Column(head="original")]
    columns += [_Column(head=CAPTION_LABELS[c], group=f"{k} token{'s' * (k > 1)}") for c, k in cells]
    psnr = [psnr_per_image(pictures.images, outputs[cell]).tolist() for cell in cells]
    return _paint(
        [[pictures.images[i], *(outputs[cell][i] for cell in cells)] for i in range(len(pictures))],
        columns=columns,
        words=pictures.captions,
        notes=[["", *(f"{values[i]:.1f} dB" for values in psnr)] for i in range(len(pictures))],
    )


def sample_grid(
    pictures: UInt8[Tensor, "r n 3 h w"], *, rows: Sequence[str], columns: Sequence[str] = ()
) -> Image.Image:
    """Generated pictures side by side, with words under each row (the prompt) and above each column."""
    heads = columns or [""] * pictures.shape[1]
    return _paint([list(row) for row in pictures], columns=[_Column(head=head) for head in heads], words=rows)


def save_picture(image: Image.Image, path: str | Path) -> Path:
    """Write a grid as a PNG that says so: it is never read as a picture of a data set."""
    return save_png(image, path, page=True)


def _paint(
    pictures: Sequence[Sequence[UInt8[Tensor, "3 h w"]]],
    *,
    columns: Sequence[_Column],
    words: Sequence[str],
    notes: Sequence[Sequence[str]] = (),
) -> Image.Image:
    """Rows of pictures of one size, with words under each row, and a note under each picture where there are any."""
    lefts, top = [_MARGIN], _header(columns)
    for before, column in pairwise(columns):  # groups stand apart from each other
        lefts.append(lefts[-1] + _CELL + (_GAP if column.group == before.group else _GROUP_GAP))
    height = max(1, round(pictures[0][0].shape[1] * _CELL / pictures[0][0].shape[2]))
    foot = 2 * _LINE if notes else _LINE
    size = (lefts[-1] + _CELL + _MARGIN, top + len(pictures) * (height + foot) + _MARGIN)
    sheet = Image.new("RGB", size, _PAPER)
    _write_heads(sheet, columns, lefts)
    for row, line in enumerate(pictures):
        for left, pixels in zip(lefts, line, strict=True):
            image = tensor_to_image(pixels)
            # Small pictures are shown with sharp pixels, large ones without aliasing; white ones have an edge too.
            resampling = Image.Resampling.NEAREST if image.width < _CELL else Image.Resampling.LANCZOS
            sheet.paste(image.resize((_CELL, height), resampling), (left, top))
            box = (left - 1, top - 1, left + _CELL, top + height)
            ImageDraw.Draw(sheet).rectangle(box, outline=_RULE)
        for left, note in zip(lefts, notes[row] if notes else (), strict=False):
            _write(sheet, (left, top + height + 2), note, size=12, ink=_FAINT)
        short = fitted_words(words[row], room=size[0] - 2 * _MARGIN, size=13)
        top += height + foot
        _write(sheet, (_MARGIN, top - _LINE + 2), short, size=13)
    return sheet


def _header(columns: Sequence[_Column]) -> int:
    lines = any(column.group for column in columns) + any(column.head for column in columns)
    return _MARGIN + lines * _LINE


def _write_heads(sheet: Image.Image, columns: Sequence[_Column], lefts: Sequence[int]) -> None:
    base, group = _header(columns) - _LINE, ""
    for column, left in zip(columns, lefts, strict=True):
        if column.group != group:
            group = column.group
            _write(sheet, (left, base - _LINE), group, size=14)
        _write(sheet, (left, base), column.head, size=13, ink=_FAINT)


def _write(
    sheet: Image.Image, corner: tuple[int, int], words: str, *, size: int, ink: tuple[int, int, int] = _INK
) -> None:
    ImageDraw.Draw(sheet).text(corner, words, fill=ink, font=ImageFont.load_default(size=size))


def fitted_words(words: str, *, room: int, size: int) -> str:
    """The words, cut with an ellipsis where they are wider than ``room`` pixels."""
    font = ImageFont.load_default(size=size)
    short = words
    while len(short) > 1 and font.getlength(short) > room:
        short = short[:-2].rstrip() + "…"
    return short
