"""A latent cache read back: the rows that were written, batches that can be resumed, damage that is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from textok.data.latents import (
    LatentCache,
    LatentLoader,
    Manifest,
    Rows,
    read_manifest,
    write_manifest,
    write_shard,
)

K, C, D, LENGTHS = 3, 2, 5, (4, 0, 7)


def written(name: str, length: int, kind: str, *, labels: bool = True) -> Rows:
    """Rows whose numbers tell shard and place; every second caption of a shard is the same."""
    random = torch.Generator().manual_seed(length)
    captions = [f"{name} {i}" if i % 2 else "shared" for i in range(length)]
    mean = torch.randn(length, K, C, generator=random).half().float()
    return Rows(
        keys=[f"{name}-{i}" for i in range(length)],
        captions=captions,
        labels=torch.arange(length) % 3 if labels else torch.full((length,), -1),
        mean=None if kind == "fsq" else mean,
        log_variance=torch.full((length, K, C), -2.0) if kind == "kl" else None,
        codes=torch.randint(0, 1000, (length, K), generator=random) if kind == "fsq" else None,
        states={c: torch.randn(len(c) % 4, D, generator=random).half().float() for c in set(captions)},
    )


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Path, list[Rows]]]:
    """A function (kind, labels=True) that writes a cache of three shards, one of them empty."""

    def make(kind: str, *, labels: bool = True) -> tuple[Path, list[Rows]]:
        folder = tmp_path / kind
        parts = [written(f"s{i}", n, kind, labels=labels) for i, n in enumerate(LENGTHS)]
        entries = [write_shard(folder / f"{i}.safetensors", part, text_dim=D) for i, part in enumerate(parts)]
        manifest = Manifest(
            tokenizer="tiny-0",
            tokenizer_source="tiny",
            kind=kind,
            num_latents=K,
            latent_dim=C,
            num_codes=1000 if kind == "fsq" else None,
            text_encoder="minilm",
            text_dim=D,
            max_text_tokens=40,
            num_classes=3 if labels else None,
            rows=sum(LENGTHS),
            pictures=sum(LENGTHS),
            shards=entries,
            complete=True,
        )
        write_manifest(folder, manifest)
        return folder, parts

    return make


@pytest.mark.parametrize("kind", ["ae", "kl", "fsq"])
def test_rows_come_back_in_the_order_asked_for(kind: str, make: Callable) -> None:
    folder, (first, _, last) = make(kind)
    cache = LatentCache.open(folder)
    assert len(cache) == 11 and cache.manifest == read_manifest(folder) and cache.shard_lengths == [4, 0, 7]
    batch = cache.batch([10, 0, 4, 3])
    assert batch.keys == ["s2-6", "s0-0", "s2-0", "s0-3"]
    assert batch.captions == ["shared", "shared", "shared", "s0 3"]
    assert batch.labels is not None and batch.labels.tolist() == [0, 0, 0, 0]
    name, values = ("codes", batch.codes) if kind == "fsq" else ("mean", batch.latents)
    a, b = getattr(first, name), getattr(last, name)
    assert torch.equal(values, torch.stack([b[6], a[0], b[0], a[3]]))
    assert (batch.latents is None) == (kind == "fsq") and (batch.codes is None) == (kind != "fsq")
    expected = [last.states["shared"], first.states["shared"], last.states["shared"], first.states["s0 3"]]
    assert all(torch.equal(x, y) for x, y in zip(batch.text, expected, strict=True))


def test_a_cache_without_labels(make: Callable) -> None:
    folder, _ = make("ae", labels=False)
    assert LatentCache.open(folder).batch([0, 1]).labels is None


def test_an_epoch_has_every_row_once_over_all_ranks(make: Callable) -> None:
    cache = LatentCache.open(make("ae")[0])
    ranks = [LatentLoader(cache, batch_size=2, seed=3, rank=rank, world=2) for rank in (0, 1)]
    one = LatentLoader(cache, batch_size=4, seed=3)
    epochs = []
    for _ in range(2):
        steps = [[next(rank).keys for rank in ranks] for _ in range(one.batches_per_epoch)]
        assert [a + b for a, b in steps] == [next(one).keys for _ in steps]
        epochs.append([key for step in steps for keys in step for key in keys])
    assert all(len(set(epoch)) == 8 for epoch in epochs) and epochs[0] != epochs[1]


def test_kl_latents_are_a_fresh_sample_each_epoch(make: Callable) -> None:
    folder, parts = make("kl")
    cache = LatentCache.open(folder)
    means = torch.cat([part.mean for part in parts])
    loader, seen, noise = LatentLoader(cache, batch_size=11, seed=0), [], []
    for _ in range(200):
        batch = next(loader)
        rows = [(0 if key[1] == "0" else 4) + int(key[3:]) for key in batch.keys]
        latents = torch.empty_like(means).index_copy_(0, torch.tensor(rows), batch.latents)
        seen.append(latents)
        noise.append((latents - means) * torch.tensor(1.0).exp())  # exp(-2 / 2) is the deviation
    assert not torch.equal(seen[0], seen[1])
    values = torch.stack(noise)
    assert values.mean().abs() < 0.05 and (values.std() - 1).abs() < 0.05
    assert torch.equal(cache.batch(range(11)).latents, means)
    alone = LatentLoader(cache, batch_size=1, seed=0)
    again = {(batch := next(alone)).keys[0]: batch.latents[0] for _ in range(11)}
    assert torch.equal(again["s2-5"], seen[0][9]), "the noise of a row does not depend on the batch"


def test_the_position_is_restored(make: Callable) -> None:
    cache = LatentCache.open(make("kl")[0])
    loader = LatentLoader(cache, batch_size=3, seed=1)
    for _ in range(4):  # into the second epoch
        next(loader)
    state = json.loads(json.dumps(loader.state_dict()))
    expected = [next(loader) for _ in range(3)]
    resumed = LatentLoader(cache, batch_size=3, seed=1)
    resumed.load_state_dict(state)
    for batch in expected:
        other = next(resumed)
        assert other.keys == batch.keys and torch.equal(other.latents, batch.latents)


def test_what_cannot_be_resumed_or_trained_is_refused(make: Callable) -> None:
    cache, other = LatentCache.open(make("kl")[0]), LatentCache.open(make("ae")[0])
    state = LatentLoader(cache, batch_size=3, seed=1).state_dict()
    for loader, name in (
        (LatentLoader(cache, batch_size=3, seed=2), "seed"),
        (LatentLoader(cache, batch_size=2, seed=1), "rows_per_step"),
        (LatentLoader(other, batch_size=3, seed=1), "data"),
    ):
        with pytest.raises(ValueError, match=f"loader state: {name}"):
            loader.load_state_dict(state)
    with pytest.raises(ValueError, match=r"11 rows.*batch_size 6 x 2"):
        LatentLoader(cache, batch_size=6, seed=0, rank=1, world=2)


@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_a_damaged_shard_is_named(damage: str, make: Callable) -> None:
    folder, _ = make("kl")
    shard = folder / "2.safetensors"
    content = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(content[:-9] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"2\.safetensors"):
        LatentCache.open(folder)


def test_a_folder_that_is_no_finished_cache(make: Callable, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="textok cache"):
        LatentCache.open(tmp_path / "nothing")
    folder, _ = make("ae")
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, complete=False))
    with pytest.raises(ValueError, match="not finished"):
        LatentCache.open(folder)
    away = {**manifest.shards[0], "file": "../ae/0.safetensors"}
    write_manifest(folder, replace(manifest, shards=[away]))
    with pytest.raises(ValueError, match="shard is missing"):
        LatentCache.open(folder)
    (folder / "manifest.json").write_text('{"format": 1')
    with pytest.raises(ValueError, match="manifest"):
        LatentCache.open(folder)


@pytest.mark.parametrize("value", [torch.nan, 1e6])
def test_latents_that_16_bits_cannot_hold_are_refused(value: float, tmp_path: Path) -> None:
    rows = written("s", 4, "kl")
    rows.mean[2, 0, 0] = value
    with pytest.raises(ValueError, match=r"s-2.*mean"):
        write_shard(tmp_path / "0.safetensors", rows, text_dim=D)
    assert not list(tmp_path.iterdir())
