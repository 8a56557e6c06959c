"""Lists that say what pictures show: metadata tables, COCO captions, names of class folders."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from textok.data.files import MAX_TEXT_BYTES, Census, inside, shown_name
from textok.data.records import LABEL_FIELDS, Fields, RecordError, parse_record, read_captions, read_label
from textok.data.sources.spans import Entry, Row, Span, Store
from textok.data.text import TextError, decode_text

MAX_LIST_BYTES = 2 << 30
SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test", "dev")
"""Names that folders of a class tree have when they are splits, not classes."""
NAME_FIELDS = ("file_name", "filename", "file", "image", "image_path", "path")
COCO_FILE = re.compile(r"(?:.*/)?captions[^/]*\.json")

METADATA_FILE = re.compile(r"(?:.*/)?metadata\.(?:jsonl|csv|tsv)")
_TABLE = re.compile(r".*\.(?:jsonl|csv|tsv)")


@dataclass(frozen=True, kw_only=True)
class PictureList:
    """A list and what it says of each picture, in order; ``split`` is the part that it lists, None where names tell.

    Its names are relative to the folder ``scope``, which has a slash at its end; "" for all.
    """

    file: str
    path: str
    scope: str
    rows: Sequence[Row]
    split: str | None = None


def read_whole(entry: Entry, store: Store) -> bytes:
    """The bytes of a list; ``ValueError`` when it is over the limit or cannot be read."""
    try:
        return store.read(entry.span, limit=MAX_LIST_BYTES)
    except RecordError as error:
        raise ValueError(f"{store.paths[entry.span.file]}: {error}") from error


def metadata_lists(
    entries: Sequence[Entry], names: set[str], store: Store, *, fields: Fields
) -> list[PictureList]:
    """The lists ``metadata.jsonl|csv|tsv``, each of its folder; else any table whose first line names a picture."""
    found = [entry for entry in entries if METADATA_FILE.fullmatch(entry.name)]
    tables = found or [entry for entry in entries if _TABLE.fullmatch(entry.name)]
    lists = []
    for entry in tables:
        scope = entry.name[: entry.name.rfind("/") + 1]
        read = _json_lines if entry.name.endswith(".jsonl") else _table_rows
        rows = list(read(entry, store, fields))
        if not found and (not rows or scope + rows[0].name not in names):
            continue
        if not rows:
            raise ValueError(
                f"{entry.name}: found no line; expected one JSON object a line, or rows of a table"
            )
        path = store.paths[entry.span.file]
        rows = _joined(rows, store, fields)
        lists.append(PictureList(file=entry.name, path=path, scope=scope, rows=rows))
    return lists


def _table_rows(entry: Entry, store: Store, fields: Fields) -> Iterator[Row]:
    try:
        text = decode_text(read_whole(entry, store))
    except TextError as error:
        raise ValueError(f"{entry.name}: {error}") from error
    for row in csv.DictReader(io.StringIO(text), delimiter="\t" if entry.name.endswith(".tsv") else ","):
        record = {name: _number(name, value, fields) for name, value in row.items() if name is not None}
        yield _row_of(record, store.add_record(record), fields)


def _json_lines(entry: Entry, store: Store, fields: Fields) -> Iterator[Row]:
    data, (file, offset, _) = read_whole(entry, store), entry.span
    if data[:1] in (b"\xff", b"\xfe", b"\xef"):  # not plain UTF-8, unless one of its lines is at fault
        with suppress(TextError):
            data = decode_text(data).encode(errors="surrogatepass")
            file, offset = 0, store.add_bytes(data)
    for number, line in enumerate(io.BytesIO(data), start=1):
        span = Span(file, offset, len(line))
        offset += len(line)
        if not line.strip():
            continue
        try:
            if len(line) > MAX_TEXT_BYTES:
                raise RecordError(f"a line of {len(line):,} bytes, over the limit of {MAX_TEXT_BYTES:,}")
            yield _row_of(parse_record(line), span, fields, f"line {number}")
        except RecordError as error:
            yield _row(f"line {number}", span, str(error))


def _row_of(record: Mapping[str, Any], span: Span, fields: Fields, where: str = "a row") -> Row:
    field = fields.image or next((name for name in NAME_FIELDS if record.get(name)), NAME_FIELDS[0])
    name = record.get(field)
    if inside(name):
        return _row(str(name).removeprefix("./"), span)
    return _row(where, span, f"{field!r} is {name!r:.80}; expected a file inside the folder")


def _row(name: str, record: Span, problem: str = "") -> Row:
    stem, dot, _ = name.rpartition(".")
    key = stem if dot and "/" not in name[len(stem) :] and not problem else name
    return Row(name=name, key=key, parts={"json": record}, problem=problem)


def _number(field: str, value: Any, fields: Fields) -> Any:
    labelled = field in LABEL_FIELDS or field == fields.label
    return int(value) if labelled and isinstance(value, str) and value.isdigit() else value


def _joined(rows: Sequence[Row], store: Store, fields: Fields) -> list[Row]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    return [group[0] if len(group) == 1 else _merged(group, store, fields) for group in groups.values()]


def _merged(rows: Sequence[Row], store: Store, fields: Fields) -> Row:
    captions: dict[str, None] = {}
    label = None
    try:
        for row in rows:
            record = parse_record(store.read(row.parts["json"], limit=MAX_TEXT_BYTES))
            captions |= dict.fromkeys(read_captions(record, fields.caption))
            label = read_label(record, fields.label) if label is None else label
    except RecordError as error:
        rows[0].problem = str(error)
        return rows[0]
    record = {fields.caption or "captions": list(captions), fields.label or "label": label}
    rows[0].parts["json"] = store.add_record(record)
    return rows[0]


def coco_lists(
    entries: Sequence[Entry], names: set[str], store: Store, *, folder: str | None = None
) -> list[PictureList]:
    """Files of COCO captions, and where their pictures are if no ``folder`` says it; errors name what is missing."""
    lists = []
    for entry in entries:
        split = entry.name.rpartition("/")[2].removesuffix(".json").removeprefix("captions").lstrip("_")
        path, rows = store.paths[entry.span.file], []
        for name, captions in _coco_records(read_whole(entry, store), path):
            problem = f"the picture is named {name!r:.80}; expected a file inside the folder"
            record = store.add_record({"captions": captions})
            rows.append(_row(name, record, "" if inside(name) else problem))
        places = [folder] if folder is not None else [*_coco_places(entry.name, split)]
        scope = next((place for place in places if place + rows[0].name in names), None)
        if scope is None:
            raise FileNotFoundError(
                f"{entry.name}: its first picture {rows[0].name!r} is not in {', '.join(places)}; "
                f"name the folder of the pictures as {entry.name}:FOLDER"
            )
        lists.append(PictureList(file=entry.name, path=path, scope=scope, rows=rows, split=split))
    return lists


def _coco_places(file: str, split: str) -> Iterator[str]:
    parent = file[: file.rfind("/") + 1]
    for base in dict.fromkeys((parent[: parent.rstrip("/").rfind("/") + 1], parent)):
        for place in (split, "images", "train2017", "val2017"):
            yield f"{base}{place}/"
        yield base


def _coco_records(data: bytes, file: str) -> list[tuple[str, list[str]]]:
    try:
        content = json.loads(decode_text(data))
        captions: dict[Any, list[str]] = {}
        for annotation in content["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(" ".join(annotation["caption"].split()))
        found = [(image["file_name"], captions.get(image["id"], [])) for image in content["images"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file}: not COCO captions ({type(error).__name__}: {error}); expected an object with images "
            "(id, file_name) and annotations (image_id, caption)"
        ) from error
    if not found or not all(isinstance(name, str) and name for name, _ in found):
        raise ValueError(f"{file}: found no picture, or one without a file name; expected COCO captions")
    return found


def class_captions(rows: Sequence[Row], store: Store, census: Census) -> None:
    """Where no text says what pictures show and each lies in a folder, the folder's name is the class and the caption.

    It is put in words by :func:`class_caption`; a name without letters is no caption.
    """
    if not rows or any(len(row.parts) > 1 or row.problem for row in rows):
        return
    parents = [_class_of(row.name) for row in rows]
    if not all(parents):
        return
    labels = {parent: number for number, parent in enumerate(sorted(set(parents)))}
    spans = {}
    for parent, label in labels.items():
        caption = class_caption(shown_name(parent))
        captions = [caption] if any(map(str.isalpha, caption)) else []
        spans[parent] = store.add_record({"captions": captions, "label": label})
    for row, parent in zip(rows, parents, strict=True):
        row.parts["json"] = spans[parent]
    census.notes.append(f"no captions beside them: the names of {len(labels):,} folders serve as captions")


def _class_of(name: str) -> str:
    parts = name.split("/")[:-1]
    return "/".join(parts[1:] if parts and parts[0] in SPLIT_FOLDERS else parts)


def class_caption(name: str) -> str:
    """A class's name in words: ``/a/art_gallery`` is "art gallery", ``a/bus_station/indoor`` and
    ``bus_station-indoor`` are "bus station indoor".

    The single letter that Places365 sorts its classes under is left out, and the number of repeats before a name.
    """
    parts = [part for part in name.split("/") if part]
    if len(parts) > 1 and len(parts[0]) == 1:
        parts = parts[1:]
    words = " ".join(re.sub(r"^\d+_(?=\D)", "", part) for part in parts)
    return " ".join(words.replace("_", " ").replace("-", " ").split())


def listed_rows(
    rows: Sequence[Row], lists: Sequence[PictureList], census: Census, *, path_of: Callable[[str], str]
) -> list[Row]:
    """The pictures in the order of their lists, then those that no list speaks about.

    A picture in the scope of a list which does not name it is passed over, and any that is not named where lists are
    the parts of a data set; one that is named but not there is a sample that cannot be read.
    """
    pictures = {row.name: row for row in rows}
    used: set[str] = set()
    ordered = []
    for one in lists:
        for row in one.rows:
            row.name, row.shard = one.scope + row.name, one.path
            picture = pictures.get(row.name)
            if picture is None and not row.problem:
                row.problem = f"cannot read {shown_name(path_of(row.name))}: no such picture"
            row.parts = row.parts if picture is None else {**picture.parts, **row.parts}
            ordered.append(row)
            used.add(row.name)
    scopes = tuple(one.scope if one.split is None else "" for one in lists)
    left = [row for row in rows if row.name not in used]
    unlisted = [row.name for row in left if row.name.startswith(scopes)]
    census.pass_over("pictures that no list names", map(shown_name, unlisted))
    return [*ordered, *(row for row in left if not row.name.startswith(scopes))]
