"""From the name of a source to its samples: which form it has, which part is asked for, what is passed over."""

import gc
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textok.data.census import Census
from textok.data.files import (
    LEFT_BY_SYSTEMS,
    File,
    Listing,
    cache_folder,
    file_of,
    fingerprint_of,
    is_remote,
    list_files,
    listing,
    shown_name,
)
from textok.data.records import Fields
from textok.data.samples import SplitError
from textok.data.sources.forms import choose_form, counted, of_split
from textok.data.sources.lists import (
    COCO_FILE,
    SPLIT_FOLDERS,
    PictureList,
    class_captions,
    coco_lists,
    listed_rows,
    metadata_lists,
    read_whole,
)
from textok.data.sources.pairing import Entry, Row, Span, is_picture, pair
from textok.data.sources.spans import SpanSource, Store
from textok.data.sources.table import TableSource, open_dataset_folder, open_parquet
from textok.data.sources.tar import TAR_SUFFIXES, Member, plain_tar, tar_members

_TABLES = (".csv", ".jsonl", ".json", ".arrow")
_COCO_WORDS = ".json:"

EXPECTED = (
    "pictures, alone or with .txt, .caption or .json files, metadata.jsonl or metadata.csv, in folders of classes, "
    "with COCO captions; webdataset tars; parquet files; or a Hugging Face datasets folder"
)

MANY_FILES, LARGE_TAR = 10_000, 64 << 20
"""What is opened from so many files, or from a tar of so many bytes, is opened faster the next time."""
_INDEX_VERSION = 1

StoredSource = SpanSource | TableSource


