import json
import pickle

import pytest
import torch

from textok.data import BadSample, BadSampleError, DataConfig, EvalLoader, TrainLoader


def config(root, **changes) -> DataConfig:
    return DataConfig(source=str(root), split="train", size=(8, 8), **changes)


def skipping(root, **changes) -> DataConfig:
    return config(root, **{"on_bad": "skip", "max_bad_share": 1.0, **changes})


def test_stop_names_key_shard_and_reason(make_tars):
    root = make_tars(6, 6, broken=(8,))
    with pytest.raises(BadSampleError, match=r"s00008.*train-000001\.tar") as error:
        next(TrainLoader(config(root), batch_size=12))
    assert error.value.bad.key == "s00008"
    with pytest.raises(BadSampleError, match="s00008"):
        list(EvalLoader(config(root), batch_size=4))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_stop_reaches_the_caller_from_a_worker(make_tars):
    with pytest.raises(BadSampleError, match="s00008"):
        next(TrainLoader(config(make_tars(12, broken=(8,)), workers=1), batch_size=12))


@pytest.mark.slow
def test_skip_replaces_counts_and_lists(make_tars):
    loader = TrainLoader(skipping(make_tars(12, broken=(3, 8))), batch_size=6, seed=2)
    batches = [next(loader) for _ in range(6)]
    assert all(batch.images.shape == (6, 3, 8, 8) for batch in batches)
    keys = [key for batch in batches for key in batch.keys]
    assert not {"s00003", "s00008"} & set(keys) and len(set(keys)) == 10
    assert {bad.key for bad in loader.bad.samples} == {"s00003", "s00008"} and len(loader.bad.samples) == 2
    assert loader.bad.count >= 6 and loader.bad.seen == 36 + loader.bad.count


@pytest.mark.slow
def test_counts_survive_saving(make_tars):
    root = make_tars(12, broken=(3, 8))
    loader = TrainLoader(skipping(root), batch_size=6)
    next(loader)
    next(loader)
    resumed = TrainLoader(skipping(root), batch_size=6)
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert resumed.bad.samples == loader.bad.samples and resumed.bad.count == loader.bad.count >= 2
    assert torch.equal(next(loader).images, next(resumed).images)
    assert resumed.state_dict() == loader.state_dict()


def test_the_share_is_judged_after_the_grace(make_tars):
    root = make_tars(100, broken=tuple(range(0, 100, 10)))
    assert len(list(EvalLoader(skipping(root, max_bad_share=0.1), batch_size=10))) == 10
    assert len(list(EvalLoader(skipping(root, max_bad_share=0.05, bad_grace=10), batch_size=10))) == 10
    with pytest.raises(BadSampleError, match=r"4 of 40.*max_bad_share"):
        list(EvalLoader(skipping(root, max_bad_share=0.05, bad_grace=3), batch_size=10))


def test_evaluation_leaves_bad_samples_out_and_lists_them(make_tars):
    loader = EvalLoader(skipping(make_tars(9, broken=(1, 3, 4, 5))), batch_size=3)
    for _ in range(2):  # a second pass counts anew
        assert [key for batch in loader for key in batch.keys] == [
            "s00000",
            "s00002",
            "s00006",
            "s00007",
            "s00008",
        ]
        assert loader.bad.count == 4 and loader.bad.samples[0].key == "s00001"


def test_only_bad_samples_end_in_an_error(make_tars):
    loader = TrainLoader(skipping(make_tars(4, broken=(0, 1, 2, 3)), bad_grace=10**6), batch_size=2)
    with pytest.raises(BadSampleError, match="replacements"):
        next(loader)


def test_missing_captions_are_bad_unless_allowed(make_tars):
    root = make_tars(1, captions=0)
    with pytest.raises(BadSampleError, match="no caption"):
        next(TrainLoader(config(root, require_captions=True), batch_size=1))
    batch = next(TrainLoader(config(root), batch_size=1))
    assert batch.captions == [""]


def test_a_bomb_is_a_bad_sample(make_tars):
    with pytest.raises(BadSampleError, match=r"s0000\d.*12 x 10.*119"):
        next(TrainLoader(config(make_tars(3), max_pixels=119), batch_size=1))


def test_the_error_can_cross_processes():
    error = BadSampleError(BadSample(key="k", shard="s.tar", reason="why"))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "sample 'k' in s.tar: why" and again.bad == error.bad
