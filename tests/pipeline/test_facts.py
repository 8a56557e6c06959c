"""What a configuration amounts to."""

import pytest

from textok.models.bottleneck import BottleneckConfig, FSQConfig, KLConfig, VQConfig
from textok.pipeline.facts import bytes_per_image, model_facts
from tiny import tiny_model


@pytest.mark.parametrize(
    ("bottleneck", "expected"),
    [
        (KLConfig(latent_dim=4), {1: 8, 3: 24}),
        (VQConfig(codebook_size=4096), {1: 2, 2: 3, 3: 5}),  # 12 bits a token, whole bytes a picture
        (FSQConfig(levels=(3, 3)), {1: 1, 2: 1, 3: 2}),  # 9 codes: 4 bits
    ],
)
def test_bytes_of_a_picture(bottleneck: BottleneckConfig, expected: dict[int, int]) -> None:
    model = tiny_model(bottleneck, num_latents=3)
    assert {k: bytes_per_image(model, num_tokens=k) for k in expected} == expected
    assert model_facts(model.config)["bytes_per_image"] == expected[3]
