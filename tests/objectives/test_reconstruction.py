import pytest
import torch

from textok.objectives.reconstruction import l1_loss, l2_loss


def test_values_by_hand():
    images, targets = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), -0.5)
    assert l2_loss(images, targets / 3).item() == pytest.approx(4 / 9)
    assert l1_loss(images, targets).item() == 1


@pytest.mark.parametrize("loss", [l2_loss, l1_loss])
def test_weight_keeps_its_meaning(loss, pictures):
    images = pictures + 0.1 * torch.randn_like(pictures)
    expected = loss(images, pictures)
    torch.testing.assert_close(loss(images.repeat(1, 1, 2, 2), pictures.repeat(1, 1, 2, 2)), expected)
    torch.testing.assert_close(loss(images.repeat(3, 1, 1, 1), pictures.repeat(3, 1, 1, 1)), expected)


def test_computed_in_fp32(pictures):
    assert l2_loss(pictures.bfloat16(), pictures.bfloat16()).dtype == torch.float32
