"""COCO captions: an annotation file (``captions_val2017.json``) and the folder of its pictures."""

import json
from pathlib import Path
from typing import Any

from textok.data.records import Fields
from textok.data.sources.listed import ListedSource, check_no_fields

MAX_ANNOTATION_BYTES = 1 << 30  # captions_train2017.json has 92 MB
_PREFIX = "captions_"
_SEPARATOR = ".json:"


def is_coco(source: str | Path) -> bool:
    """Whether the words name an annotation file: ``FILE.json``, or ``FILE.json:FOLDER`` with its pictures."""
    return str(source).endswith(".json") or _SEPARATOR in str(source)


def coco_annotations(folder: Path) -> dict[str, Path]:
    """The caption annotations of a COCO folder (``annotations/captions_SPLIT.json``) by split."""
    files = sorted((folder / "annotations").glob(f"{_PREFIX}*.json"))
    return {path.stem.removeprefix(_PREFIX): path for path in files}


def open_coco_folder(folder: Path, split: str | None, *, fields: Fields) -> ListedSource:
    """Open one split of a COCO folder.

    Raises:
        ValueError: when the split is missing or ambiguous, or the file is not COCO captions.
    """
    found = coco_annotations(folder)
    if split is None and len(found) == 1:
        [split] = found
    if split not in found:
        raise ValueError(f"{folder}: split is {split!r}; expected one of {sorted(found)}")
    return open_coco(found[split], None, fields=fields)


def open_coco(source: str | Path, split: str | None, *, fields: Fields) -> ListedSource:
    """Open an annotation file; every picture has all its captions, in the order of the file.

    Args:
        source: ``FILE.json``, the pictures in the folder named like its split beside it or one level up, as
            COCO unpacks (``annotations/captions_val2017.json`` and ``val2017/``); or ``FILE.json:FOLDER``.
        split: None, or the one of the file's name.
        fields: no names: the format has none.

    Raises:
        FileNotFoundError: when the file or the folder is not there.
        ValueError: when the file is not COCO captions, or is of another split.
    """
    words, colon, folder = str(source).partition(_SEPARATOR)
    file = Path(words + ".json") if colon else Path(source)
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    check_no_fields(fields, f"{file}: COCO captions")
    own = file.stem.removeprefix(_PREFIX)
    if split not in (None, own):
        raise ValueError(f"{file}: split is {split!r}; expected {own!r} or none")
    pictures, captions = _read(file)
    names = list(pictures.values())
    root = Path(folder) if colon else _pictures_beside(file, own, names[0])
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of pictures")
    texts = [tuple(captions.get(number, ())) for number in pictures]
    return ListedSource(root, names, captions=texts, labels=None, listed_in=file)


def _read(file: Path) -> tuple[dict[Any, str], dict[Any, list[str]]]:
    """File names and captions by picture id.

    Raises:
        ValueError: for anything but COCO captions.
    """
    if file.stat().st_size > MAX_ANNOTATION_BYTES:
        raise ValueError(f"{file}: over the limit of {MAX_ANNOTATION_BYTES:,} bytes")
    try:
        found = json.loads(file.read_bytes())
        pictures = {image["id"]: image["file_name"] for image in found["images"]}
        captions: dict[Any, list[str]] = {}
        for annotation in found["annotations"]:
            text = " ".join(annotation["caption"].split())
            if text:
                captions.setdefault(annotation["image_id"], []).append(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file}: not COCO captions ({type(error).__name__}: {error}); expected an object with images "
            "(id, file_name) and annotations (image_id, caption)"
        ) from error
    if not pictures or not all(isinstance(name, str) and name for name in pictures.values()):
        raise ValueError(f"{file}: found no picture, or one without a file name; expected COCO captions")
    return pictures, captions


def _pictures_beside(file: Path, split: str, first: str) -> Path:
    places = [base / name for base in (file.parent.parent, file.parent) for name in (split, "images", ".")]
    for place in places:
        if (place / first).is_file():
            return place
    raise FileNotFoundError(
        f"{file}: its first picture {first!r} is not in {', '.join(map(str, places))}; "
        f"name the folder of the pictures as {file}:FOLDER"
    )
