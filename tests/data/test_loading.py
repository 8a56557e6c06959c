import json
import multiprocessing
import os
import signal
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textok.data import Batch, DataConfig, EvalLoader, TrainLoader
from textok.data.config import read_sample
from textok.data.loading import Mix, MixedLoader

SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)


def config(root, **changes) -> DataConfig:
    return DataConfig(source=str(root), split="train", size=(8, 8), **changes)


def same(a: Batch, b: Batch) -> bool:
    return a.keys == b.keys and a.captions == b.captions and torch.equal(a.images, b.images)


def take(loader: TrainLoader, count: int) -> list[Batch]:
    return [next(loader) for _ in range(count)]


def test_a_batch(make_tars):
    batch = next(TrainLoader(config(make_tars(9)), batch_size=4))
    assert batch.images.shape == (4, 3, 8, 8) and batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous() and len(batch) == 4
    numbers = [int(key[1:]) for key in batch.keys]
    assert batch.images[:, 0, 0, 0].tolist() == numbers
    assert [int(caption.split()[0]) for caption in batch.captions] == numbers
    assert batch.labels.tolist() == [number % 5 for number in numbers]


@SETTINGS
@given(batch=st.integers(1, 4), world=st.integers(1, 3), seed=st.integers(0, 99), window=st.integers(1, 4))
@pytest.mark.slow
def test_ranks_share_each_epoch_without_overlap(make_tars, batch, world, seed, window):
    root = make_tars(7, 5, 8, 4)
    loaders = [
        TrainLoader(config(root, shuffle_shards=window), batch_size=batch, seed=seed, rank=rank, world=world)
        for rank in range(world)
    ]
    for _ in range(2):
        keys = [
            key for loader in loaders for some in take(loader, loader.batches_per_epoch) for key in some.keys
        ]
        assert len(keys) == len(set(keys)) == 24 // (batch * world) * batch * world
    assert all(loader.epoch == 2 and loader.batch == 0 for loader in loaders)


@pytest.mark.slow
def test_64_ranks_and_32_that_go_on_read_every_sample_of_an_epoch_once(make_tars):
    source = config(make_tars(200, 184))
    many = [TrainLoader(source, batch_size=3, rank=rank, world=64) for rank in range(64)]
    keys = [key for loader in many for key in next(loader).keys]
    few = [TrainLoader(source, batch_size=6, rank=rank, world=32) for rank in range(32)]
    for loader in few:
        loader.load_state_dict(many[0].state_dict())
    keys += [key for loader in few for key in next(loader).keys]
    assert len(keys) == len(set(keys)) == 384


def test_one_process_reads_what_two_ranks_read_together(make_tars):
    root = make_tars(24)
    one = take(TrainLoader(config(root), batch_size=4, seed=5), 8)
    two = [take(TrainLoader(config(root), batch_size=2, seed=5, rank=r, world=2), 8) for r in range(2)]
    for whole, first, second in zip(one, *two, strict=True):
        assert whole.keys == first.keys + second.keys and whole.captions == first.captions + second.captions


@SETTINGS
@given(position=st.integers(0, 17), keep=st.sampled_from([0, 100]))
@pytest.mark.slow
def test_resuming_at_any_position_goes_on_exactly(make_tars, position, keep):
    setup = config(make_tars(13, 9), flip=True, keep_decoded_mb=keep)
    loader = TrainLoader(setup, batch_size=4, seed=3)
    take(loader, position)
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = TrainLoader(setup, batch_size=4, seed=3)
    resumed.load_state_dict(state)
    assert all(same(a, b) for a, b in zip(take(loader, 8), take(resumed, 8), strict=True))
    assert loader.state_dict() == resumed.state_dict()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("keep", [0, 100])
@pytest.mark.slow
def test_workers_change_nothing_and_prefetching_is_not_counted(make_tars, keep):
    root = make_tars(13, 9, broken=(4,))
    options = {"flip": True, "on_bad": "skip", "keep_decoded_mb": keep}
    plain = TrainLoader(config(root, **options), batch_size=4, seed=3)
    ahead = TrainLoader(config(root, **options, workers=2), batch_size=4, seed=3)
    assert all(same(a, b) for a, b in zip(take(plain, 7), take(ahead, 7), strict=True))
    state = ahead.state_dict()
    assert state == plain.state_dict()
    expected = take(ahead, 6)
    ahead.load_state_dict(state)
    plain.load_state_dict(state)
    for loader in (ahead, plain):
        assert all(same(a, b) for a, b in zip(take(loader, 6), expected, strict=True))
    ahead.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_interrupt_leaves_the_workers_alive(make_tars):
    loader = TrainLoader(config(make_tars(12), workers=1), batch_size=4)
    next(loader)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
    assert len(take(loader, 9)) == 9
    loader.close()


