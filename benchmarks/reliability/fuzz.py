"""Mutated inputs, in this process: each is read or refused with a documented error, soon and in little memory.

Mutation i of a kind is made from ``random.Random(f"{kind} {seed} {i}")`` alone, so that any one can be made again.
"""

import io
import os
import random
import re
import resource
import struct
import tarfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.reliability.commands import tiny_model
from benchmarks.reliability.ttk_files import spoiled
from textok.data import BadSampleError, open_source
from textok.data.images import ImageError, decode_image, stored_size
from textok.models.tokenizer import TexTok
from textok.pipeline.tokens import Tokens, load_tokens, save_tokens

FORMATS: dict[str, dict[str, Any]] = {
    "png": {},
    "jpeg": {},
    "webp": {"lossless": True},
    "gif": {},
    "bmp": {},
    "tiff": {"compression": "tiff_lzw"},
    "ppm": {},
    "tga": {},
    "ico": {},
    "avif": {},
}
_HOSTILE = ("0", "-1", "1e999", "NaN", "null", "[]", "{}", '"x"', "true", str(2**31), str(2**40), str(10**30))
_VALUE = re.compile(rb'-?\d+(?:\.\d+)?|"[^"\\]*"|true|false|null')
MEMORY_BOUND_MIB = 1024
"""What reading one of these inputs may take: a picture of 64 million pixels in RGB, twice over, and Pillow's copies."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Inputs of one kind.

    Attributes:
        name: of the kind.
        originals: good ones.
        change: makes a mutation of one.
        read: what must read or refuse it.
        refusals: the documented errors.
        named: what their message must hold.
        share: of the mutations that are asked for.
    """

    name: str
    originals: Sequence[bytes]
    change: Callable[[bytes, random.Random], bytes]
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...] = (ValueError,)
    named: str = ""
    share: float = 1


def fuzz(kind: Kind, *, mutations: int, seed: int) -> dict[str, Any]:
    """Counts of the answers, the slowest one in seconds of the processor, what memory grew by, and failures."""
    for original in kind.originals:
        kind.read(original)
    counts, failures, slowest = Counter[str](), list[str](), 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(mutations):
        draws = random.Random(f"{kind.name} {seed} {number}")
        data = kind.change(draws.choice(kind.originals), draws)
        start = time.process_time()
        answer = _answer(kind, data)
        seconds = time.process_time() - start
        slowest = max(slowest, seconds)
        counts[answer.partition(":")[0]] += 1
        if answer.startswith("failure") or seconds > 1:
            failures.append(f"{number}: {answer[:300]} in {seconds:.2f} s")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    row: dict[str, Any] = {
        "kind": kind.name,
        "mutations": mutations,
        "seed": seed,
        **dict(sorted(counts.items())),
    }
    row |= {"slowest_s": round(slowest, 3), "memory_grown_mib": round(grown, 1), "failures": failures[:5]}
    return row | {"failed": len(failures) + (grown > MEMORY_BOUND_MIB)}


def _answer(kind: Kind, data: bytes) -> str:
    try:
        kind.read(data)
    except kind.refusals as error:
        told = str(error)
        plain = bool(told.strip()) and kind.named in told
        return "refused" if plain else f"failure: {type(error).__name__} without the file's name: {told}"
    except BaseException as error:
        return f"failure: {type(error).__name__}: {error}"
    return "read"


