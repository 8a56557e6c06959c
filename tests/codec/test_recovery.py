"""Damaged .ttk files: what is good is read, what is lost is reported."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.codec import Header, TtkReader
from textok.codec.layout import END, MAGIC, Chunk, CodedPicture, Entry, block, write_index
from textok.pipeline.tokens import Tokens
from tiny import ttk_bytes

CODES = Header(model_id="m", kind="codes", tokens=2, width=2, levels=(8, 5), num_codes=37)
FIRST, SECOND, THIRD = ([str(i) for i in range(*ends)] for ends in ((0, 256), (256, 512), (512, 600)))


def codes(count: int) -> Tokens:
    return Tokens(
        values=torch.arange(count)[:, None] % 37,
        model_id="m",
        grid=(1, 1),
        keys=tuple(map(str, range(count))),
        captions=("",) * count,
    )


def keys_of(reader: TtkReader) -> list[str]:
    return [key for tokens in reader for key in tokens.keys]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of three chunks."""
    path = tmp_path / "x.ttk"
    path.write_bytes(ttk_bytes([codes(600)], CODES))
    return path


def entries(path: Path) -> list[Entry]:
    with TtkReader(path) as reader:
        return reader.entries


def change(path: Path, at: int, data: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes(old[:at] + data + old[at + len(data) :])


def test_a_bad_chunk_is_skipped_and_reported(path: Path) -> None:
    entry = entries(path)[1]
    change(path, entry.offset + entry.length - 20, b"?")  # among the coded numbers
    with TtkReader(path) as reader:
        assert len(next(iter(reader))) == 256
        with pytest.raises(ValueError, match=r"x\.ttk: chunk 2 of 3"):
            list(reader)
    with TtkReader(path, recover=True) as reader:
        assert reader.lost == []
        assert keys_of(reader) == FIRST + THIRD == reader.keys()
        assert "300" not in reader and reader["599"].values.tolist() == [[599 % 37]]
        assert [tokens.keys for tokens in reader.select(["599", "3"])] == [("3",), ("599",)]
        (lost,) = reader.lost
    assert lost.startswith("lost chunk 2, 256 pictures: damaged: a checksum")


def test_a_chunk_behind_a_good_checksum_that_does_not_decode_is_lost_alone(path: Path) -> None:
    first = entries(path)[0]
    body = bytearray(path.read_bytes()[first.offset + 5 : first.offset + first.length - 4])
    body[-3] ^= 255
    change(path, first.offset, block(b"C", bytes(body)))
    with TtkReader(path, recover=True) as reader:
        assert keys_of(reader) == SECOND + THIRD
        assert [lost[:12] for lost in reader.lost] == ["lost chunk 1"]


def test_what_is_cut_off_is_read_up_to_there_when_asked(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: entries(path)[2].offset + 20])
    with pytest.raises(ValueError, match=r"x\.ttk:"):
        TtkReader(path)
    with TtkReader(path, recover=True) as reader:
        assert reader.keys() == FIRST + SECOND
        (lost,) = reader.lost
    assert lost.startswith("lost whatever follows the first 2 chunks: cut")


@pytest.mark.slow
def test_without_a_good_index_the_chunks_are_searched(path: Path) -> None:
    good = path.read_bytes()
    path.write_bytes(good + b"something behind it")
    with TtkReader(path, recover=True) as reader:
        assert len(keys_of(reader)) == 600 and reader.lost == []
    path.write_bytes(good[:-14] + b"?" + good[-13:])  # in the index
    with TtkReader(path, recover=True) as reader:
        assert len(keys_of(reader)) == 600
        assert [lost[:40] for lost in reader.lost] == ["lost whatever follows the first 3 chunks"]


def test_another_probability_model_is_no_damage(path: Path) -> None:
    start = MAGIC + b"\1\0" + block(b"H", Header(**(vars(CODES) | {"prior": "p"})).to_json())
    path.write_bytes(start + path.read_bytes()[entries(path)[0].offset :])
    with TtkReader(path, recover=True) as reader, pytest.raises(ValueError, match=r"x\.ttk:"):
        list(reader)


def test_an_index_that_tells_other_sizes_is_refused(path: Path) -> None:
    found = entries(path)
    for name in ("tokens", "names", "values"):
        number = getattr(found[0], name) + (1 if name == "tokens" else -1)
        wrong = [replace(found[0], **{name: number}), *found[1:]]
        end = found[-1].offset + found[-1].length
        index = block(b"I", write_index(wrong)) + end.to_bytes(8, "little") + END
        other = path.with_name("other.ttk")
        other.write_bytes(path.read_bytes()[:end] + index)
        with TtkReader(other) as reader, pytest.raises(ValueError, match="not what the index says"):
            list(reader)


def test_two_pictures_of_one_name_come_in_order_and_are_refused_by_key(path: Path) -> None:
    coder = CODES.coder()
    twice = Chunk.of([CodedPicture.of(codes(1), CODES, coder)] * 2, CODES, coder)
    start, chunk = MAGIC + b"\1\0" + block(b"H", CODES.to_json()), block(b"C", twice.body())
    tokens = 2 * codes(1).lengths[0]
    index = block(b"I", write_index([twice.entry(len(start), len(chunk), tokens=tokens)]))
    path.write_bytes(start + chunk + index + (len(start) + len(chunk)).to_bytes(8, "little") + END)
    with TtkReader(path) as reader:
        assert keys_of(reader) == ["0", "0"]
        with pytest.raises(ValueError, match=r"x\.ttk:"):
            reader["0"]


def test_many_keys_of_one_chunk_decode_it_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from textok.codec import layout

    decoded, unpack = [], layout.unpack
    monkeypatch.setattr(
        layout,
        "unpack",
        lambda *given, count, prior: decoded.append(count) or unpack(*given, count=count, prior=prior),
    )
    with TtkReader(path) as reader:
        found = [key for tokens in reader.select(["599", "7", "0", "7"]) for key in tokens.keys]
        assert found == ["0", "7", "599"] and decoded == [256, 88]
        with pytest.raises(KeyError):
            list(reader.select(["0", "600"]))
