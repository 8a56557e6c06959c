"""Damaged and hostile .ttk files: refused with one sentence, never more."""

import io
import json
import operator
import random
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reliability import ttk_files as fuzzing
from textok.codec import Header, TtkReader
from textok.codec.coding import Bytes, varint
from textok.codec.layout import (
    MAGIC,
    MAX_BLOCK,
    Chunk,
    block,
    read_block,
    read_index,
    read_texts,
    section,
    texts,
)
from tiny import read_ttk

START = len(MAGIC) + 2
KNOWN = r"cut off|damaged|not a \.ttk file|version: got|codec can't decode"


@pytest.fixture(scope="module")
def good() -> bytes:
    return fuzzing.originals()[0].data


def refused(data: bytes, tmp_path: Path) -> str:
    path = tmp_path / "x.ttk"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.ttk:") as told, TtkReader(path) as reader:
        list(reader)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.slow
def test_every_cut_is_refused(good: bytes) -> None:
    for length in range(len(good)):
        with pytest.raises(ValueError, match=r"cut off|not a \.ttk|version"):
            read_ttk(good[:length])


@pytest.mark.slow
def test_every_flipped_bit_is_refused(good: bytes) -> None:
    for at in range(len(good)):
        damaged = bytearray(good)
        damaged[at] ^= 1 << at % 8
        with pytest.raises(ValueError, match=KNOWN):
            read_ttk(bytes(damaged))


def test_what_is_wrong_is_told(good: bytes, tmp_path: Path) -> None:
    assert "not a .ttk file" in refused(b"\x89PNG" + good[4:], tmp_path)
    assert "version: got 7" in refused(good[: len(MAGIC)] + b"\7\0" + good[START:], tmp_path)
    assert "cut off" in refused(good[:-1], tmp_path)
    assert "checksum" in refused(good[:40] + b"?" + good[41:], tmp_path)
    assert "does not fit" in refused(good + good[-12:], tmp_path)


def test_announced_lengths_allocate_nothing(good: bytes, tmp_path: Path) -> None:
    assert "at most" in refused(good[: START + 1] + b"\xff\xff\xff\xff" + good[START + 5 :], tmp_path)
    with pytest.raises(ValueError, match="at most"):
        read_block(io.BytesIO(b"C" + (MAX_BLOCK + 1).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="announced"):
        Bytes(varint(1 << 60) + b"x").section()
    with pytest.raises(ValueError, match="nine bytes"):
        Bytes(b"\xff" * 20).number()


def test_counts_are_limited() -> None:
    empty = section(texts([])) * 4
    for numbers in ((4097, 1, 1), (0, 1, 1), (1, 1 << 20, 1 << 20), (1, 0, 5)):
        with pytest.raises(ValueError, match="damaged:"):
            Chunk.read(b"".join(map(varint, numbers)) + empty)
    with pytest.raises(ValueError, match="damaged:"):
        read_index(varint(1 << 50), CODES, start=0)


CODES = Header(model_id="m", kind="codes", tokens=4, width=2, levels=(8, 5), num_codes=37, captions=False)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((50, 0, 6, 1, 0, 1), "0 pictures"),
        ((50, 4097, 6, 1, 0, 1), "4097 pictures"),
        ((50, 1 << 60, 6, 1, 0, 1), "pictures"),
        ((50, 3, 2, 1, 0, 1), "2 tokens; expected 3 to 12"),
        ((50, 3, 1 << 62, 1, 0, 1), "tokens; expected 3 to 12"),
        ((50, 3, 12, 1, 1, 1), "1 bytes of captions"),
        ((50, 3, 12, 35, 0, 1), "50 bytes, which its parts do not fit"),
        ((50, 3, 12, 1, 0, 1 << 62), "50 bytes, which its parts do not fit"),
        ((1 << 62, 3, 12, 1, 0, 1), "which its parts do not fit"),
        ((0, 3, 12, 0, 0, 0), "0 bytes, which"),
    ],
)
def test_numbers_of_no_chunk_are_refused_in_an_index(numbers: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=r"damaged:"):
        read_index(b"".join(map(varint, (1, *numbers))), CODES, start=0)
    (entry,) = read_index(b"".join(map(varint, (1, 50, 3, 12, 30, 0, 4))), CODES, start=0)
    assert (entry.length, entry.tokens) == (50, 12)


