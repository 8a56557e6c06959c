"""From the files of a source to its samples: which form it has, which part is asked for, what is passed over."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from textok.data.files import (
    LEFT_BY_SYSTEMS,
    Census,
    File,
    Listing,
    file_of,
    fingerprint_of,
    is_remote,
    list_files,
    listing,
    shown_name,
)
from textok.data.records import Fields
from textok.data.samples import Source, SplitError
from textok.data.sources.lists import (
    COCO_FILE,
    METADATA_FILE,
    SPLIT_FOLDERS,
    PictureList,
    class_captions,
    coco_lists,
    listed_rows,
    metadata_lists,
    read_whole,
)
from textok.data.sources.spans import Entry, Row, Span, SpanSource, Store, is_picture, pair
from textok.data.sources.table import TableSource, count_rows, open_dataset_folder, open_parquet
from textok.data.sources.tar import TAR_SUFFIXES, plain_tar, tar_members

_TABLES = (".csv", ".jsonl", ".json", ".arrow")
# train-000000.tar, train-00000-of-00002.parquet, train-00000-of-00002-0123abcd.parquet
_NUMBERED = re.compile(r"(.+?)[-_.]\d+(-of-\d+(-[0-9a-f]+)?)?")

EXPECTED = (
    "pictures, alone or with .txt, .caption or .json files, metadata.jsonl or metadata.csv, in folders of classes, "
    "with COCO captions; webdataset tars; parquet files; or a Hugging Face datasets folder"
)


def open_listing(
    files: Listing, split: str | None, source: str | Path, *, fields: Fields, on_bad: str
) -> Source:
    """The samples of a listing; source and errors as of :func:`textok.data.sources.open_source`."""
    names = {file.name for file in files.files}
    if files.whole and not is_remote(files.root) and names & {"dataset_dict.json", "state.json"}:
        return open_dataset_folder(Path(files.root), split, fields=fields, saved=True)
    if split is not None and any(name.startswith(f"{split}/") for name in names) and not _has_lists(names):
        files, split = files.below(split), None
    form = _choose_form(files)
    if form == "pictures":
        return _open_pictures(files, split, fields=fields)
    if form == "tars":
        return _open_tars(files, split, fields=fields, on_bad=on_bad)
    if form == "parquet files":
        shards, name_of = _of_split(files, split)
        rows = open_parquet(files, shards, fields=fields)
        rows.splits = _counted(map(name_of.get, rows.shard_paths), rows.shard_lengths)
        return rows
    return _open_other(files, split, source, fields=fields)


def _has_lists(names: set[str]) -> bool:
    lists = {"metadata.jsonl", "metadata.csv", "metadata.tsv"}
    return bool(names & lists) or any(COCO_FILE.fullmatch(name) and name.count("/") < 2 for name in names)


def _choose_form(files: Listing) -> str:
    """The form that holds most pictures, "" for none; only its files stay, the others are counted."""
    forms: dict[str, list[File]] = {"tars": [], "parquet files": [], "pictures": [], "other files": []}
    for file in files.files:
        is_tar, is_parquet = (file.name.lower().endswith(ends) for ends in (TAR_SUFFIXES, ".parquet"))
        rest = "pictures" if is_picture(file.name) else "other files"
        forms["tars" if is_tar else "parquet files" if is_parquet else rest].append(file)
    others = forms.pop("other files")
    forms = {name: members for name, members in forms.items() if members}
    if not forms:
        return "pictures" if any(METADATA_FILE.fullmatch(file.name) for file in others) else ""
    form = next(iter(forms))
    if len(forms) > 1:
        form = max(forms, key=lambda name: _count_pictures(name, forms[name], files))
    left = {f"{name} beside {form}": members for name, members in forms.items() if name != form}
    left |= {} if form == "pictures" else {"other files": others}
    for reason, members in left.items():
        files.census.pass_over(reason, [shown_name(file.name) for file in members])
    files.files[:] = sorted(forms[form] + others) if form == "pictures" else forms[form]
    return form


def _count_pictures(form: str, members: Sequence[File], files: Listing) -> int:
    if form == "pictures":
        return len(members)
    counts = 0
    for file in members:
        path = files.path(file.name)
        with suppress(ValueError, OSError):  # named as passed over, or an error when nothing else is there
            if form == "parquet files":
                counts += count_rows(path)
            else:
                counts += sum(is_picture(name) for name, *_ in tar_members(plain_tar(path, file), file))
    return counts


def _of_split(files: Listing, split: str | None) -> tuple[list[File], dict[str, str]]:
    """The shards of a part, and for all parts together the name of each shard's."""
    splits: dict[str, list[File]] = {}
    for file in files.files:
        stem = re.sub(r"(\.tar)?\.\w+$", "", file.name.rpartition("/")[2])
        match = _NUMBERED.fullmatch(stem)
        splits.setdefault(match[1] if match else "" if stem.isdigit() else stem, []).append(file)
    names = sorted(splits.keys() - {""})
    if split is None:
        named = {files.path(file.name): name for name in names for file in splits[name]}
        return files.files, named if len(splits) > 1 else {}
    if split not in names:
        raise SplitError(files.root, split, names)
    return splits[split], {}


