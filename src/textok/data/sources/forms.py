"""Which form the files of a source have, and which of its shards make a part."""

import re
from collections.abc import Iterable, Sequence

from textok.data.files import File, Listing, shown_name
from textok.data.samples import SplitError
from textok.data.sources.lists import METADATA_FILE
from textok.data.sources.pairing import is_picture
from textok.data.sources.table import count_rows
from textok.data.sources.tar import TAR_SUFFIXES, plain_tar, tar_members

# train-000000.tar, train-00000-of-00002.parquet, train-00000-of-00002-0123abcd.parquet
_NUMBERED = re.compile(r"(.+?)[-_.]\d+(-of-\d+(-[0-9a-f]+)?)?")


def choose_form(files: Listing) -> str:
    """The form that holds most pictures, "" for none; only its files stay, the others are counted."""
    forms = {"tars": _ending(files, TAR_SUFFIXES), "parquet files": _ending(files, (".parquet",))}
    forms["pictures"] = [file for file in files.files if is_picture(file.name)]
    forms = {name: members for name, members in forms.items() if members}
    if not forms:
        return "pictures" if any(METADATA_FILE.fullmatch(file.name) for file in files.files) else ""
    form = next(iter(forms))
    if len(forms) > 1:
        form = max(forms, key=lambda name: _count_pictures(name, forms[name], files))
    others = {name: members for name, members in forms.items() if name != form}
    if form != "pictures":
        shards = {file.name for members in forms.values() for file in members}
        others["other files"] = [file for file in files.files if file.name not in shards]
    for name, members in others.items():
        reason = name if name == "other files" else f"{name} beside {form}"
        files.census.pass_over(reason, [shown_name(file.name) for file in members])
    left = {file.name for members in others.values() for file in members}
    files.files[:] = [file for file in files.files if file.name not in left]
    return form


def _ending(files: Listing, suffixes: tuple[str, ...]) -> list[File]:
    return [file for file in files.files if file.name.lower().endswith(suffixes)]


def _count_pictures(form: str, members: Sequence[File], files: Listing) -> int:
    if form == "pictures":
        return len(members)
    counts = 0
    for file in members:
        path = files.path(file.name)
        try:
            if form == "parquet files":
                counts += count_rows(path)
            else:
                counts += sum(is_picture(name) for name, *_ in tar_members(plain_tar(path, file), file))
        except (ValueError, OSError):  # named as passed over, or an error when nothing else is there
            continue
    return counts


def of_split(files: Listing, split: str | None) -> tuple[list[File], dict[str, str]]:
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


def counted(names: Iterable[str | None], counts: Iterable[int]) -> dict[str, int]:
    """How many each part has, by the part of each of some counts; what is of no part does not count."""
    totals: dict[str, int] = {}
    for name, count in zip(names, counts, strict=True):
        if name is not None:
            totals[name] = totals.get(name, 0) + count
    return dict(sorted(totals.items()))
