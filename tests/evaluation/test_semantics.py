"""Semantic accuracy: retrieval, agreement of posteriors, sums over chunks, pictures without captions."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textok.evaluation.metrics.semantics import SemanticMetrics, posterior_agreement, top1_agreement
from textok.evaluation.networks import ImageFeatures

NAMES = {
    "retrieval_two_tower_r1",
    "alignment_two_tower",
    "retrieval_class_posterior_r1",
    "alignment_class_posterior",
    "posterior_agreement_tiny_classifier",
    "top1_agreement_tiny_classifier",
}


def damaged(images: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(
        6
    )  # the same noise on every picture, in whatever chunk it comes
    noise = torch.randint(0, 120, images.shape[1:], generator=generator, dtype=torch.uint8)
    return images // 2 + noise


def measure(semantics, pictures, parts, *, made=damaged) -> SemanticMetrics:
    """Metrics of damaged pictures, in parts that are added."""
    judge, total = semantics.judge(pictures.captions), SemanticMetrics()
    for indices in parts:
        images = pictures.images[indices]
        part = SemanticMetrics()
        part.update(
            judge,
            semantics.network(made(images)),
            indices=indices,
            originals=semantics.network(images),
        )
        total = total + part
    return total


@given(
    st.lists(st.floats(-30, 30), min_size=4, max_size=4), st.lists(st.floats(-30, 30), min_size=4, max_size=4)
)
@settings(deadline=None)  # the first call is slow on a busy machine
def test_agreement_is_one_minus_total_variation(a, b):
    first, second = torch.tensor([a]), torch.tensor([b])
    found = posterior_agreement(first, second)
    variation = 0.5 * (first.double().softmax(1) - second.double().softmax(1)).abs().sum(1)
    torch.testing.assert_close(found.double(), 1 - variation, atol=1e-5, rtol=0)
    assert 0 <= found <= 1
    torch.testing.assert_close(posterior_agreement(second, first), found)
    torch.testing.assert_close(posterior_agreement(first, first), torch.ones(1))


def test_disjoint_posteriors_do_not_agree():
    a, b = torch.tensor([[200.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 200.0], [0.0, 1.0]])
    assert posterior_agreement(a, b)[0] == 0
    assert top1_agreement(a, b).tolist() == [0, 0]
    assert top1_agreement(a, a).tolist() == [1, 1]


def test_two_halves_merged_equal_the_whole(semantics, pictures):
    whole = measure(semantics, pictures, [torch.arange(18)])
    halves = measure(semantics, pictures, [torch.arange(1, 18, 2), torch.arange(0, 18, 2)])
    assert set(whole.values) == NAMES
    for name, value in whole.compute().items():
        assert halves.compute()[name] == pytest.approx(value, abs=1e-6), name
    for index in range(18):
        assert halves.of(index) == pytest.approx(whole.of(index), abs=1e-5)


def test_perfect_reconstructions_reach_the_ceiling(semantics, pictures):
    perfect = measure(semantics, pictures, [torch.arange(18)], made=lambda images: images)
    row = perfect.compute(perfect)
    assert row["posterior_agreement_tiny_classifier"] == pytest.approx(1, abs=1e-6)
    assert row["top1_agreement_tiny_classifier"] == 1
    for judge in ("two_tower", "class_posterior"):
        assert row[f"retrieval_{judge}_r1"] == row[f"retrieval_{judge}_r1_original"]
        assert row[f"alignment_{judge}"] == row[f"alignment_{judge}_original"]


def test_a_head_that_knows_the_captions_finds_them_all(semantics, pictures):
    """Pictures whose features are their captions', under a head with two equal towers."""
    judge = semantics.judge(pictures.captions)
    known = replace(judge, candidates={"class_posterior": torch.eye(5)}, own=torch.arange(18) % 5)
    semantics.class_posterior.classes = torch.eye(5)
    indices = torch.arange(18)
    for shift, expected in ((0, 1.0), (1, 0.0)):
        logits = 50 * torch.eye(5)[(indices + shift) % 5]
        found = SemanticMetrics()
        found.update(known, ImageFeatures(pooled=torch.zeros(18, 6), logits=logits), indices=indices)
        assert found.compute()["retrieval_class_posterior_r1"] == expected


def test_equal_captions_are_one_candidate(semantics, pictures):
    twice = replace(pictures, captions=pictures.captions[:9] * 2)
    judge = semantics.judge(twice.captions)
    assert all(len(captions) == 9 for captions in judge.candidates.values())
    assert judge.own.tolist() == [*range(9), *range(9)]


def test_pictures_without_a_caption_have_agreement_only(semantics, pictures):
    some = replace(pictures, captions=("", *pictures.captions[1:]))
    found = measure(semantics, some, [torch.arange(18)])
    assert math.isnan(found.of(0)["alignment_two_tower"]) and 0 <= found.of(0)[max(NAMES)] <= 1
    rest = [found.of(i)["alignment_two_tower"] for i in range(1, 18)]
    assert found.compute()["alignment_two_tower"] == pytest.approx(sum(rest) / 17)
    none = measure(semantics, replace(pictures, captions=("",) * 18), [torch.arange(18)])
    assert set(none.compute()) == {name for name in NAMES if "agreement" in name}


def test_what_a_network_must_be(semantics, network, pictures):
    with pytest.raises(ValueError, match=r"tiny.*tiny_classifier"):
        replace(semantics, network=network)
    judge = semantics.judge(pictures.captions)
    blind = replace(semantics.network(pictures.images), logits=None)
    with pytest.raises(ValueError, match="gives no logits"):
        SemanticMetrics().update(judge, blind, indices=torch.arange(18))


def test_a_network_that_is_shared_runs_once(semantics, network, pictures):
    features = semantics.network(pictures.images)
    assert semantics.features(pictures.images, known=features, by=semantics.network) is features
    other = network(pictures.images)
    assert semantics.features(pictures.images, known=other, by=network).logits is not None
