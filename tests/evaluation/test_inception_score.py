"""The Inception score in its closed forms."""

import math

import pytest
import torch

from textok.evaluation.metrics.sets import inception_score


def sure_of(classes, count):
    return torch.log(torch.nn.functional.one_hot(torch.as_tensor(classes), count).double())


def test_sure_of_every_class_alike_scores_the_number_of_classes():
    assert inception_score(sure_of(list(range(5)) * 20, 5), splits=4) == pytest.approx((5.0, 0.0), abs=1e-9)


def test_unsure_or_always_the_same_class_scores_one():
    assert inception_score(torch.zeros(30, 7)) == pytest.approx((1.0, 0.0))
    assert inception_score(sure_of([3] * 30, 7)) == pytest.approx((1.0, 0.0))


def test_two_pictures_by_hand():
    """p = (a, 1 - a) and (1 - a, a): the marginal is even, the score 2 exp(-entropy of a)."""
    a = 0.8
    logits = torch.tensor([[a, 1 - a], [1 - a, a]]).log() + 3.0  # a constant changes nothing
    expected = 2 * math.exp(a * math.log(a) + (1 - a) * math.log(1 - a))
    assert inception_score(logits, splits=1) == pytest.approx((expected, 0.0), rel=1e-6)


def test_splits_are_runs_of_the_order_given():
    first, second = sure_of([0, 1] * 10, 4), sure_of([0, 1, 2, 3] * 5, 4)
    assert inception_score(torch.cat((first, second)), splits=2) == pytest.approx((3.0, 1.0), abs=1e-9)


def test_more_splits_than_pictures_are_refused():
    with pytest.raises(ValueError, match="10 splits of 4"):
        inception_score(torch.zeros(4, 3))
