"""Adding to a .ttk file: whole or not at all, one process at a time."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from textok.codec import Header, Record, TtkReader, TtkWriter, appending, read_stream

LATENTS = Header(model_id="m", kind="latents", tokens=9, width=3, step=1000)


def latents(count: int, *, seed: int = 0) -> list[Record]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Record(
            key=f"{seed}/{i}",
            values=torch.randn(1 + i % 9, 3, generator=generator),
            grid=(2, 3),
            caption=f"number {i}",
        )
        for i in range(count)
    ]


def written(records: list[Record]) -> bytes:
    stream = io.BytesIO()
    with TtkWriter(stream, LATENTS) as writer:
        for record in records:
            writer.add(record)
    return stream.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of five pictures."""
    path = tmp_path / "x.ttk"
    path.write_bytes(written(latents(5)))
    return path


def append(path: Path, records: list[Record]) -> None:
    with appending(path) as writer:
        for record in records:
            writer.add(record)


def test_append_is_like_writing_at_once(path: Path) -> None:
    append(path, latents(4, seed=1))
    with TtkReader(path) as reader:
        assert reader.keys() == [f"0/{i}" for i in range(5)] + [f"1/{i}" for i in range(4)]
        expected = list(read_stream(io.BytesIO(written(latents(4, seed=1)))))
        assert all(torch.equal(reader[one.key].values, one.values) for one in expected)
    with open(path, "rb") as stream:
        assert len(list(read_stream(stream))) == 9


def test_append_to_a_file_without_pictures(path: Path) -> None:
    path.write_bytes(written([]))
    append(path, latents(1))
    with TtkReader(path) as reader:
        assert reader.keys() == ["0/0"]


def test_a_failed_append_leaves_the_file_as_it_was(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ValueError, match="'0/0':"):
        append(path, [*latents(300, seed=2), *latents(1)])
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_who_reads_meanwhile_reads_the_old_file(path: Path) -> None:
    with TtkReader(path) as reader:
        with appending(path) as writer:
            writer.add(latents(1, seed=1)[0])
            writer.flush()
            assert len(list(reader)) == 5
        assert len(list(reader)) == 5
    with TtkReader(path) as reader:
        assert len(list(reader)) == 6


def test_the_file_behind_a_link_grows_and_keeps_its_mode(path: Path) -> None:
    link = path.parent / "link.ttk"
    link.symlink_to(path)
    path.chmod(0o600)
    append(link, latents(1, seed=1))
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    with TtkReader(path) as reader:
        assert reader.pictures == 6


def test_a_second_writer_is_refused_and_the_first_goes_on(path: Path) -> None:
    with appending(path) as writer:
        with pytest.raises(ValueError, match=r"x\.ttk:"):
            append(path, latents(1, seed=2))
        writer.add(latents(1, seed=1)[0])
    append(path, latents(1, seed=2))
    with TtkReader(path) as reader:
        assert reader.keys()[5:] == ["1/0", "2/0"]


PROCESSES = """
import os, resource, signal, sys, time
from pathlib import Path
import torch
from textok.codec import Record, appending

path, before = Path(sys.argv[1]), Path(sys.argv[1]).read_bytes()

def append(key):
    with appending(path) as writer:
        writer.add(Record(key=key, values=torch.ones(2, 3), grid=(2, 3), caption=key))

def killed_at(size):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the system ends the process at that very byte
    append("new")

def killed_before_the_name():
    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
    append("new")

def patiently(key):
    while True:
        try:
            return append(key)
        except ValueError as error:
            if "another process is writing it" not in str(error):
                raise
            time.sleep(0.001)

def child(work, *words):
    process = os.fork()
    if not process:
        code = 1
        try:
            work(*words)
            code = 0
        finally:
            os._exit(code)
    return process

def end(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

for size in map(int, sys.argv[2:]):
    assert end(child(killed_at, size)) == -signal.SIGXFSZ, size
    assert path.read_bytes() == before, size
assert end(child(killed_before_the_name)) == -signal.SIGKILL
assert path.read_bytes() == before
assert [end(one) for one in [child(patiently, f"child {i}") for i in range(6)]] == [0] * 6
"""


@pytest.mark.slow
def test_killed_at_any_byte_the_file_is_as_it_was_and_no_process_overwrites_another(path: Path) -> None:
    grown = path.parent / "grown" / "x.ttk"
    grown.parent.mkdir()
    grown.write_bytes(path.read_bytes())
    append(grown, [Record(key="new", values=torch.ones(2, 3), grid=(2, 3), caption="new")])
    with TtkReader(path) as old, TtkReader(grown) as new:  # edges of header, chunks, old index, index, footer
        edges = [
            8,
            10,
            *(entry.offset for entry in new.entries),
            new.end,
            old.file_bytes,
            new.file_bytes - 12,
        ]
    sizes = {near for edge in edges for near in (edge - 1, edge, edge + 1)} | {0, grown.stat().st_size - 1}
    words = [sys.executable, "-c", PROCESSES, str(path), *map(str, sorted(sizes))]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    with TtkReader(path) as reader:
        assert sorted(reader.keys()[5:]) == [f"child {i}" for i in range(6)]
        assert len(list(reader)) == 11
    assert not list(path.parent.glob(".*")), "what the killed left behind is gone too"
