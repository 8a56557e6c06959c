import pytest
import torch

from textok.objectives.adversarial import LeCam


def test_first_batch_sets_the_anchors():
    lecam = LeCam()
    penalty = lecam(torch.tensor([1.0, 3.0]), torch.tensor([-1.0]))
    assert lecam.anchors.tolist() == [2, -1]
    assert penalty.item() == pytest.approx((2**2 + 4**2) / 2 + 3**2)


def test_anchors_are_running_means():
    lecam = LeCam()
    lecam.decay = 0.75
    lecam(torch.tensor([4.0]), torch.tensor([0.0]))
    lecam(torch.tensor([0.0]), torch.tensor([-4.0]))
    assert lecam.anchors.tolist() == [3, -1]


def test_gradient_pulls_logits_to_the_opposite_anchor():
    lecam = LeCam()
    real, fake = torch.tensor([1.0, 1.0], requires_grad=True), torch.tensor([-1.0, -1.0], requires_grad=True)
    lecam(real, fake).backward()
    assert real.grad.tolist() == [2, 2] and fake.grad.tolist() == [-2, -2]


def test_earlier_penalty_survives_a_later_update():
    lecam, real = LeCam(), torch.tensor([1.0], requires_grad=True)
    lecam.decay = 0.0
    penalty = lecam(real, torch.tensor([0.0]))
    lecam(torch.tensor([9.0]), torch.tensor([9.0]))
    penalty.backward()
    assert real.grad.tolist() == [2]


def test_state_round_trip():
    lecam, other = LeCam(), LeCam()
    lecam(torch.randn(4), torch.randn(4))
    other.load_state_dict(lecam.state_dict())
    real, fake = torch.randn(4), torch.randn(4)
    assert torch.equal(lecam(real, fake), other(real, fake))
    assert torch.equal(lecam.anchors, other.anchors)


def test_weight_keeps_its_meaning_when_the_batch_is_repeated():
    real, fake = torch.randn(4), torch.randn(4)
    torch.testing.assert_close(LeCam()(real, fake), LeCam()(real.repeat(3), fake.repeat(3)))


def test_anchors_are_shared_by_processes(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda means: means.add_(torch.tensor([1.0, -2.0])))
    lecam = LeCam()
    lecam(torch.zeros(2), torch.zeros(2))
    assert lecam.anchors.tolist() == [0.5, -1.0]