def test_the_global_random_state_is_left_alone(make_tars):
    before = torch.get_rng_state()
    take(TrainLoader(config(make_tars(9), flip=True), batch_size=4), 3)
    assert torch.equal(before, torch.get_rng_state())


def test_resuming_with_other_ranks_keeps_the_samples(make_tars):
    root = make_tars(24)
    one = TrainLoader(config(root), batch_size=4)
    take(one, 3)
    ranks = [TrainLoader(config(root), batch_size=2, rank=r, world=2) for r in range(2)]
    for rank in ranks:
        rank.load_state_dict(one.state_dict())
    assert next(one).keys == [key for rank in ranks for key in next(rank).keys]


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"seed": 1}, "seed"), ({"batch_size": 3}, "samples_per_step"), ({"more": 1}, "data")],
)
def test_a_state_of_another_run_is_refused(make_tars, changes, key):
    state = TrainLoader(config(make_tars(9)), batch_size=2, seed=0).state_dict()
    other = make_tars(9, *([4] if changes.pop("more", None) else []))
    loader = TrainLoader(config(other), **{"batch_size": 2, "seed": 0, **changes})
    with pytest.raises(ValueError, match="loader state:"):
        loader.load_state_dict(state)


def test_captions_are_drawn_anew_each_epoch(make_tars):
    loader = TrainLoader(config(make_tars(20)), batch_size=20, seed=0)
    drawn = [dict(zip(batch.keys, batch.captions, strict=True)) for batch in take(loader, 30)]
    counts = Counter(caption for epoch in drawn for caption in epoch.values())
    assert len(counts) == 60 and max(counts.values()) < 25
    other = next(TrainLoader(config(make_tars(20)), batch_size=20, seed=0, rank=0))
    assert drawn[0] == dict(zip(other.keys, other.captions, strict=True))


def test_flip_mirrors_about_half_and_only_when_asked(make_tars, monkeypatch):
    ramp = torch.arange(8, dtype=torch.uint8).expand(3, 8, 8)
    monkeypatch.setattr("textok.data.config.decode_image", lambda *a, **k: ramp)
    root = make_tars(60)
    plain = next(TrainLoader(config(root), batch_size=60)).images
    assert (plain == ramp).all()
    flipped = next(TrainLoader(config(root, flip=True), batch_size=60)).images[:, 0, 0, 0] == 7
    assert 15 < int(flipped.sum()) < 45


def test_no_caption_that_names_a_side_is_mirrored(make_tars, monkeypatch):
    ramp = torch.arange(8, dtype=torch.uint8).expand(3, 8, 8)
    monkeypatch.setattr("textok.data.config.decode_image", lambda *a, **k: ramp)
    monkeypatch.setattr("textok.data.records.clean_text", lambda text: f"{text}, a cup on the Left")
    batch = next(TrainLoader(config(make_tars(60), flip=True), batch_size=60))
    assert "Left" in batch.captions[0] and (batch.images == ramp).all()


def test_a_crop_is_mild_random_and_never_enlarged(make_tars, monkeypatch):
    sizes = set()

    def ramp(_, size, **__):
        sizes.add(size)
        return torch.arange(size[1], dtype=torch.uint8).expand(3, *size)

    monkeypatch.setattr("textok.data.config.decode_image", ramp)
    setup = replace(config(make_tars(60), crop=0.2), size=(32, 32))
    loader = TrainLoader(setup, batch_size=60)
    rows = torch.cat([batch.images[:, 0, 0].int() for batch in take(loader, 2)])
    steps = (rows[:, -1] - rows[:, 0]) / 31
    assert sizes == {(40, 40)} and rows.shape == (120, 32) and steps.min() < 1.02 and steps.max() > 1.18
    assert steps.max() <= 1.26 and len(set(rows[:, 0].tolist())) > 4 and not torch.equal(rows[:60], rows[60:])
    assert same(next(TrainLoader(setup, batch_size=60)), next(TrainLoader(setup, batch_size=60)))
    whole = next(iter(EvalLoader(setup, batch_size=4))).images
    assert whole[0, 0, 0].tolist() == list(range(32))


