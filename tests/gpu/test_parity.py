"""A GPU computes what a CPU computes: pictures, losses and gradients, for every bottleneck and decoder."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from textok.models.bottleneck import AEConfig, BottleneckConfig, FSQConfig, KLConfig, NormConfig, VQConfig
from textok.models.decoder import FlowDecoderConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.objectives.perceptual import EfficientNetPerceptualLoss
from textok.training.optimizers import OptimizerConfig, StackedMuon, build_optimizers

SIZES = {"image_size": 64, "patch_size": 8, "dim": 64, "encoder_depth": 2, "decoder_depth": 2, "num_heads": 2}
CPU = torch.device("cpu")
BOTTLENECKS = {
    "ae": AEConfig(latent_dim=8),
    "kl": KLConfig(latent_dim=8),
    "norm": NormConfig(latent_dim=8),
    "fsq": FSQConfig(levels=(8, 8, 8)),
    "vq": VQConfig(codebook_size=64, latent_dim=8),
}
Inputs = tuple[torch.Tensor, TextCondition, torch.Tensor]


def build(bottleneck: BottleneckConfig, **changes: object) -> TexTok:
    torch.manual_seed(0)
    model = TexTok(TexTokConfig(**SIZES, num_latents=8, text_dim=24, bottleneck=bottleneck, **changes))
    for parameter in model.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))  # so that what begins at zero shows
    return model


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 64, 64, generator=random) * 2 - 1
    states = [torch.randn(length, 24, generator=random) for length in (9, 0, 4, 17, 1)]
    return images, TextCondition.pad(states), torch.tensor([1, 8, 3, 4, 8])


def moved(inputs: Inputs, device: torch.device) -> Inputs:
    images, text, lengths = inputs
    return images.to(device), text.to(device), lengths


@pytest.mark.parametrize("kind", BOTTLENECKS)
def test_tokens_and_pictures_are_those_of_a_cpu(kind: str, inputs: Inputs, device: torch.device) -> None:
    model = build(BOTTLENECKS[kind]).eval()
    twin = deepcopy(model).to(device)
    with torch.no_grad():
        images, text, lengths = inputs
        expected = model.encode(images, text)
        there, text_there, _ = moved(inputs, device)
        made = twin.encode(there, text_there)
        if expected.codes is None:
            assert_close(made.latents.cpu(), expected.latents, atol=2e-4, rtol=2e-4)
        else:  # a number at the border of two codes may fall to either side
            assert (made.codes.cpu() == expected.codes).float().mean() > 0.95
        pictures = model.decode(expected.latents, text, lengths=lengths)
        decoded = twin.decode(expected.latents.to(device), text_there, lengths=lengths)
    assert_close(decoded.cpu(), pictures, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_flow_decoder_decodes_alike(steps: int, inputs: Inputs, device: torch.device) -> None:
    model = build(NormConfig(latent_dim=8), decoder=FlowDecoderConfig()).eval()
    twin = deepcopy(model).to(device)
    images, text, _ = inputs
    with torch.no_grad():
        latents = model.encode(images, text).latents
        expected = model.decode(latents, text, steps=steps)
        made = twin.decode(latents.to(device), text.to(device), steps=steps)
    assert_close(made.cpu(), expected, atol=5e-4, rtol=5e-4)


def gradients(model: TexTok, inputs: Inputs) -> dict[str, torch.Tensor]:
    images, text, lengths = inputs
    model.zero_grad()
    made = model(images, text, lengths=lengths)
    (made.images - images).square().mean().backward()
    return {name: p.grad.cpu().clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_near(made: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], share: float) -> None:
    """Each tensor differs by less than this share of its own norm."""
    assert made.keys() == expected.keys()
    for name, value in expected.items():
        assert (made[name].float() - value).norm() <= share * value.norm() + 1e-8, name


def test_gradients_are_those_of_a_cpu(inputs: Inputs, device: torch.device) -> None:
    model = build(AEConfig(latent_dim=8))
    expected = gradients(model, inputs)
    assert_near(gradients(deepcopy(model).to(device), moved(inputs, device)), expected, 1e-3)


def test_bfloat16_stays_near(inputs: Inputs, device: torch.device) -> None:
    model = build(AEConfig(latent_dim=8))
    expected = gradients(model, inputs)
    with torch.autocast(device.type, torch.bfloat16):
        made = gradients(deepcopy(model).to(device), moved(inputs, device))
    error, size = (
        torch.cat([t.flatten().float() for t in tensors]).norm()
        for tensors in ([made[name] - value for name, value in expected.items()], list(expected.values()))
    )
    assert error < 0.05 * size


def test_the_perceptual_term_is_that_of_a_cpu(inputs: Inputs, device: torch.device) -> None:
    images = inputs[0]
    other = images.flip(0)
    expected = EfficientNetPerceptualLoss()(images, other)
    made = EfficientNetPerceptualLoss().to(device)(images.to(device), other.to(device))
    assert_close(made.cpu(), expected, atol=1e-3, rtol=1e-3)


def test_muon_moves_weights_alike(device: torch.device) -> None:
    def moved_weights(where: torch.device, dtype: torch.dtype) -> torch.Tensor:
        random = torch.Generator().manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(64, 128, generator=random).to(where))
        optimizer = StackedMuon([weight], dtype=dtype, lr=0.1, weight_decay=0.0)
        weight.grad = torch.randn(64, 128, generator=random).to(where)
        before = weight.detach().cpu().clone()
        optimizer.step()
        return weight.detach().cpu() - before

    expected = moved_weights(CPU, torch.float32)
    assert (moved_weights(device, torch.float32) - expected).norm() < 1e-3 * expected.norm()
    assert (moved_weights(device, torch.bfloat16) - expected).norm() < 0.2 * expected.norm()


@pytest.fixture
def no_waiting(device: torch.device) -> Callable[[bool], None]:
    """A switch: while it is on, whatever makes the host wait for the GPU raises."""

    def switch(on: bool) -> None:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error" if on else "default")

    return switch


@pytest.mark.parametrize("flow", [False, True])
def test_a_step_does_not_wait_for_the_device(
    flow: bool, inputs: Inputs, device: torch.device, no_waiting: Callable[[bool], None]
) -> None:
    changes = {"decoder": FlowDecoderConfig()} if flow else {}
    model = build(NormConfig(latent_dim=8), **changes).to(device)
    optimizers = build_optimizers(model, OptimizerConfig(), dtype=torch.bfloat16)
    perceptual = EfficientNetPerceptualLoss().to(device)
    noise = torch.Generator(device).manual_seed(0)
    images, text, lengths = moved(inputs, device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            made = model(images, text, lengths=lengths, generator=noise)
        ((made.images - images).square().mean() + perceptual(made.images, images)).backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)

    step()  # buffers of the optimizers, plans of kernels
    no_waiting(True)
    step()
    no_waiting(False)
