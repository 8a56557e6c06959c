import multiprocessing
import os
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textok.data.caption_cache import CaptionCache

DIM, MAX_TOKENS = 6, 12
CAPTIONS = [f"picture number {n} {'word ' * (n % 5)}" for n in range(40)]


def open_cache(folder: Path, *, encoder: str = "abc123", dim: int = DIM) -> CaptionCache:
    return CaptionCache(folder, encoder_fingerprint=encoder, dim=dim, max_tokens=MAX_TOKENS)


def encode(captions: list[str]) -> list[Tensor]:
    """Features that any process makes alike: seeded by the caption, one row per word."""
    features = []
    for caption in captions:
        generator = torch.Generator().manual_seed(sum(caption.encode()))
        features.append(torch.randn(len(caption.split()), DIM, generator=generator))
    return features


def refuse() -> None:
    raise AssertionError("the encoder was loaded though nothing is missing")


def only_shard(cache: CaptionCache) -> Path:
    [path] = cache.folder.glob("*.safetensors")
    return path


def test_what_was_added_comes_back_in_float16(tmp_path: Path) -> None:
    open_cache(tmp_path).add(CAPTIONS, encode(CAPTIONS))
    wanted = [CAPTIONS[7], CAPTIONS[0], CAPTIONS[7]]
    stored = open_cache(tmp_path).get(wanted)
    for states, expected in zip(stored, encode(wanted), strict=True):
        assert states.dtype == torch.float16
        assert torch.equal(states, expected.half())


