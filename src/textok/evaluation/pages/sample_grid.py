"""Grids of generated pictures: a row for each prompt, a column for each setting."""

from collections.abc import Sequence

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from textok.data.images import tensor_to_image

_CELL, _GAP, _MARGIN, _HEADER, _FOOT = 128, 6, 16, 24, 24
_INK, _FAINT, _RULE, _PAPER = (24, 24, 28), (112, 112, 122), (224, 224, 228), (255, 255, 255)


def sample_grid(
    pictures: UInt8[Tensor, "r n 3 h w"], *, rows: Sequence[str], columns: Sequence[str] = ()
) -> Image.Image:
    """Pictures side by side with their prompt underneath.

    Args:
        pictures: r rows of n pictures.
        rows: words under each row.
        columns: words above each column; none when empty.
    """
    count, across, _, height, width = pictures.shape
    tall = max(1, round(height * _CELL / width))
    header = _HEADER if columns else 0
    size = (2 * _MARGIN + across * (_CELL + _GAP) - _GAP, 2 * _MARGIN + header + count * (tall + _FOOT))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, words in enumerate(columns):
        left = _MARGIN + column * (_CELL + _GAP)
        draw.text((left, _MARGIN), words, fill=_FAINT, font=ImageFont.load_default(size=13))
    for row, words in enumerate(rows):
        top = _MARGIN + header + row * (tall + _FOOT)
        for column in range(across):
            left = _MARGIN + column * (_CELL + _GAP)
            sheet.paste(_fit(tensor_to_image(pictures[row, column]), (_CELL, tall)), (left, top))
            draw.rectangle((left - 1, top - 1, left + _CELL, top + tall), outline=_RULE)
        short = fitted_words(words, room=size[0] - 2 * _MARGIN, size=13)
        draw.text((_MARGIN, top + tall + 3), short, fill=_INK, font=ImageFont.load_default(size=13))
    return sheet


def fitted_words(words: str, *, room: int, size: int) -> str:
    """The words, cut with an ellipsis where they are wider than ``room`` pixels."""
    font = ImageFont.load_default(size=size)
    short = words
    while len(short) > 1 and font.getlength(short) > room:
        short = short[:-2].rstrip() + "…"
    return short


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    enlarged = image.width < size[0]
    return image.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
