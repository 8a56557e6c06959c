"""Semantic accuracy: retrieval, agreement of posteriors, pictures without captions."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textok.evaluation.alignment import ClassPosterior, Semantics, posterior_agreement, top1_agreement
from textok.evaluation.metrics import means
from textok.evaluation.networks import ImageFeatures
from textok.pipeline.text import RememberedText

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


def measure(semantics, pictures, *, made=damaged) -> dict[str, torch.Tensor]:
    """Values of damaged pictures, by metric."""
    return semantics.judge(pictures.captions).measure(
        torch.arange(len(pictures)),
        semantics.network(made(pictures.images)),
        semantics.network(pictures.images),
    )


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


def test_a_part_of_the_pictures_has_the_values_that_it_has_in_the_whole(semantics, pictures):
    whole, indices = measure(semantics, pictures), torch.arange(1, 18, 2)
    features = [semantics.network(images[indices]) for images in (damaged(pictures.images), pictures.images)]
    part = semantics.judge(pictures.captions).measure(indices, *features)
    assert set(whole) == set(part) == NAMES
    for name, values in part.items():
        torch.testing.assert_close(values, whole[name][indices], atol=1e-5, rtol=0)


def test_perfect_reconstructions_agree_and_find_what_the_originals_find(semantics, pictures):
    perfect = measure(semantics, pictures, made=lambda images: images)
    assert perfect["posterior_agreement_tiny_classifier"].numpy() == pytest.approx(1, abs=1e-6)
    assert (perfect["top1_agreement_tiny_classifier"] == 1).all()
    judge = semantics.judge(pictures.captions)
    originals = judge.measure(torch.arange(18), semantics.network(pictures.images))
    assert set(originals) == {name for name in NAMES if "agreement" not in name}
    for name, values in originals.items():
        assert torch.equal(values, perfect[name])


def test_a_head_that_knows_the_captions_finds_them_all(semantics, pictures):
    """Pictures whose features are their captions', under a head with two equal towers."""
    judge = semantics.judge(pictures.captions)
    known = replace(judge, candidates={"class_posterior": torch.eye(5)}, caption_indices=torch.arange(18) % 5)
    semantics.class_posterior.classes = torch.eye(5)
    indices = torch.arange(18)
    for shift, expected in ((0, 1.0), (1, 0.0)):
        logits = 50 * torch.eye(5)[(indices + shift) % 5]
        values = known.measure(indices, ImageFeatures(pooled=torch.zeros(18, 6), logits=logits))
        assert (values["retrieval_class_posterior_r1"] == expected).all()


def test_equal_captions_are_one_candidate(semantics, pictures):
    twice = replace(pictures, captions=pictures.captions[:9] * 2)
    judge = semantics.judge(twice.captions)
    assert all(len(captions) == 9 for captions in judge.candidates.values())
    assert judge.caption_indices.tolist() == [*range(9), *range(9)]


def test_pictures_without_a_caption_have_agreement_only(semantics, pictures):
    some = replace(pictures, captions=("", *pictures.captions[1:]))
    values = measure(semantics, some)
    assert values["alignment_two_tower"][0].isnan() and 0 <= values[max(NAMES)][0] <= 1
    rest = values["alignment_two_tower"][1:].tolist()
    assert means(values)["alignment_two_tower"] == pytest.approx(sum(rest) / 17)
    none = measure(semantics, replace(pictures, captions=("",) * 18))
    assert set(none) == {name for name in NAMES if "agreement" in name}


def test_what_a_network_must_be(semantics, network, pictures):
    with pytest.raises(ValueError, match=r"tiny.*tiny_classifier"):
        replace(semantics, network=network)
    judge = semantics.judge(pictures.captions)
    blind = replace(semantics.network(pictures.images), logits=None)
    with pytest.raises(ValueError, match="gives no logits"):
        judge.measure(torch.arange(18), blind)


def test_a_network_that_is_shared_runs_once(semantics, network, pictures):
    features = semantics.network(pictures.images)
    assert semantics.features(pictures.images, features, semantics.network) is features
    other = network(pictures.images)
    assert semantics.features(pictures.images, other, network).logits is not None


@pytest.mark.parametrize(("max_tokens", "shared"), [(40, True), (20, False)])
def test_the_judges_share_a_text_encoder_that_is_their_own(monkeypatch, max_tokens, shared):
    monkeypatch.setattr(ClassPosterior, "imagenet", classmethod(lambda cls, **_: cls(torch.eye(4))))
    text = RememberedText("minilm", max_tokens=max_tokens)
    assert (Semantics.from_pretrained(text=text).text is text) == shared