def mixed(own, other, **changes):
    loaders = [
        TrainLoader(config(root, **changes), batch_size=n, seed=3) for root, n in ((own, 6), (other, 2))
    ]
    return MixedLoader(*loaders)


def test_a_mixed_batch_holds_so_many_of_the_other_source(make_tars, tmp_path):
    own = make_tars(30).rename(tmp_path.parent / f"{tmp_path.name}-own")
    tmp_path.mkdir()
    other = make_tars(9, broken=(3,))
    options = {"flip": True, "on_bad": "skip", "max_bad_share": 1.0}
    loader = mixed(own, other, **options)
    batches = take(loader, 8)
    plain = take(TrainLoader(config(own, **options), batch_size=6, seed=3), 8)
    assert all(
        len(batch) == 8 and batch.keys[:6] == alone.keys for batch, alone in zip(batches, plain, strict=True)
    )
    assert {key for batch in batches for key in batch.keys[6:]} == {f"s{n:05d}" for n in range(9)} - {
        "s00003"
    }
    assert [bad.key for bad in loader.bad.samples] == ["s00003"]
    again = mixed(own, other, **options)
    take(again, 3)
    resumed = mixed(own, other, **options)
    resumed.load_state_dict(json.loads(json.dumps(again.state_dict())))
    assert (
        all(same(batch, next(resumed)) for batch in batches[3:])
        and resumed.state_dict() == loader.state_dict()
    )
    held = mixed(own, other, **options, resident=str(tmp_path / "held"))
    held.hold(torch.device("cpu"))
    assert all(same(batch, next(held)) for batch in batches)


@pytest.mark.parametrize("text", ["scenes", "scenes:1", "scenes:0", ":0.5", "scenes:half", "scenes:nan"])
def test_a_mix_is_a_source_and_a_share(text):
    with pytest.raises(ValueError, match="mix: got"):
        Mix.parse(text)
    assert Mix.parse("scenes:dense,seed=1:0.25") == Mix(source="scenes:dense,seed=1", share=0.25)
    assert [Mix(source="x", share=share).count(8) for share in (0.01, 0.25, 0.99)] == [1, 2, 7]


@pytest.mark.parametrize(("keep", "times"), [(100, 1), (0, 3)])
def test_decoded_pictures_are_kept_when_they_fit(make_tars, monkeypatch, keep, times):
    seen = Counter()

    def count(source, index, setup):
        seen[index] += 1
        return read_sample(source, index, setup)

    monkeypatch.setattr("textok.data.decoding.read_sample", count)
    take(TrainLoader(config(make_tars(12), keep_decoded_mb=keep), batch_size=4), 9)
    assert set(seen.values()) == {times} and len(seen) == 12


def test_too_few_samples_for_one_step(make_tars):
    with pytest.raises(ValueError, match="9 samples"):
        TrainLoader(config(make_tars(9)), batch_size=4, world=3)
    with pytest.raises(ValueError, match="rank is 2 of 2 ranks"):
        TrainLoader(config(make_tars(9)), batch_size=1, rank=2, world=2)
    with pytest.raises(ValueError, match="batch_size is 0"):
        EvalLoader(config(make_tars(9)), batch_size=0)


@SETTINGS
@given(batch=st.integers(1, 30))
@pytest.mark.slow
def test_evaluation_sees_every_sample_once_in_order(make_tars, batch):
    loader = EvalLoader(config(make_tars(11, 12)), batch_size=batch)
    found = list(loader)
    assert len(found) == len(loader) and all(len(some) == batch for some in found[:-1])
    assert [key for some in found for key in some.keys] == [f"s{i:05d}" for i in range(23)]
    assert [caption for some in found for caption in some.captions] == [f"{i} a" for i in range(23)]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_evaluation_with_workers(make_tars):
    root = make_tars(11)
    plain, ahead = EvalLoader(config(root), batch_size=4), EvalLoader(config(root, workers=2), batch_size=4)
    assert all(same(a, b) for a, b in zip(plain, ahead, strict=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", (0, 8)),
        ("max_pixels", 0),
        ("max_bad_share", 1.5),
        ("crop", 0.5),
        ("shuffle_shards", 0),
        ("workers", -1),
    ],
)
def test_a_config_names_the_wrong_key(key, value):
    with pytest.raises(ValueError, match=rf"DataConfig\.{key}:"):
        DataConfig(**{"source": "x", key: value})
