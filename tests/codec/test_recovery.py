"""Damaged .ttk files: what is good is read, what is lost is told."""

import io
from itertools import islice
from pathlib import Path

import pytest
import torch

from textok.codec import Header, Record, TtkReader, TtkWriter, appending
from textok.codec.layout import END, MAGIC, Entry, write_index
from textok.codec.records import write_chunk
from textok.codec.wire import block

CODES = Header(model_id="m", kind="codes", tokens=2, width=2, levels=(8, 5), num_codes=37)
FIRST, SECOND, THIRD = ([str(i) for i in range(*ends)] for ends in ((0, 256), (256, 512), (512, 600)))


def codes(count: int) -> list[Record]:
    return [Record(key=str(i), values=torch.tensor([i % 37]), grid=(1, 1), caption="") for i in range(count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of three chunks."""
    stream = io.BytesIO()
    with TtkWriter(stream, CODES) as writer:
        for record in codes(600):
            writer.add(record)
    path = tmp_path / "x.ttk"
    path.write_bytes(stream.getvalue())
    return path


def entries(path: Path) -> list[Entry]:
    with TtkReader(path) as reader:
        return reader.entries


def change(path: Path, at: int, data: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes(old[:at] + data + old[at + len(data) :])


def test_a_bad_chunk_is_skipped_and_named(path: Path) -> None:
    entry = entries(path)[1]
    change(path, entry.offset + entry.length - 20, b"?")  # among the coded numbers
    with TtkReader(path) as reader:
        assert len(list(islice(reader, 256))) == 256
        with pytest.raises(ValueError, match=r"x\.ttk:"):
            list(reader)
    with TtkReader(path, recover=True) as reader:
        assert reader.lost == []
        assert [record.key for record in reader] == FIRST + THIRD == reader.keys()
        assert "300" not in reader and reader["599"].values.tolist() == [599 % 37]
        assert [record.key for record in reader.select(["599", "3"])] == ["3", "599"]
        (lost,) = reader.lost
    assert (lost.chunk, lost.pictures, list(lost.keys)) == (2, 256, SECOND)
    assert str(lost).startswith("lost chunk 2, 256 pictures ('256' to '511'): damaged: a checksum")


def test_names_that_cannot_be_told_are_not(path: Path) -> None:
    first, _, last = entries(path)
    change(path, first.offset + 10, bytes(first.length - 10))
    change(path, last.offset, b"X")
    with TtkReader(path, recover=True) as reader:
        assert [record.key for record in reader] == SECOND
        assert [(lost.chunk, lost.pictures, len(lost.keys)) for lost in reader.lost] == [
            (1, 256, 0),
            (3, 88, 88),
        ]
        assert "names unknown" in str(reader.lost[0])


def test_a_chunk_behind_a_good_checksum_that_does_not_decode_is_lost_alone(path: Path) -> None:
    first = entries(path)[0]
    body = bytearray(path.read_bytes()[first.offset + 5 : first.offset + first.length - 4])
    body[-3] ^= 255
    change(path, first.offset, block(b"C", bytes(body)))
    with TtkReader(path, recover=True) as reader:
        assert [record.key for record in reader] == SECOND + THIRD
        assert [list(lost.keys) for lost in reader.lost] == [FIRST]


def test_what_is_cut_off_is_read_up_to_there_when_asked(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: entries(path)[2].offset + 20])
    with pytest.raises(ValueError, match=r"x\.ttk:"):
        TtkReader(path)
    with TtkReader(path, recover=True) as reader:
        assert reader.keys() == FIRST + SECOND
        (lost,) = reader.lost
    assert (lost.chunk, lost.pictures, lost.keys) == (3, None, ())
    assert str(lost).startswith(
        "the first 2 chunks are there, what followed is lost, how much cannot be told: cut"
    )


@pytest.mark.slow
def test_without_a_good_index_the_chunks_are_searched(path: Path) -> None:
    good = path.read_bytes()
    path.write_bytes(good + b"something behind it")
    with TtkReader(path, recover=True) as reader:
        assert len(list(reader)) == 600 and reader.lost == []
    path.write_bytes(good[:-14] + b"?" + good[-13:])  # in the index
    with TtkReader(path, recover=True) as reader:
        assert len(list(reader)) == 600
        assert [(lost.chunk, lost.pictures) for lost in reader.lost] == [(4, None)]


def test_another_probability_model_is_no_damage(path: Path) -> None:
    stream = io.BytesIO()
    stream.write(MAGIC + b"\1\0" + block(b"H", Header(**(vars(CODES) | {"prior": "p"})).to_json()))
    path.write_bytes(stream.getvalue() + path.read_bytes()[entries(path)[0].offset :])
    with TtkReader(path, recover=True) as reader, pytest.raises(ValueError, match=r"x\.ttk:"):
        list(reader)


def test_an_index_that_tells_other_sizes_is_refused(path: Path) -> None:
    found = entries(path)
    for name in ("tokens", "names", "values"):
        sizes = vars(found[0].sizes) | {name: getattr(found[0].sizes, name) + (1 if name == "tokens" else -1)}
        wrong = [Entry(found[0].offset, found[0].length, type(found[0].sizes)(**sizes)), *found[1:]]
        end = found[-1].offset + found[-1].length
        index = block(b"I", write_index(wrong)) + end.to_bytes(8, "little") + END
        other = path.with_name("other.ttk")
        other.write_bytes(path.read_bytes()[:end] + index)
        with TtkReader(other) as reader, pytest.raises(ValueError, match="not what the index says"):
            list(reader)


def test_two_pictures_of_one_name_come_in_order_and_are_refused_by_key(path: Path) -> None:
    body, sizes = write_chunk(codes(1) * 2, CODES, CODES.coder())
    start, chunk = MAGIC + b"\1\0" + block(b"H", CODES.to_json()), block(b"C", body)
    index = block(b"I", write_index([Entry(len(start), len(chunk), sizes)]))
    path.write_bytes(start + chunk + index + (len(start) + len(chunk)).to_bytes(8, "little") + END)
    with TtkReader(path) as reader:
        assert [record.key for record in reader] == ["0", "0"]
        with pytest.raises(ValueError, match=r"x\.ttk:"):
            reader["0"]
    with pytest.raises(ValueError, match="two pictures named '0'"), appending(path):
        pytest.fail("nothing is added to such a file")


def test_many_keys_of_one_chunk_decode_it_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from textok.codec import records

    decoded, unpack = [], records.unpack
    monkeypatch.setattr(
        records,
        "unpack",
        lambda *given, count, prior: decoded.append(count) or unpack(*given, count=count, prior=prior),
    )
    with TtkReader(path) as reader:
        found = [record.key for record in reader.select(["599", "7", "0", "7"])]
        assert found == ["0", "7", "599"] and decoded == [256, 88]
        with pytest.raises(KeyError):
            list(reader.select(["0", "600"]))