def _counted(names: Iterable[str | None], counts: Iterable[int]) -> dict[str, int]:
    """How many each part has, by the part of each of some counts, if it has one."""
    totals: Counter[str] = Counter()
    for name, count in zip(names, counts, strict=True):
        if name is not None:
            totals[name] += count
    return dict(sorted(totals.items()))


def _open_pictures(files: Listing, split: str | None, *, fields: Fields) -> SpanSource:
    store = Store()
    entries = _entries(files.files, files, store)
    names = {entry.name for entry in entries if is_picture(entry.name)}
    stems = {name.rpartition(".")[0] for name in names}
    coco = [e for e in entries if COCO_FILE.fullmatch(e.name) and e.name.removesuffix(".json") not in stems]
    coco = [e for e in coco if b'"annotations"' in read_whole(e, store)]  # other captions may have such names
    if coco:
        _check_no_fields(fields, "COCO captions")
    lists = coco_lists(coco, names, store) if coco else metadata_lists(entries, names, store, fields=fields)
    rows = _rows(entries, lists, split, files, fields=fields)
    splits = _splits(rows, lists)
    splits = {} if len(splits) == 1 and len(rows) in splits.values() else splits
    return _span_source(rows, store, files, fields=fields, splits=splits)


def _entries(those: Iterable[File], files: Listing, store: Store) -> list[Entry]:
    return [Entry(one.name, Span(store.add_file(files.path(one.name)), 0, one.size)) for one in those]


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
    return SpanSource.of_rows(rows, store, census, fingerprint=fingerprint, **others)


def _rows(
    entries: list[Entry], lists: list[PictureList], split: str | None, files: Listing, *, fields: Fields
) -> list[Row]:
    census = files.census
    used = {one.file for one in lists}
    rest = [entry for entry in entries if entry.name not in used]
    census.beside += len(entries) - len(rest)
    rows = pair(rest, census, image_suffix=None if lists else fields.image)
    for row in rows:
        row.shard = files.root
    asked = fields.caption or fields.label
    if not lists and asked and not any("json" in row.parts for row in rows):
        found = listing([row.name for row in rows])
        _check_no_fields(fields, f"{files.root}: found {found} without metadata")
    if any(one.split is not None for one in lists):
        named = [one for one in lists if split in (None, one.split)]
        if not named:
            raise SplitError(files.root, split, sorted(str(one.split) for one in lists))
        scopes = tuple(one.scope for one in named)
        rows = [row for row in rows if split is None or row.name.startswith(scopes)]
        return listed_rows(rows, named, census, path_of=files.path)
    if lists:
        rows = listed_rows(rows, lists, census, path_of=files.path)
    chosen = [row for row in rows if split is None or row.name.startswith(f"{split}/")]
    if split is not None and not chosen:
        raise SplitError(files.root, split, _splits(rows, ()))
    return chosen


def _splits(rows: Sequence[Row], lists: Sequence[PictureList]) -> dict[str, int]:
    named = {one.split: len(one.rows) for one in lists if one.split is not None}
    if named:
        return dict(sorted(named.items()))
    folders = (row.name.partition("/")[0] if "/" in row.name else None for row in rows)
    return _counted((name if name in SPLIT_FOLDERS else None for name in folders), [1] * len(rows))


def _check_no_fields(fields: Fields, what: str) -> None:
    if fields != Fields():
        raise ValueError(f"{what}, which have no fields; expected no field names, got {fields}")


def open_coco(file: str, folder: str | None, split: str | None, *, fields: Fields) -> SpanSource:
    """The samples of a file of COCO captions, whose pictures are in a folder or lie as COCO unpacks them."""
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    _check_no_fields(fields, f"{file}: COCO captions")
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
    below = _entries([one for one in inside if is_picture(one.name)], files, store)
    inside.append(file_of(path.name, state))
    files = Listing(root=files.root, files=inside, census=Census(beside=1))
    rows = listed_rows(pair(below, files.census), lists, files.census, path_of=files.path)
    return _span_source(rows, store, files, fields=fields, splits={})


def _open_tars(files: Listing, split: str | None, *, fields: Fields, on_bad: str) -> SpanSource:
    shards, name_of = _of_split(files, split)
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
        entries = [Entry(name.removeprefix("./"), Span(number, *span)) for name, *span, _ in members]
        rows += _tar_rows(path, entries, store, fields=fields, census=files.census)
        contents = repr([(name, size, time) for name, _, size, time in members]).encode(errors="replace")
        identity.append(f"{file.name.rpartition('/')[2]}:{file.size}:{file.changed}:{zlib.crc32(contents)}")
    splits = _counted((name_of.get(row.shard) for row in rows), [1] * len(rows))
    fingerprint = fingerprint_of(identity, len(rows))
    return _span_source(rows, store, files, fields=fields, splits=splits, fingerprint=fingerprint)


def _tar_rows(path: str, entries: list[Entry], store: Store, *, fields: Fields, census: Census) -> list[Row]:
    left = [shown_name(entry.name) for entry in entries if LEFT_BY_SYSTEMS.search(entry.name)]
    census.pass_over("left by systems", left)
    entries = [entry for entry in entries if not LEFT_BY_SYSTEMS.search(entry.name)] if left else entries
    inner = Listing(root=path, files=[], census=census)
    lists = metadata_lists(entries, {entry.name for entry in entries}, store, fields=fields)
    rows = _rows(entries, lists, None, inner, fields=fields)
    for row in rows:
        row.shard = path
    return rows


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