def kinds(folder: Path) -> list[Kind]:
    """All kinds; their files are written below the folder."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "home")
    model = folder / "model"
    tiny_model().save_pretrained(model, name="tiny", made_by={})
    config, weights = model / "config.json", model / "model.safetensors"
    return [
        Kind(
            name="token .safetensors",
            originals=_token_files(folder),
            change=_changed_safetensors,
            read=_by_file(folder / "x.safetensors", load_tokens),
            named="x.safetensors",
            share=4,
        ),
        Kind(
            name="tar",
            originals=[_tar(False), _tar(True)],
            change=_changed_tar,
            read=_by_file(folder / "x.tar", _read_source),
            named="x.tar",
        ),
        Kind(
            name="picture",
            originals=[_picture(form, **options) for form, options in FORMATS.items()],
            change=_changed_picture,
            read=_read_picture,
            refusals=(ImageError,),
        ),
        Kind(
            name="config.json",
            originals=[config.read_bytes()],
            change=_changed_json,
            read=_replacing(config, lambda: TexTok.from_pretrained(model)),
            named=str(model),
            share=0.25,
        ),
        Kind(
            name="model.safetensors",
            originals=[weights.read_bytes()],
            change=_changed_safetensors,
            read=_replacing(weights, lambda: TexTok.from_pretrained(model)),
            named=str(model),
            share=0.25,
        ),
    ]


# --- originals ----------------------------------------------------------------------------------------------


def _token_files(folder: Path) -> list[bytes]:
    torch.manual_seed(0)
    shared = {"model_id": "m-01234567", "grid": (2, 2), "keys": ("a", "b", "ü"), "captions": ("x", "", "y")}
    sets = [Tokens(values=torch.randn(3, 4, 2), lengths=(1, 4, 2), **shared)]
    sets.append(Tokens(values=torch.randint(0, 300, (3, 4)), **shared))
    return [save_tokens(tokens, folder / "x.safetensors").read_bytes() for tokens in sets]


def _picture(form: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.kron(pixels, np.ones((4, 4, 1), np.uint8))).save(stream, form, **options)
    return stream.getvalue()


def _tar(pax: bool) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT
    ) as tar:
        for number in range(3):
            name = f"{'ü' * 60 if pax else 'a'}{number}"
            members = {
                "png": _picture("png"),
                "json": b'{"caption": "a red square", "label": 3}',
                "txt": b"a cat",
            }
            for suffix, content in members.items():
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


# --- mutations ----------------------------------------------------------------------------------------------


def _changed_json(data: bytes, draws: random.Random) -> bytes:
    """Bytes spoiled, or a value replaced by a hostile one, or nested deeper than a parser goes."""
    kind = draws.random()
    if kind < 0.3:
        return spoiled(data, draws)
    if kind < 0.33:
        return b"[" * 200_000
    values = list(_VALUE.finditer(data))
    for _ in range(draws.randint(1, 3)):
        at = draws.choice(values)
        if data[at.start() : at.end()] == at[0]:
            data = data[: at.start()] + draws.choice(_HOSTILE).encode() + data[at.end() :]
    return data


def _changed_safetensors(data: bytes, draws: random.Random) -> bytes:
    """Anything spoiled, or the header changed as JSON with its length made right again."""
    if draws.random() < 0.4:
        return spoiled(data, draws)
    size = int.from_bytes(data[:8], "little")
    head = _changed_json(data[8 : 8 + size], draws)
    return len(head).to_bytes(8, "little") + head + data[8 + size :]


def _changed_tar(data: bytes, draws: random.Random) -> bytes:
    """Anything spoiled, or a header changed with its checksum made right again."""
    if draws.random() < 0.4:
        return spoiled(data, draws)
    heads = [at for at in range(0, len(data) - 512, 512) if data[at + 257 : at + 262] == b"ustar"]
    at = draws.choice(heads)
    head = bytearray(data[at : at + 512])
    fields = ((0, 100), (100, 108), (124, 136), (136, 148), (156, 157), (157, 257), (345, 500))
    first, last = draws.choice(fields)
    new = draws.choice(
        (draws.randbytes(last - first), b"7" * (last - first), b"\x80" + b"\xff" * (last - first - 1))
    )
    head[first:last] = draws.choice((new, draws.choice(b"0123456789LKgxSsD").to_bytes() * (last - first)))
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return data[:at] + bytes(head) + data[at + 512 :]


def _changed_picture(data: bytes, draws: random.Random) -> bytes:
    """Anything spoiled; in a PNG the checksums of its chunks are made right again half of the time."""
    changed = spoiled(data, draws)
    if draws.random() < 0.5 or not data.startswith(b"\x89PNG"):
        return changed
    out, at = bytearray(changed[:8]), 8
    while at + 12 <= len(changed):
        (size,) = struct.unpack(">I", changed[at : at + 4])
        chunk = changed[at + 4 : at + 8 + size]
        out += changed[at : at + 8 + size] + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + size
    return bytes(out)


# --- readers ------------------------------------------------------------------------------------------------


def _by_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def reader(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return reader


def _replacing(path: Path, read: Callable[[], object]) -> Callable[[bytes], object]:
    good = path.read_bytes()

    def reader(data: bytes) -> object:
        path.write_bytes(data)
        try:
            return read()
        finally:
            path.write_bytes(good)

    return reader


def _read_source(path: Path) -> None:
    source = open_source(path)
    for index in range(len(source)):
        try:
            sample = source.read(index)
        except BadSampleError:
            continue
        if isinstance(sample.image, bytes):
            try:
                stored_size(sample.image)
            except ImageError:
                continue


def _read_picture(data: bytes) -> None:
    decode_image(data, (32, 32))
