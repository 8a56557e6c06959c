"""What diffusers' tests of autoencoders and pipelines check, written anew for sequences of latents with captions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from torch import Tensor

from textok.models.bottleneck import FSQConfig
from textok.models.conditions import ConditionConfig
from textok.models.dit import DiT, DiTConfig
from textok.pipeline.as_diffusers import AutoencoderTexTok, LatentDistribution, TexTokPipeline
from textok.pipeline.generation import Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer

CAPTIONS = ["a cat", "", "a red box"]


@pytest.fixture
def vae(make_model, letters) -> AutoencoderTexTok:
    return AutoencoderTexTok(ImageTokenizer(make_model(), text_encoder=letters, dtype="float32"))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def pipe(make_model, letters) -> TexTokPipeline:
    tokenizer = ImageTokenizer(make_model(), text_encoder=letters, dtype="float32")
    shape = {"dim": 16, "depth": 1, "num_heads": 2, "num_latents": 4, "latent_dim": 4}
    generator = DiT(DiTConfig(**shape, condition=ConditionConfig(text_dim=12), tokenizer=tokenizer.model_id))
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return TexTokPipeline(Pipeline(generator, tokenizer, dtype="float32"))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shapes_and_config(vae: AutoencoderTexTok, images: Tensor) -> None:
    z = vae.encode(images, CAPTIONS).latent_dist.sample()
    assert z.shape == (3, vae.config.num_latents, vae.config.latent_channels) == (3, 4, 4)
    assert vae.decode(z, CAPTIONS).sample.shape == images.shape
    assert vae.config["sample_size"] == vae.config.sample_size == 32
    assert (vae.config.scaling_factor, vae.config.shift_factor) == (1.0, 0.0)


def test_it_gives_what_the_tokenizer_gives(vae: AutoencoderTexTok, images: Tensor) -> None:
    tokens = vae.tokenizer.encode(images, CAPTIONS)
    z = vae.encode(images, CAPTIONS).latent_dist.mode()
    assert torch.allclose(z, tokens.latents, atol=0.05)  # whose pictures are rounded to 8 bits
    decoded = vae.decode(tokens.latents, CAPTIONS).sample.clamp(-1, 1)
    assert torch.allclose(decoded, vae.tokenizer.decode(tokens, output="float"), atol=1e-5)


def test_forward_is_deterministic_and_a_sample_follows_its_generator(
    vae: AutoencoderTexTok, images: Tensor
) -> None:
    plain, again = vae(images, CAPTIONS).sample, vae(images, CAPTIONS).sample
    first, same, other = (
        vae(images, CAPTIONS, sample_posterior=True, generator=seeded(seed)).sample for seed in (1, 1, 2)
    )
    assert torch.equal(plain, again) and torch.equal(first, same)
    assert not torch.equal(first, other) and not torch.equal(first, plain)


def test_tuples_hold_the_same_as_the_named_outputs(vae: AutoencoderTexTok, images: Tensor) -> None:
    (distribution,) = vae.encode(images, CAPTIONS, return_dict=False)
    (decoded,) = vae.decode(distribution.mode(), CAPTIONS, return_dict=False)
    named = vae(images, CAPTIONS)
    assert torch.equal(decoded, named.sample) and torch.equal(named[0], named.sample)
    with pytest.raises(AttributeError, match="latent_dist"):
        _ = named.latent_dist


def test_slicing_changes_nothing_but_memory(vae: AutoencoderTexTok, images: Tensor) -> None:
    whole = vae(images, CAPTIONS).sample
    vae.enable_slicing()
    assert vae.use_slicing and torch.allclose(vae(images, CAPTIONS).sample, whole, atol=1e-5)
    vae.disable_slicing()
    assert not vae.use_slicing and torch.equal(vae(images, CAPTIONS).sample, whole)


def test_what_is_saved_is_loaded(vae: AutoencoderTexTok, images: Tensor, tmp_path: Path) -> None:
    vae.save_pretrained(tmp_path)
    again = AutoencoderTexTok.from_pretrained(tmp_path)
    assert torch.equal(again(images).sample, vae(images).sample)
    assert again.config == vae.config


def test_to_moves_and_casts(vae: AutoencoderTexTok, images: Tensor) -> None:
    assert vae.dtype == torch.float32 and vae.device == torch.device("cpu")
    assert vae.to(torch.bfloat16) is vae and vae.dtype == torch.bfloat16
    assert vae.model.latent_std.dtype == torch.float32
    assert vae(images, CAPTIONS).sample.isfinite().all()
    assert vae.to("cpu", dtype=torch.float32).dtype == torch.float32
    assert vae.to("meta").device.type == "meta"


def test_gradients_reach_pictures_and_latents_but_no_weights(vae: AutoencoderTexTok, images: Tensor) -> None:
    images.requires_grad_()
    vae(images, CAPTIONS).sample.square().mean().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def test_the_distribution_is_that_of_diffusers() -> None:
    mean, logvar = torch.randn(2, 2, 4, 8, generator=seeded()).unbind()
    ours, theirs = (
        LatentDistribution(mean=mean, logvar=logvar),
        DiagonalGaussianDistribution(torch.cat([mean, logvar], dim=1)),
    )
    assert torch.equal(ours.sample(seeded(3)), theirs.sample(seeded(3)))
    assert torch.equal(ours.mode(), theirs.mode()) and torch.equal(ours.std, theirs.std)
    assert torch.allclose(ours.var, theirs.var)


def test_codes_are_a_point(make_model, letters, images: Tensor) -> None:
    model = make_model(FSQConfig(levels=(8, 5, 5, 5)))
    vae = AutoencoderTexTok(ImageTokenizer(model, text_encoder=letters, dtype="float32"))
    distribution = vae.encode(images, CAPTIONS, num_tokens=2).latent_dist
    assert torch.equal(distribution.sample(), distribution.mode()) and distribution.mean.shape == (3, 2, 4)


def test_the_pipeline_takes_the_arguments_of_diffusers(pipe: TexTokPipeline) -> None:
    steps: list[tuple[int, float]] = []
    settings = {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt": "a dog", "num_tokens": 3}
    output = pipe(
        ["a cat", "a box"],
        **settings,
        num_images_per_prompt=2,
        generator=seeded(1),
        callback_on_step_end=lambda _pipe, index, left, _values: steps.append((index, left)),
    )
    assert len(output.images) == 4 and all(isinstance(image, Image.Image) for image in output.images)
    assert steps == [(0, 0.5), (1, 0.0)]
    expected = pipe.pipeline(
        ["a cat", "a box"],
        steps=2,
        guidance=2.0,
        negative_prompt="a dog",
        num_tokens=3,
        num_images=2,
        generator=seeded(1),
    )
    assert [one.tobytes() for one in output.images] == [one.tobytes() for one in expected]


def test_pictures_come_as_arrays_and_tensors_too(pipe: TexTokPipeline) -> None:
    (pil,) = pipe("a cat", num_inference_steps=2, return_dict=False)
    array = pipe("a cat", num_inference_steps=2, output_type="np").images
    tensor = pipe("a cat", num_inference_steps=2, output_type="pt").images
    assert array.shape == (1, 32, 32, 3) and tensor.shape == (1, 3, 32, 32)
    assert np.array_equal(np.rint(array[0] * 255).astype(np.uint8), np.asarray(pil[0]))
    assert torch.equal(tensor.movedim(1, -1), torch.from_numpy(array))
    with pytest.raises(ValueError, match="output_type: got 'latent'"):
        pipe("a cat", output_type="latent")


def test_the_pipeline_moves_and_casts(pipe: TexTokPipeline) -> None:
    assert pipe.to(torch.bfloat16).vae.dtype == torch.bfloat16
    assert pipe.vae.tokenizer is pipe.pipeline.tokenizer
