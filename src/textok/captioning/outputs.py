"""Captions beside the pictures they are of: text files in the source's folder, or new tars."""

import glob
import hashlib
import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from textok.captioning.journal import TABLE
from textok.captioning.pictures import picture_suffix
from textok.data.caption_files import read_caption_file
from textok.data.samples import BadSampleError, RawSample
from textok.data.sources import Source
from textok.data.sources.pairing import is_picture
from textok.writing import replacing, write_text

MANIFEST, TARS = "beside.jsonl", "tars"


def write_beside(source: Source, folder: Path) -> dict[str, int]:
    """Write the first caption of each picture as ``.txt`` beside it.

    A text file that is there is left alone unless it is, byte for byte, what an earlier run wrote: what a person
    wrote or corrected survives. The hashes of what was written are kept in ``beside.jsonl``.

    Args:
        source: a folder of pictures.
        folder: of the captions.

    Returns:
        How many files were written, were the same already, were kept as a person's, and were skipped since the
        picture is no file of a folder or shares its name with another.
    """
    captions, written = read_caption_file(folder / TABLE), _Manifest(folder / MANIFEST)
    counts = Counter(dict.fromkeys(("written", "same", "kept", "skipped"), 0))
    for sample in _samples(source, captions):
        path, content = _text_path(sample), f"{captions[sample.key][0]}\n"
        if path is None:
            counts["skipped"] += 1
        elif path.exists() and not written.holds(path, path.read_bytes()):
            counts["kept"] += 1
        elif path.exists() and path.read_bytes() == content.encode():
            counts["same"] += 1
        else:
            written.add(
                path, content.encode()
            )  # first: a killed run must not take its own file for a person's
            write_text(path, content)
            counts["written"] += 1
    return dict(counts)


def write_new_tars(source: Source, folder: Path, *, per_tar: int = 1000) -> int:
    """Write the captioned pictures into new webdataset tars, as they are stored; returns how many tars there are.

    Args:
        source: the pictures; those without a caption are left out.
        folder: of the captions; the tars of an earlier run are replaced.
        per_tar: pictures in one tar.
    """
    captions = read_caption_file(folder / TABLE)
    shutil.rmtree(folder / TARS, ignore_errors=True)
    count, samples = 0, _samples(source, captions)
    for first in samples:
        path = folder / TARS / f"captioned-{count:06d}.tar"
        with replacing(path) as temporary, tarfile.open(temporary, "w") as tar:
            _add_sample(tar, first, captions[first.key])
            for _, sample in zip(range(per_tar - 1), samples, strict=False):
                _add_sample(tar, sample, captions[sample.key])
        count += 1
    return count


class _Manifest:
    """Hashes of the text files that were written, with their paths; one line per file, appended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self._entries = {tuple(json.loads(line)) for line in lines if line.endswith("]")}

    def holds(self, path: Path, content: bytes) -> bool:
        return _entry(path, content) in self._entries

    def add(self, path: Path, content: bytes) -> None:
        self._entries.add(_entry(path, content))
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{json.dumps(_entry(path, content))}\n")


def _entry(path: Path, content: bytes) -> tuple[str, str]:
    return str(path.absolute()), hashlib.sha256(content).hexdigest()


def _samples(source: Source, captions: Mapping[str, tuple[str, ...]]) -> Iterator[RawSample]:
    for index in range(len(source)):
        with suppress(BadSampleError):  # it has no caption, and its reason is written down
            sample = source.read(index)
            if sample.key in captions:
                yield sample


def _text_path(sample: RawSample) -> Path | None:
    shard = Path(sample.shard)
    path = (shard if shard.is_dir() else shard.parent) / f"{sample.key}.txt"
    pictures = [file for file in path.parent.glob(f"{glob.escape(path.stem)}.*") if is_picture(file.name)]
    return path if len(pictures) == 1 else None


def _add_sample(tar: tarfile.TarFile, sample: RawSample, captions: tuple[str, ...]) -> None:
    if not isinstance(sample.image, bytes):
        raise ValueError(f"write_tars: got the drawn picture {sample.key}, expected stored ones")
    label = {} if sample.label is None else {"label": sample.label}
    record = json.dumps({"captions": captions, "key": sample.key, **label}, ensure_ascii=False)
    folder, _, name = sample.key.rpartition("/")
    stem = f"{folder}/{name.replace('.', '%2E')}".lstrip("/")  # in tars the suffix begins at the first dot
    for suffix, data in ((picture_suffix(sample.image), sample.image), ("json", record.encode())):
        member = tarfile.TarInfo(f"{stem}.{suffix}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
