"""Damaged .ttk files.

Small files of every kind (plain latents, latents with a predicting prior, codes) are mutated: bytes flipped, set,
cut, put in, doubled. Half the mutations are in a block's body with all lengths, checksums and the index made right
again, so that they reach the readers behind the checksums. Every mutation is read in four ways: in order, by key,
with ``recover``, and for its facts alone (whose outcome is "read"). It may be read or refused with a
``ValueError``; all else is a failure.
"""

import io
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textok.codec import CodePrior, Header, LatentPrior, Prior, TtkReader, TtkWriter
from textok.codec.coding import Bytes, varint
from textok.codec.layout import END, MAGIC, block
from textok.pipeline.tokens import Tokens

START = len(MAGIC) + 2
CAPTIONS = ("a red apple", "", "ein grüner Baum")
WAYS = ("in order", "by key", "recover", "facts")


@dataclass(frozen=True, kw_only=True)
class Original:
    """A good file."""

    name: str
    data: bytes
    prior: Prior | None
    values: tuple[torch.Tensor, ...]


def originals(seed: int = 0) -> list[Original]:
    """A good file of every kind: six pictures of different budgets in two chunks, some values far outside."""
    numbers, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    shape = (6, 4)
    predicting = LatentPrior(
        mean=numbers.integers(-2000, 2000, shape),
        deviation=numbers.integers(500, 5000, shape),
        step=numbers.integers(300, 3000, shape),
        weights=np.tril(numbers.integers(-3000, 3000, (24, 24)), -4),
    )
    counted = CodePrior(levels=(8, 5), tokens=6, counts=numbers.integers(1, 90, (6, 2, 8)))
    latents = {"model_id": "tiny-01234567", "kind": "latents", "tokens": 6, "width": 4, "step": 1000}
    codes = {
        "model_id": "tiny-89abcdef",
        "kind": "codes",
        "tokens": 6,
        "width": 2,
        "levels": (8, 5),
        "num_codes": 37,
    }
    headers: list[tuple[str, Header, Prior | None]] = [
        ("plain latents", Header(**latents), None),
        ("predicted latents", Header(**latents, prior=predicting.id, captions=False), predicting),
        ("plain codes", Header(**codes), None),
        ("counted codes", Header(**codes, prior=counted.id, settings={"made": "by hand"}), counted),
    ]
    return [written(name, header, prior, generator) for name, header, prior in headers]


def written(name: str, header: Header, prior: Prior | None, generator: torch.Generator) -> Original:
    """A file of random values under that header."""
    stream, values = io.BytesIO(), list[torch.Tensor]()
    with TtkWriter(stream, header, prior=prior) as writer:
        for i in range(6):
            if header.kind == "latents":
                rows = torch.randn(i + 1, header.width, generator=generator)
                rows[0, 0] = 10.0 ** (i - 2)
            else:
                rows = torch.randint(0, header.num_codes, (i + 1,), generator=generator)
            captions = (CAPTIONS[i % 3],) if header.captions else None
            grid, keys = (2, 2 + i // 3), (f"picture-{i}",)
            writer.add(
                Tokens(values=rows[None], model_id=header.model_id, grid=grid, keys=keys, captions=captions)
            )
            coder = header.coder(prior)
            values.append(header.to_values(header.to_integers(rows, coder), coder))
    return Original(name=name, data=stream.getvalue(), prior=prior, values=tuple(values))


def spoiled(data: bytes, draws: random.Random) -> bytes:
    """One to four changes anywhere."""
    changed = bytearray(data)
    for _ in range(draws.randint(1, 4)):
        at = draws.randrange(len(changed) + 1)
        length = min(draws.choice((1, 1, 2, 4, 9, 40)), len(changed) - at)
        kind = draws.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << draws.randrange(8)
        elif kind == 1:
            changed[at : at + length] = draws.randbytes(length)
        elif kind == 2:
            changed[at : at + length] = draws.choice((b"\xff", b"\0", b"\x80")) * length
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = draws.choice(
                (draws.randbytes(3), varint(draws.getrandbits(draws.randint(1, 62))))
            )
        else:
            del changed[at if draws.random() < 0.2 else len(changed) :]
    return bytes(changed)


def repaired(data: bytes, draws: random.Random) -> bytes:
    """A change in one block's body, with lengths, checksums, index and footer as a writer would have made them."""
    bodies = blocks(data)
    place = draws.randrange(len(bodies))
    bodies[place] = (bodies[place][0], spoiled(bodies[place][1], draws))
    whole = [block(*one) for one in bodies]
    if place < len(bodies) - 1:
        sizes = Bytes(bodies[-1][1])
        numbers = [sizes.number() for _ in range(1 + 6 * (len(bodies) - 2))]
        numbers[1::6] = map(len, whole[1:-1])
        whole[-1] = block(b"I", b"".join(map(varint, numbers)))
    at = START + sum(map(len, whole[:-1]))
    return data[:START] + b"".join(whole) + at.to_bytes(8, "little") + END


def blocks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Tag and body of every block."""
    found, at = [], START
    while len(data) - at > 12:
        length = int.from_bytes(data[at + 1 : at + 5], "little")
        found.append((data[at : at + 1], data[at + 5 : at + 5 + length]))
        at += 9 + length
    return found


def ways(path: Path, prior: Prior | None) -> dict[str, Callable[[], list[Tokens] | None]]:
    """The ways to read a file; ``facts`` gives no pictures."""

    def in_order(*, recover: bool = False) -> list[Tokens]:
        with TtkReader(path, prior=prior, recover=recover) as reader:
            return [one for tokens in reader for one in tokens]

    def by_key() -> list[Tokens]:
        with TtkReader(path, prior=prior) as reader:
            return [reader[key] for key in reader.keys()]  # noqa: SIM118

    def facts() -> None:
        with TtkReader(path) as reader:
            reader.facts()

    return dict(zip(WAYS, (in_order, by_key, lambda: in_order(recover=True), facts), strict=True))


def answer(read: Callable[[], list[Tokens] | None], original: Original) -> str:
    """What a reader makes of a file: "refused", "read", "read, the same", "read, other" or the failure."""
    try:
        found = read()
    except ValueError as error:
        return "refused" if len(str(error).splitlines()) == 1 else f"refused in several lines: {error}"
    except BaseException as error:  # a panic of the coder is no Exception
        return f"failure: {type(error).__name__}: {error}"
    if found is None:
        return "read"
    same = len(found) == len(original.values) and all(map(alike, found, original.values))
    return "read, the same" if same else "read, other"


def alike(one: Tokens, values: torch.Tensor) -> bool:
    """Whether a picture has these values."""
    return one.values[0].shape == values.shape and bool((one.values[0] == values).all())


def fuzz(original: Original, *, mutations: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each way of reading and for each kind of mutation."""
    draws, path, rows = random.Random(seed), folder / "x.ttk", []
    for name, change in (("anywhere", spoiled), ("behind the checksums", repaired)):
        counts = {way: Counter[str]() for way in WAYS}
        slowest = dict.fromkeys(WAYS, 0.0)
        for _ in range(mutations // 2):
            while (data := change(original.data, draws)) == original.data:
                pass
            path.write_bytes(data)
            for way, read in ways(path, original.prior).items():
                start = time.perf_counter()
                counts[way][answer(read, original)] += 1
                slowest[way] = max(slowest[way], time.perf_counter() - start)
        for way in WAYS:
            told = {"file": original.name, "mutated": name, "way": way, "slowest_s": round(slowest[way], 3)}
            rows.append(told | dict(sorted(counts[way].items())))
    return rows