def test_an_announced_number_of_pictures_allocates_nothing(good: bytes, tmp_path: Path) -> None:
    """``list`` asks for a length and takes memory for it at once: the index must not be what answers."""
    path = tmp_path / "x.ttk"
    path.write_bytes(good)
    with TtkReader(path) as reader:
        assert operator.length_hint(reader, -1) == -1
        assert reader.facts()["pictures"] == sum(map(len, reader)) == 6


@pytest.mark.slow
def test_text_that_swells_is_refused_before_it_does() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(1 << 28)) + packer.flush()
    assert len(bomb) < 1 << 19
    with pytest.raises(ValueError, match="longer than 1000 bytes"):
        read_texts(bomb, 1, limit=1000)


def test_values_that_swell_are_refused() -> None:
    header = Header(model_id="m", kind="latents", tokens=65_536, width=1, step=1000, captions=False)
    empty = section(texts([f"{i}" for i in range(4096)]))
    body = b"".join(map(varint, (4096, 1, 1))) + empty + section(b"") + section(b"\xff" * 9000) + section(b"")
    with pytest.raises(ValueError, match="damaged:"):
        Chunk.read(body).tokens(header, header.coder())


HEADER = {"model_id": "m", "kind": "latents", "tokens": 4, "width": 2, "step": 1000, "captions": True}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.sampled_from([*HEADER, "levels", "num_codes", "prior", "settings", "other"]), JSON)
@pytest.mark.slow
def test_headers_of_any_values_are_read_or_refused(name: str, value: object) -> None:
    with suppress(ValueError):
        header = Header.from_json(json.dumps(HEADER | {name: value}).encode())
        header.coder()
        assert Header.from_json(header.to_json()) == header


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 60_000, b'{"model_id": 1}'])
def test_headers_that_are_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        Header.from_json(data)


@pytest.mark.parametrize(
    "value", ['"\\ud800"', "NaN", "-Infinity", "1e999", "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40]
)
def test_values_that_are_no_good_json_are_refused_in_a_header(value: str) -> None:
    data = json.dumps(HEADER)[:-1] + f', "settings": {{"a": {value}}}}}'
    with pytest.raises(ValueError, match="header:"):
        Header.from_json(data.encode())
    with pytest.raises(ValueError, match="header:"):
        Header(**HEADER, settings={"a": json.loads(value)}).to_json()
    with pytest.raises(ValueError, match="header:"):
        Header.from_json(json.dumps(HEADER).encode("utf-16"))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_behind_a_good_start_are_read_or_refused(noise: bytes, framed: bool) -> None:
    start = MAGIC + b"\1\0" + block(b"H", json.dumps(HEADER).encode())
    with pytest.raises(ValueError, match=KNOWN):  # neither has an index
        read_ttk(start + (block(b"C", noise) if framed else noise))


@pytest.mark.slow
def test_mutations_are_read_or_refused(tmp_path: Path) -> None:
    for original in fuzzing.originals():
        for row in fuzzing.fuzz(original, mutations=200, seed=1, folder=tmp_path):
            outcomes = set(row) - {"file", "mutated", "way", "slowest_s"}
            assert outcomes <= {"refused", "read", "read, the same", "read, other"}, row
            assert row["way"] in fuzzing.WAYS and sum(row[outcome] for outcome in outcomes) == 100
            assert row["slowest_s"] < 5
            if row["mutated"] == "anywhere" and row["way"] in ("in order", "by key"):
                assert outcomes == {"refused"}, row


@pytest.mark.slow
def test_mutations_reach_behind_the_checksums() -> None:
    original = fuzzing.originals()[0]
    draws = random.Random(0)
    told = []
    for _ in range(300):
        try:
            read_ttk(fuzzing.repaired(original.data, draws), prior=original.prior)
        except ValueError as error:
            told.append(str(error))
    assert told and not any("checksum" in one for one in told)
    assert len(set(told)) > 10
