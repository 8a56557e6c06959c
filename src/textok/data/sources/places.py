"""Places365 by its lists: ``places365_val.txt`` and ``categories_places365.txt`` beside the picture folders.

The tree of its "easy" download (``val/art_gallery/*.jpg``) needs no list: it is a folder of classes.
"""

from pathlib import Path

from textok.data.files import listing
from textok.data.records import Fields
from textok.data.sources.listed import ListedSource, check_no_fields, class_caption

CATEGORIES = "categories_places365.txt"
MAX_LIST_BYTES = 512 << 20  # the list of the 8 million pictures of the challenge set has 300 MB

_LISTS = {
    "val": ("places365_val.txt", ("val_256", "val_large")),
    "train": ("places365_train_standard.txt", ("data_256", "data_large")),
}


def open_places(root: Path, split: str | None, *, fields: Fields) -> ListedSource:
    """Open a split of Places365 as it is distributed; a picture's caption is the name of its class.

    Args:
        root: the folder with the categories, the lists, and the pictures (``val_256`` or ``val_large``,
            ``data_256`` or ``data_large``).
        split: "val" or "train"; None when only one of the two lists is there.
        fields: no names: lists have none.

    Raises:
        FileNotFoundError: when the pictures are not there.
        ValueError: when the split is missing or ambiguous, or a list is malformed.
    """
    check_no_fields(fields, f"{root}: Places365 lists")
    there = sorted(name for name, (file, _) in _LISTS.items() if (root / file).is_file())
    if split is None and len(there) == 1:
        [split] = there
    if split not in there:
        raise ValueError(f"{root}: split is {split!r}; expected one of {there} (places365_val.txt, ...)")
    file, folders = _LISTS[split]
    pictures = next((root / name for name in folders if (root / name).is_dir()), None)
    if pictures is None:
        found = listing(sorted(root.iterdir()))
        raise FileNotFoundError(f"{root}: found {found}; expected a folder {' or '.join(folders)}")
    classes = {label: (class_caption(name),) for name, label in _lines(root / CATEGORIES)}
    listed = _lines(root / file)
    unknown = sorted({label for _, label in listed} - classes.keys())
    if unknown or not listed:
        raise ValueError(
            f"{root / file}: found {len(listed)} pictures, classes {unknown[:5]} not in {CATEGORIES}"
        )
    return ListedSource(
        pictures,
        [name.lstrip("/") for name, _ in listed],
        captions=[classes[label] for _, label in listed],
        labels=[label for _, label in listed],
        listed_in=root / file,
    )


def _lines(file: Path) -> list[tuple[str, int]]:
    """The lines "NAME NUMBER" of a list.

    Raises:
        ValueError: when one is anything else, naming it.
    """
    if file.stat().st_size > MAX_LIST_BYTES:
        raise ValueError(f"{file}: over the limit of {MAX_LIST_BYTES:,} bytes")
    found = []
    with open(file, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            name, _, label = line.strip().rpartition(" ")
            if not name or not label.isdecimal():
                raise ValueError(
                    f"{file}, line {number}: got {line.strip()!r:.80}; expected a name and a number"
                )
            found.append((name, int(label)))
    return found
