"""Scores of generated pictures, from features with known answers."""

import pytest
import torch
from torch import Tensor

from textok.data import Batch
from textok.evaluation.generation import FeatureReader, PictureFeatures, evaluate_generation, frechet_floor
from textok.evaluation.metrics.sets import FeatureStatistics, frechet_distance
from textok.evaluation.networks import ImageFeatures

DIM = 6


def features(pooled: Tensor, *, name: str = "p", captions: bool = False) -> PictureFeatures:
    keys = tuple(f"{name}{i}" for i in range(len(pooled)))
    texts = tuple(f"caption {i}" if captions else "" for i in range(len(pooled)))
    return PictureFeatures(keys=keys, captions=texts, pooled=pooled)


def drawn(count: int, *, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)) + shift


def test_features_stream_through_the_network(network) -> None:
    images = torch.randint(
        0, 256, (10, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    seen: list[int] = []
    batches = (
        Batch(
            images=images[part],
            keys=[f"k{i}" for i in part.tolist()],
            captions=[f"c{i}" for i in part.tolist()],
        )
        for part in torch.arange(10).split(4)
    )
    found = FeatureReader(network=network).read(batches, progress=seen.append)
    assert seen == [4, 4, 2] and found.keys == tuple(f"k{i}" for i in range(10)) and found.captions[3] == "c3"
    torch.testing.assert_close(found.pooled, network(images).pooled)
    assert found.logits is None and found.meaning is None
    with pytest.raises(ValueError, match="features:"):
        FeatureReader(network=network).read([])


def test_pictures_of_one_kind_score_like_the_floor_and_others_do_not(network) -> None:
    real = features(drawn(400, seed=0))
    [same] = evaluate_generation(
        features(drawn(200, seed=1)), real, split="test", reader=FeatureReader(network=network)
    ).rows
    [shifted] = evaluate_generation(
        features(drawn(200, seed=1, shift=2.0)), real, split="test", reader=FeatureReader(network=network)
    ).rows
    assert same["split"] == "test" and (same["count"], same["count_reference"]) == (200, 400)
    assert same["count_floor"] == 200 and 0 < same["fd_tiny"] < 4 * same["fd_tiny_floor"]
    assert abs(same["kd_tiny"]) < 4 * same["kd_tiny_standard_error"]
    assert same["precision_tiny"] > 0.7 and same["recall_tiny"] > 0.7
    assert shifted["fd_tiny"] == pytest.approx(4 * DIM, rel=0.2)
    assert shifted["fd_tiny_floor"] == same["fd_tiny_floor"]
    assert shifted["kd_tiny"] > 10 * shifted["kd_tiny_standard_error"] > 0
    assert shifted["precision_tiny"] < same["precision_tiny"] / 2


def test_the_floor_is_between_real_pictures_that_share_none() -> None:
    real, made = features(drawn(60, seed=0)), features(drawn(20, seed=1, shift=1.0))
    floor = frechet_floor(made, real, name="fd", generator=torch.Generator().manual_seed(0))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    others = FeatureStatistics.of(real.pooled[order[20:]])
    by_hand = [
        frechet_distance(others, FeatureStatistics.of(x)) for x in (real.pooled[order[:20]], made.pooled)
    ]
    assert floor["count_floor"] == 20
    assert [floor["fd_floor"], floor["fd_beside_floor"]] == pytest.approx(by_hand, rel=1e-9)
    few = features(drawn(20, seed=0))
    assert frechet_floor(few, few, name="fd", generator=torch.Generator()) == {}


@pytest.mark.slow
def test_many_samples_of_one_kind_are_at_the_floor_when_as_few_are_taken(network) -> None:
    """All of them are nearer than the floor, which half of the real pictures must be enough for."""
    found = [
        evaluate_generation(
            features(drawn(600, seed=2 * i)),
            features(drawn(60, seed=2 * i + 1)),
            split="t",
            reader=FeatureReader(network=network),
        ).rows[0]
        for i in range(30)
    ]
    means = {name: sum(float(row[name]) for row in found) / 30 for name in found[0] if name.startswith("fd_")}
    assert found[0]["count_floor"] == 30
    assert means["fd_tiny"] < 0.7 * means["fd_tiny_floor"]
    assert means["fd_tiny_beside_floor"] == pytest.approx(means["fd_tiny_floor"], rel=0.15)


def test_a_reference_of_mean_and_covariance_gives_the_distance_alone(network) -> None:
    real, made = features(drawn(100, seed=0)), features(drawn(50, seed=1))
    [row] = evaluate_generation(
        made, None, statistics=real.statistics, split="ref", reader=FeatureReader(network=network)
    ).rows
    assert set(row) == {"split", "count", "fd_tiny"}
    assert row["fd_tiny"] == pytest.approx(frechet_distance(real.statistics, made.statistics))


def test_copies_of_training_pictures_are_found(network) -> None:
    train, held_out = features(drawn(100, seed=0), name="t"), features(drawn(100, seed=1))
    made = drawn(40, seed=2)
    made[:10] = train.pooled[30:40]
    scores = evaluate_generation(
        features(made), held_out, split="test", reader=FeatureReader(network=network), train=train
    )
    [row] = scores.rows
    assert row["copied_share"] >= 0.25 and row["count_train"] == 100
    nearest = [(one["nearest_train_key"], one["nearest_train_distance"]) for one in scores.per_image]
    assert [key for key, _ in nearest[:10]] == [f"t{i}" for i in range(30, 40)]
    assert max(distance for _, distance in nearest[:10]) < 1e-6 < nearest[10][1]
    assert [one["key"] for one in scores.per_image] == [f"p{i}" for i in range(40)]


def test_the_inception_score_is_that_of_inception_only(network) -> None:
    made = drawn(40, seed=2)
    judged = PictureFeatures(
        keys=features(made).keys, captions=("",) * 40, pooled=made, logits=torch.eye(4).repeat(10, 1) * 100
    )
    real = features(drawn(40, seed=0))
    [row] = evaluate_generation(judged, real, split="test", reader=FeatureReader(network=network)).rows
    assert not any(name.startswith("is") for name in row)

    class Named:
        name, dim = "inception_2015", DIM

        def __call__(self, images: Tensor) -> ImageFeatures:
            raise AssertionError

    [row] = evaluate_generation(judged, real, split="test", reader=FeatureReader(network=Named())).rows
    # Four certain classes in ten random parts of four pictures: below 4. These are not the published weights.
    assert 1.5 < row["is_inception_2015"] < 4.0 and row["is_inception_2015_std"] > 0
    grouped = torch.eye(4).repeat_interleave(10, dim=0) * 100
    by_class = PictureFeatures(keys=judged.keys, captions=judged.captions, pooled=made, logits=grouped)
    [row] = evaluate_generation(by_class, real, split="test", reader=FeatureReader(network=Named())).rows
    assert row["is_inception_2015"] > 1.5, "samples stored class by class are mixed before they are cut"


def test_few_pictures_are_refused(network) -> None:
    with pytest.raises(ValueError, match="got 15 pictures"):
        evaluate_generation(
            features(drawn(15, seed=0)),
            features(drawn(20, seed=1)),
            split="test",
            reader=FeatureReader(network=network),
        )


def test_seeds_decide_the_draws(network) -> None:
    real, made = features(drawn(100, seed=0)), features(drawn(40, seed=1))
    rows = [
        evaluate_generation(made, real, split="t", reader=FeatureReader(network=network), seed=seed).rows[0]
        for seed in (0, 0, 1)
    ]
    assert rows[0] == rows[1] and rows[0]["fd_tiny_floor"] != rows[2]["fd_tiny_floor"]
    assert rows[0]["fd_tiny"] == rows[2]["fd_tiny"]
