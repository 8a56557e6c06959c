"""Captions with the pictures they are of: text files in the source's folder, new tars, and a page to look at."""

import glob
import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from PIL import Image

from textok.captioning.journal import TABLE, read_verdicts
from textok.captioning.writers import open_picture
from textok.data.images import ImageError, image_to_tensor
from textok.data.records import read_caption_file
from textok.data.samples import BadSampleError, RawSample, Source
from textok.data.sources.spans import is_picture
from textok.evaluation.pages import cards_page, data_uri, macro
from textok.writing import write_tar, write_text

_PREVIEW_SIDE = 256
_PER_TAR = 1000  # pictures


def write_beside(source: Source, folder: Path) -> dict[str, int]:
    """Write the captions of each picture of a folder as ``.txt`` beside it, one per line.

    A text file that is there is left alone unless it is, byte for byte, what an earlier run wrote: what a person
    wrote or corrected survives. The hashes of what was written are kept in ``beside.jsonl``. Returns how many files
    were written, were the same already, were kept as a person's, and were skipped since the picture is no file of a
    folder or shares its name with another.
    """
    counts = Counter(dict.fromkeys(("written", "same", "kept", "skipped"), 0))
    manifest = folder / "beside.jsonl"
    lines = manifest.read_text("utf-8").splitlines() if manifest.exists() else []
    ours = {tuple(json.loads(line)) for line in lines if line.endswith("]")}
    for sample, captions in _captioned(source, folder):
        path, content = _text_path(sample), "".join(f"{caption}\n" for caption in captions).encode()
        before = path.read_bytes() if path and path.exists() else None
        if path is None:
            counts["skipped"] += 1
        elif before is not None and _entry(path, before) not in ours:
            counts["kept"] += 1
        elif before == content:
            counts["same"] += 1
        else:
            with open(manifest, "a", encoding="utf-8") as file:  # first: a killed run must know its own file
                file.write(f"{json.dumps(_entry(path, content))}\n")
            write_text(path, content.decode())
            counts["written"] += 1
    return dict(counts)


def _entry(path: Path, content: bytes) -> tuple[str, str]:
    return str(path.absolute()), hashlib.sha256(content).hexdigest()


def _text_path(sample: RawSample) -> Path | None:
    shard = Path(sample.shard)
    path = (shard if shard.is_dir() else shard.parent) / f"{sample.key}.txt"
    pictures = [file for file in path.parent.glob(f"{glob.escape(path.stem)}.*") if is_picture(file.name)]
    return path if len(pictures) == 1 else None


def _captioned(source: Source, folder: Path) -> Iterator[tuple[RawSample, tuple[str, ...]]]:
    captions = read_caption_file(folder / TABLE)
    for index in range(len(source)):
        with suppress(BadSampleError):  # it has no caption, and its reason is written down
            sample = source.read(index)
            if sample.key in captions:
                yield sample, captions[sample.key]


def write_new_tars(source: Source, folder: Path) -> int:
    """Write the captioned pictures, as they are stored, into webdataset tars; returns how many tars there are.

    The tars are in the folder ``tars`` of the captions; those of an earlier run are replaced.
    """
    tars = folder / "tars"
    shutil.rmtree(tars, ignore_errors=True)
    count, samples = 0, _captioned(source, folder)
    for first in samples:
        some = chain([first], islice(samples, _PER_TAR - 1))
        write_tar(tars / f"captioned-{count:06d}.tar", (file for one in some for file in _members(*one)))
        count += 1
    return count


def _members(sample: RawSample, captions: tuple[str, ...]) -> list[tuple[str, bytes]]:
    if not isinstance(sample.image, bytes):
        raise ValueError(f"write_tars: got the drawn picture {sample.key}, expected stored ones")
    label = {} if sample.label is None else {"label": sample.label}
    record = json.dumps({"captions": captions, "key": sample.key, **label}, ensure_ascii=False)
    folder, _, name = sample.key.rpartition("/")
    stem = f"{folder}/{name.replace('.', '%2E')}".lstrip("/")  # in tars the suffix begins at the first dot
    return [(f"{stem}.{_suffix(sample.image)}", sample.image), (f"{stem}.json", record.encode())]


def _suffix(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        name = (image.format or "").lower()
    return {"jpeg": "jpg", "mpo": "jpg", "tiff": "tif"}.get(name, name)


def write_preview(source: Source, folder: Path, page: Path, *, limit: int) -> None:
    """An HTML page, with the pictures inside, of the first ``limit`` captions and of what was rejected and why."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_verdicts(folder):
        rows.setdefault(row["key"], []).append(row)
    cards = [_card(source, index, rows) for index in range(min(limit, len(source)))]
    writers = {
        f"{row['writer']} ({row['model']}, prompt {row['prompt']})" for some in rows.values() for row in some
    }
    write_text(page, cards_page(cards, title="Captions", lead=f"By {'; '.join(sorted(writers))}."))


def _card(source: Source, index: int, rows: Mapping[str, list[dict[str, Any]]]) -> str:
    try:
        sample = source.read(index)
    except BadSampleError as error:
        return macro("captioned", error.bad.key, error.bad.reason)
    try:
        pixels = image_to_tensor(open_picture(sample.image, side=_PREVIEW_SIDE))
    except ImageError as error:
        return macro("captioned", sample.key, str(error))
    return macro("captioned", sample.key, "", data_uri(pixels), rows.get(sample.key, ()))