@contextmanager
def _without_collection() -> Iterator[None]:
    """Do not look for cycles among hundreds of thousands of new tuples: it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collection()
def open_stored(source: str | Path, split: str | None, *, fields: Fields, on_bad: str) -> StoredSource:
    """Open a source of any form; arguments and errors as :func:`textok.data.sources.open_source`."""
    words, colon, folder = str(source).partition(_COCO_WORDS)
    if colon or words.endswith(".json"):
        return _open_coco(words + ".json" * bool(colon), folder or None, split, fields=fields)
    files = list_files(source, on_bad=on_bad)
    tars = [file.size for file in files.files if file.name.lower().endswith(TAR_SUFFIXES)]
    if len(files.files) < MANY_FILES and max(tars, default=0) < LARGE_TAR:
        return _open_listing(files.sorted_out(), split, source, fields=fields, on_bad=on_bad)
    options = (_INDEX_VERSION, source if is_remote(source) else Path(source).resolve(), split, fields, on_bad)
    index, identity = cache_folder("index") / fingerprint_of(options), files.fingerprint(files.root, *options)
    opened = SpanSource.load(index, identity, fields=fields)
    if opened is None:
        opened = _open_listing(files.sorted_out(), split, source, fields=fields, on_bad=on_bad)
        if isinstance(opened, SpanSource):
            opened.save(index, identity)
    return opened


def _open_listing(
    files: Listing, split: str | None, source: str | Path, *, fields: Fields, on_bad: str
) -> StoredSource:
    names = {file.name for file in files.files}
    if files.whole and not is_remote(files.root) and names & {"dataset_dict.json", "state.json"}:
        return open_dataset_folder(Path(files.root), split, fields=fields, saved=True)
    if split is not None and any(name.startswith(f"{split}/") for name in names) and not _has_lists(names):
        files, split = files.below(split), None
    form = choose_form(files)
    if form == "pictures":
        return _open_pictures(files, split, fields=fields)
    if form == "tars":
        return _open_tars(files, split, fields=fields, on_bad=on_bad)
    if form == "parquet files":
        shards, name_of = of_split(files, split)
        rows = open_parquet(files, shards, fields=fields)
        rows.splits = counted(map(name_of.get, rows.shard_paths), rows.shard_lengths)
        return rows
    return _open_other(files, split, source, fields=fields)


def _has_lists(names: set[str]) -> bool:
    lists = {"metadata.jsonl", "metadata.csv", "metadata.tsv"}
    return bool(names & lists) or any(COCO_FILE.fullmatch(name) and name.count("/") < 2 for name in names)


# --- pictures in folders ------------------------------------------------------------------------------------


def _open_pictures(files: Listing, split: str | None, *, fields: Fields) -> SpanSource:
    store = Store()
    entries = [
        Entry(one.name, Span(store.add_file(files.path(one.name)), 0, one.size)) for one in files.files
    ]
    lists = _lists(entries, store, fields=fields)
    rows = _rows(entries, lists, split, files, fields=fields)
    splits = _splits(rows, lists)
    splits = {} if len(splits) == 1 and len(rows) in splits.values() else splits
    return _span_source(rows, store, files, fields=fields, splits=splits)


def _span_source(
    rows: list[Row], store: Store, files: Listing, *, fingerprint: str = "", **others: Any
) -> SpanSource:
    census = files.census
    if not rows:
        raise ValueError(f"{files.root}: found no pictures ({census}); expected {EXPECTED}")
    class_captions(rows, store, census)
    bare = sum(not row.parts.keys() & {"json", "txt"} for row in rows)
    if bare:
        census.notes.append(f"{bare:,} of them have no caption")
    census.read += len(rows)
    fingerprint = fingerprint or files.fingerprint(len(rows))
    return SpanSource.of_rows(rows, store, census=census, fingerprint=fingerprint, **others)


def _lists(entries: Sequence[Entry], store: Store, *, fields: Fields) -> list[PictureList]:
    names = {entry.name for entry in entries if is_picture(entry.name)}
    stems = {name.rpartition(".")[0] for name in names}
    coco = [e for e in entries if COCO_FILE.fullmatch(e.name) and e.name.removesuffix(".json") not in stems]
    coco = [e for e in coco if b'"annotations"' in read_whole(e, store)]  # other captions may have such names
    if coco:
        check_no_fields(fields, "COCO captions")
        return coco_lists(coco, names, store)
    return metadata_lists(entries, names, store, fields=fields)


def _rows(
    entries: Sequence[Entry],
    lists: Sequence[PictureList],
    split: str | None,
    files: Listing,
    *,
    fields: Fields,
) -> list[Row]:
    census = files.census
    used = {one.file for one in lists}
    rest = [entry for entry in entries if entry.name not in used]
    census.beside += len(entries) - len(rest)
    rows = pair(rest, census, image_suffix=None if lists else fields.image)
    for row in rows:
        row.shard = files.root
    named = fields.caption or fields.label
    if not lists and named and not any("json" in row.parts for row in rows):
        check_no_fields(fields, f"{files.root}: found {listing([row.name for row in rows])} without metadata")
    if any(one.split is not None for one in lists):
        return _rows_of_lists(rows, lists, split, files)
    if lists:
        rows = listed_rows(rows, lists, census, path_of=files.path)
    if split is None:
        return rows
    chosen = [row for row in rows if row.name.startswith(f"{split}/")]
    if not chosen:
        raise SplitError(files.root, split, _splits(rows, ()))
    return chosen


def _rows_of_lists(
    rows: list[Row], lists: Sequence[PictureList], split: str | None, files: Listing
) -> list[Row]:
    chosen = [one for one in lists if split in (None, one.split)]
    if not chosen:
        names = sorted(str(one.split) for one in lists)
        raise SplitError(files.root, split, names)
    scopes = tuple(one.scope for one in chosen)
    inside = [row for row in rows if split is None or row.name.startswith(scopes)]
    ordered = listed_rows(inside, chosen, files.census, path_of=files.path)
    listed = sum(len(one.rows) for one in chosen)
    files.census.pass_over("pictures that no list names", [shown_name(row.name) for row in ordered[listed:]])
    return ordered[:listed]


def _splits(rows: Sequence[Row], lists: Sequence[PictureList]) -> dict[str, int]:
    named = {one.split: len(one.rows) for one in lists if one.split is not None}
    if named:
        return dict(sorted(named.items()))
    folders = (row.name.partition("/")[0] if "/" in row.name else None for row in rows)
    return counted((name if name in SPLIT_FOLDERS else None for name in folders), [1] * len(rows))


def check_no_fields(fields: Fields, what: str) -> None:
    """Raise ``ValueError`` when a form without fields was asked for some by name."""
    if fields != Fields():
        raise ValueError(f"{what}, which have no fields; expected no field names, got {fields}")


def _open_coco(file: str, folder: str | None, split: str | None, *, fields: Fields) -> SpanSource:
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    check_no_fields(fields, f"{file}: COCO captions")
    own = path.stem.removeprefix("captions").lstrip("_") or path.stem
    if split not in (None, own):
        raise SplitError(file, split, [own])
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of pictures")
    root = path.parent.parent if folder is None and path.parent.name == "annotations" else path.parent
    files, state, store = list_files(folder or root).sorted_out(), path.stat(), Store()
    name = str(path) if folder is not None else path.relative_to(root).as_posix()
    annotations = Entry(name, Span(store.add_file(file), 0, state.st_size))
    names = {one.name for one in files.files}
    lists = coco_lists([annotations], names, store, folder="" if folder is not None else None)
    inside = [one for one in files.files if one.name.startswith(lists[0].scope)]
    below = [
        Entry(one.name, Span(store.add_file(files.path(one.name)), 0, one.size))
        for one in inside
        if is_picture(one.name)
    ]
    inside.append(file_of(path.name, state))
    files = Listing(root=files.root, files=inside, census=Census(beside=1))
    rows = _rows_of_lists(pair(below, files.census), lists, None, files)
    return _span_source(rows, store, files, fields=fields, splits={})


# --- tars ---------------------------------------------------------------------------------------------------


def _open_tars(files: Listing, split: str | None, *, fields: Fields, on_bad: str) -> SpanSource:
    shards, name_of = of_split(files, split)
    store, rows, identity = Store(), list[Row](), []
    for file in shards:
        path = files.path(file.name)
        try:
            plain = plain_tar(path, file)
            members = tar_members(plain, file)
        except (ValueError, OSError) as error:
            if on_bad == "stop":
                raise
            files.census.pass_over(f"tars that cannot be read ({error})", [shown_name(file.name)])
            continue
        number = store.add_file(plain)
        rows += _tar_rows(path, members, store, number=number, fields=fields, census=files.census)
        contents = repr([(name, size, time) for name, _, size, time in members]).encode(errors="replace")
        identity.append(f"{file.name.rpartition('/')[2]}:{file.size}:{file.changed}:{zlib.crc32(contents)}")
    splits = counted((name_of.get(row.shard) for row in rows), [1] * len(rows))
    fingerprint = fingerprint_of(identity, len(rows))
    return _span_source(rows, store, files, fields=fields, splits=splits, fingerprint=fingerprint)


def _tar_rows(
    path: str, members: Iterable[Member], store: Store, *, number: int, fields: Fields, census: Census
) -> list[Row]:
    entries = []
    for name, offset, size, _ in members:
        name = name.removeprefix("./")
        if LEFT_BY_SYSTEMS.search(name):
            census.pass_over("left by systems", [shown_name(name)])
        else:
            entries.append(Entry(name, Span(number, offset, size)))
    inner = Listing(root=path, files=[], census=census)
    lists = metadata_lists(entries, {entry.name for entry in entries}, store, fields=fields)
    rows = _rows(entries, lists, None, inner, fields=fields)
    for row in rows:
        row.shard = path
    return rows


# --- what else there is -------------------------------------------------------------------------------------


def _open_other(files: Listing, split: str | None, source: str | Path, *, fields: Fields) -> TableSource:
    names = [file.name for file in files.files]
    message = f"{source}: unknown layout: found {listing(names)}; expected {EXPECTED}"
    tables = [name for name in names if name.lower().endswith(_TABLES)]
    if not files.whole or is_remote(files.root) or not tables:
        raise ValueError(message)
    try:
        return open_dataset_folder(Path(files.root), split, fields=fields, saved=False)
    except ValueError as error:
        raise ValueError(f"{message} ({error})") from error