@given(
    lengths=st.lists(st.integers(0, MAX_TOKENS), min_size=1, max_size=9),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
@settings(max_examples=20, deadline=None)
@pytest.mark.slow
def test_round_trip_of_any_lengths(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], dtype: torch.dtype
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    captions = [f"caption {row}" for row in range(len(lengths))]
    features = [torch.randn(length, DIM).to(dtype) for length in lengths]
    open_cache(folder).add(captions, features)
    for states, expected in zip(open_cache(folder).get(captions), features, strict=True):
        assert torch.equal(states, expected.half())


def test_a_warm_cache_never_makes_the_encoder(tmp_path: Path) -> None:
    assert open_cache(tmp_path).warm([*CAPTIONS, *CAPTIONS, ""], lambda: encode) == len(CAPTIONS)
    assert open_cache(tmp_path).warm(CAPTIONS, refuse) == 0
    with pytest.raises(AssertionError, match="the encoder was loaded"):
        open_cache(tmp_path).warm([*CAPTIONS, "a new one"], refuse)


def test_each_distinct_caption_is_encoded_once(tmp_path: Path) -> None:
    seen: list[str] = []

    def record(captions: list[str]) -> list[Tensor]:
        seen.extend(captions)
        return encode(captions)

    cache = open_cache(tmp_path)
    cache.warm(CAPTIONS[:10] * 3, lambda: record, batch_size=4)
    cache.warm(CAPTIONS[5:20], lambda: record, batch_size=4)
    assert sorted(seen) == sorted(CAPTIONS[:20])
    assert [len(caption) for caption in seen[:10]] == sorted(len(caption) for caption in CAPTIONS[:10])


def test_interrupted_warming_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textok.data.caption_cache._SHARD_CAPTIONS", 10)
    calls = 0

    def fail_at_the_fifth_call(captions: list[str]) -> list[Tensor]:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return encode(captions)

    with pytest.raises(KeyboardInterrupt):
        open_cache(tmp_path).warm(CAPTIONS, lambda: fail_at_the_fifth_call, batch_size=5)
    cache = open_cache(tmp_path)
    assert len(cache.missing(CAPTIONS)) == 20
    assert cache.warm(CAPTIONS, lambda: encode, batch_size=5) == 20
    assert all(map(torch.equal, cache.get(CAPTIONS), [states.half() for states in encode(CAPTIONS)]))


def test_a_slow_encoder_is_saved_by_the_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textok.data.caption_cache._SHARD_SECONDS", -1.0)
    cache = open_cache(tmp_path)
    cache.warm(CAPTIONS, lambda: encode, batch_size=10)
    assert len(list(cache.folder.iterdir())) == 4


def warm_in_a_process(folder: Path, captions: list[str], start: Barrier) -> None:
    cache = open_cache(folder)
    start.wait()
    cache.warm(captions, lambda: encode, batch_size=3)


@pytest.mark.slow
def test_two_processes_warm_the_same_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    shares = [CAPTIONS[:30], CAPTIONS[10:]]
    workers = [context.Process(target=warm_in_a_process, args=(tmp_path, share, start)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    cache = open_cache(tmp_path)
    assert cache.missing(CAPTIONS) == [] and len(cache) == len(CAPTIONS)
    assert all(map(torch.equal, cache.get(CAPTIONS), [states.half() for states in encode(CAPTIONS)]))
    assert not list(cache.folder.glob(".*.tmp"))


def test_an_open_reader_sees_what_another_writer_adds(tmp_path: Path) -> None:
    reader, writer = open_cache(tmp_path), open_cache(tmp_path)
    assert reader.missing(CAPTIONS[:2]) == CAPTIONS[:2]
    writer.add(CAPTIONS[:2], encode(CAPTIONS[:2]))
    assert torch.equal(reader.get(CAPTIONS[1:2])[0], encode(CAPTIONS[1:2])[0].half())


def test_adding_the_same_again_is_harmless(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.add(CAPTIONS[:5], encode(CAPTIONS[:5]))
    cache.add(CAPTIONS[:5], encode(CAPTIONS[:5]))  # the same content has the same file name
    cache.add(CAPTIONS[3:8], encode(CAPTIONS[3:8]))
    assert (len(cache), len(list(cache.folder.iterdir()))) == (8, 2)


def test_blank_captions_are_never_stored(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    assert cache.missing(["", "  ", "x", "x"]) == ["x"]
    assert [tuple(states.shape) for states in cache.get(["", " \n"])] == [(0, DIM), (0, DIM)]
    with pytest.raises(ValueError, match="blank"):
        cache.add([""], [torch.zeros(1, DIM)])


def test_encoders_do_not_mix(tmp_path: Path) -> None:
    open_cache(tmp_path).add(CAPTIONS, encode(CAPTIONS))
    assert open_cache(tmp_path, encoder="def456").missing(CAPTIONS[:3]) == CAPTIONS[:3]
    with pytest.raises(ValueError, match="dim is 6"):
        open_cache(tmp_path, dim=7).missing(CAPTIONS)


def test_a_missing_caption_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unheard of"):
        open_cache(tmp_path).get(["unheard of"])


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_truncated_shard_is_named_and_can_be_rebuilt(tmp_path: Path, keep: int) -> None:
    cache = open_cache(tmp_path)
    cache.add(CAPTIONS, encode(CAPTIONS))
    path = only_shard(cache)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=path.name):
        open_cache(tmp_path).missing(CAPTIONS)
    path.unlink()
    assert open_cache(tmp_path).warm(CAPTIONS, lambda: encode) == len(CAPTIONS)


def test_any_altered_byte_is_found(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.add(CAPTIONS[:4], encode(CAPTIONS[:4]))
    path = only_shard(cache)
    content = path.read_bytes()
    body = 8 + int.from_bytes(content[:8], "little")
    for position in range(body, len(content), 7):
        altered = bytearray(content)
        altered[position] ^= 0x10
        path.write_bytes(altered)
        with pytest.raises(ValueError, match=f"{path.name}.*altered"):
            open_cache(tmp_path).get(CAPTIONS[:4])
    path.write_bytes(content)
    assert len(open_cache(tmp_path).get(CAPTIONS[:4])) == 4


def test_features_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    with pytest.raises(ValueError, match="2 captions, 1 feature"):
        cache.add(["a", "b"], [torch.zeros(1, DIM)])
    with pytest.raises(ValueError, match=r"'a'.*\(3, 5\)"):
        cache.add(["a"], [torch.zeros(3, 5)])
    with pytest.raises(ValueError, match="at most 12"):
        cache.add(["a"], [torch.zeros(13, DIM)])
    with pytest.raises(ValueError, match="not finite in float16"):
        cache.add(["a"], [torch.full((1, DIM), 1e5)])
    with pytest.raises(ValueError, match="letters and digits"):
        open_cache(tmp_path, encoder="../elsewhere")
    assert not list(tmp_path.rglob("*.safetensors"))


def test_leftovers_of_killed_writers_are_removed_once_old(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.add(CAPTIONS[:1], encode(CAPTIONS[:1]))
    old, young = cache.folder / ".a.tmp", cache.folder / ".b.tmp"
    for path in (old, young):
        path.write_bytes(b"half a shard")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    cache.warm(CAPTIONS, lambda: encode)
    assert not old.exists() and young.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what is in memory in /proc")
def test_the_features_stay_on_disk_until_read(tmp_path: Path) -> None:
    """Opening maps the file: reading one of many captions touches little of it."""
    cache = CaptionCache(tmp_path, encoder_fingerprint="abc", dim=512, max_tokens=64)
    captions = [f"caption {row}" for row in range(400)]
    cache.add(captions, [torch.ones(64, 512)] * 400)
    size = only_shard(cache).stat().st_size
    reader = CaptionCache(tmp_path, encoder_fingerprint="abc", dim=512, max_tokens=64)
    assert len(reader.get(captions[200:201])[0]) == 64
    lines = Path("/proc/self/smaps").read_text().splitlines()
    resident, ours = [], False
    for line in lines:
        if "-" in line.split()[0] and line.split()[0][0] != "-" and ":" not in line.split()[0]:
            ours = str(only_shard(reader)) in line
        elif ours and line.startswith("Rss:"):
            resident.append(int(line.split()[1]) * 1024)
    assert size > 25e6 and 0 < sum(resident) < size
