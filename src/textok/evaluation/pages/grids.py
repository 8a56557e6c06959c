"""Picture grids for run folders and model cards: originals beside their reconstructions."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from textok.data.images import tensor_to_image
from textok.evaluation.captioned import Caption, CaptionedPictures
from textok.evaluation.reconstruction import Reconstructions
from textok.objectives.quality import psnr_per_image
from textok.writing import replacing

CAPTION_LABELS: dict[Caption, str] = {"right": "with caption", "none": "without", "wrong": "wrong caption"}

_CELL = 128  # side of a shown picture
_GAP = 6  # between the pictures of a budget
_GROUP_GAP = 18  # between budgets
_MARGIN = 16
_HEADER = 44
_FOOT = 44  # PSNR and caption under a row
_INK, _FAINT, _RULE, _PAPER = (24, 24, 28), (112, 112, 122), (224, 224, 228), (255, 255, 255)


def reconstruction_grid(pictures: CaptionedPictures, outputs: Reconstructions) -> Image.Image:
    """One row a picture: original | with caption | without | wrong caption, at every budget, with the PSNR.

    Args:
        pictures: the originals.
        outputs: their reconstructions, from :func:`textok.evaluation.reconstruction.reconstruct_all`.
    """
    cells = sorted(outputs, key=lambda cell: (cell[1], list(CAPTION_LABELS).index(cell[0])))
    lefts = _column_positions(cells)
    height, width = _shown_size(pictures.images.shape[2:])
    right = lefts[-1] + width + _MARGIN
    sheet = Image.new("RGB", (right, _HEADER + len(pictures) * (height + _FOOT) + _MARGIN), _PAPER)
    _write_header(sheet, cells, lefts=lefts)
    draw = ImageDraw.Draw(sheet)
    psnr = {cell: psnr_per_image(pictures.images, outputs[cell]).tolist() for cell in cells}
    for row, caption in enumerate(pictures.captions):
        top = _HEADER + row * (height + _FOOT)
        shown = [pictures.images[row], *(outputs[cell][row] for cell in cells)]
        for left, pixels in zip(lefts, shown, strict=True):
            sheet.paste(_fit(tensor_to_image(pixels), (width, height)), (left, top))
            frame = (left - 1, top - 1, left + width, top + height)
            draw.rectangle(frame, outline=_RULE)  # white pictures on white paper have an edge too
        for left, cell in zip(lefts[1:], cells, strict=True):
            _write(sheet, (left, top + height + 3), f"{psnr[cell][row]:.1f} dB", size=12, ink=_FAINT)
        _write(sheet, (lefts[0], top + height + 20), caption, size=13, room=right - _MARGIN - lefts[0])
    return sheet


def save_picture(image: Image.Image, path: str | Path) -> Path:
    """Write a PNG under a temporary name, then rename it: a killed run leaves no half file."""
    with replacing(Path(path)) as temporary:
        image.save(temporary, format="PNG", optimize=True)
    return Path(path)


def _column_positions(cells: Sequence[tuple[Caption, int]]) -> list[int]:
    """Left edges of the original and of every cell; budgets stand apart from each other."""
    lefts, budget = [_MARGIN], None
    for _, k in cells:
        lefts.append(lefts[-1] + _CELL + (_GAP if k == budget else _GROUP_GAP))
        budget = k
    return lefts


def _write_header(sheet: Image.Image, cells: Sequence[tuple[Caption, int]], *, lefts: Sequence[int]) -> None:
    _write(sheet, (lefts[0], 24), "original", size=13)
    budget = None
    for left, (caption, k) in zip(lefts[1:], cells, strict=True):
        if k != budget:
            _write(sheet, (left, 6), f"{k} token{'s' * (k > 1)}", size=14)
            budget = k
        _write(sheet, (left, 24), CAPTION_LABELS[caption], size=13, ink=_FAINT)


def _write(
    sheet: Image.Image,
    corner: tuple[int, int],
    words: str,
    *,
    size: int,
    ink: tuple[int, int, int] = _INK,
    room: int | None = None,
) -> None:
    font = ImageFont.load_default(size=size)
    short = words
    while room is not None and len(short) > 1 and font.getlength(short) > room:
        short = short[:-2].rstrip() + "…"
    ImageDraw.Draw(sheet).text(corner, short, fill=ink, font=font)


def _shown_size(size: Sequence[int]) -> tuple[int, int]:
    height, width = size
    return max(1, round(height * _CELL / width)), _CELL


def _fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Small pictures are shown with sharp pixels, large ones without aliasing.
    enlarged = image.width < size[0]
    return image.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
