"""Every recipe builds at its full size, and a small twin of it takes a step and survives a save."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from textok.models.generators import build_generator
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, count_parameters
from textok.objectives.discriminator import Discriminator, DiscriminatorConfig
from textok.objectives.reconstruction import ReconstructionObjective
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.training.optimizers import build_optimizers
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import DiscriminatorTraining, MicroBatch, total

PAPER = [(256, 8, 2048, "xl"), (512, 16, 4096, "xxl")]


def meta(run: TokenizerRun) -> TexTok:
    """The model at full size, without memory."""
    with torch.device("meta"):
        return TexTok(run.model)


def twin(run: TokenizerRun) -> TokenizerRun:
    """The same structure at 32 px with one narrow block per side and a discriminator from this first step on."""
    model = replace(
        run.model, image_size=32, patch_size=8, dim=32, num_heads=2, encoder_depth=1, decoder_depth=1,
        num_latents=min(4, run.model.num_latents), text_dim=16,
    )  # fmt: skip
    adversarial = run.adversarial and replace(run.adversarial, start_step=0, discriminator_warmup_steps=0)
    small = run.adversarial and DiscriminatorConfig(base=8, multipliers=(1.0, 1.0), stem_stride=2)
    data = replace(run.data, size=(32, 32))
    return replace(run, model=model, adversarial=adversarial, discriminator=small, data=data)


@pytest.mark.parametrize("name", GENERATOR_RECIPES)
def test_a_generator_recipe_builds(name: str) -> None:
    run = GENERATOR_RECIPES[name]()
    assert GENERATOR_RECIPES[name].__doc__
    condition = replace(run.model.condition, num_classes=1000 if run.model.condition.kind == "class" else 0)
    with torch.device("meta"):
        model = build_generator(replace(run.model, condition=condition))
    moved = [p for o in build_optimizers(model, run.optimizer) for g in o.param_groups for p in g["params"]]
    assert sum(p.numel() for p in moved) == count_parameters(model)
    if "dit-xl" in name:
        assert count_parameters(model) == pytest.approx(675e6, rel=0.02)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds(name: str) -> None:
    run = RECIPES[name]()
    assert run.name == name
    assert RECIPES[name].__doc__
    model = meta(run)
    moved = [p for o in build_optimizers(model, run.optimizer) for g in o.param_groups for p in g["params"]]
    assert sum(p.numel() for p in moved) == count_parameters(model)
    if run.adversarial is not None:
        widths = run.discriminator or DiscriminatorConfig.for_resolution(run.model.image_size)
        assert run.model.image_size % widths.reduction == 0
        with torch.device("meta"):
            assert count_parameters(Discriminator(widths)) > 1e6


@pytest.mark.parametrize("name", RECIPES)
def test_a_small_twin_takes_a_step(name: str, tmp_path: Path) -> None:
    run = twin(RECIPES[name]())
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = TexTok(run.model)
    images = torch.rand(4, 3, 32, 32, generator=random) * 2 - 1
    states = [torch.randn(n, 16, generator=random) for n in (3, 0, 5, 1)]
    text = TextCondition.pad(states)
    lengths = run.budgets.lengths(4, most=run.model.num_latents, generator=random)
    made = model.train()(images, text, lengths=lengths, generator=random)
    terms = ReconstructionObjective(run.loss)(made, images)
    AcceleratorState._reset_state(reset_partial_state=True)
    discriminator = DiscriminatorTraining(run, model, Accelerator(cpu=True))
    terms |= discriminator.generator_term(made.images, terms, step=0)
    part = MicroBatch(images, text, None, lengths, noise=random, share=1.0, last=True)
    judged = discriminator.accumulate(part, made.images, step=0)
    norms = discriminator.gradient_norms(step=0)
    if run.adversarial is not None:
        assert "adversarial" in terms and judged.keys() >= {"lecam", "r1"}
        assert 0 < float(norms["discriminator_grad_norm"]) < torch.inf
    total(terms).backward()
    gradients = {key: p.grad for key, p in model.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())
    for optimizer in build_optimizers(model, run.optimizer):
        optimizer.step()
    model.save_pretrained(tmp_path, name=run.name)
    model.eval()
    loaded = TexTok.from_pretrained(tmp_path)
    assert loaded.config == run.model and loaded.model_id == model.model_id.replace("untrained", run.name)
    with torch.no_grad():
        encoded, again = model.encode(images, text), loaded.encode(images, text)
        torch.testing.assert_close(again.latents, encoded.latents)
        torch.testing.assert_close(loaded.decode(again.latents, text), model.decode(encoded.latents, text))


@pytest.mark.parametrize(("resolution", "patch", "text_dim", "encoder"), PAPER)
@pytest.mark.parametrize("tokens", [32, 64, 128, 256])
def test_the_rows_of_the_paper(resolution: int, patch: int, text_dim: int, encoder: str, tokens: int) -> None:
    run = RECIPES[f"imagenet-{resolution}-b-{tokens}"]()
    model = run.model
    assert (model.image_size, model.patch_size, model.num_patches) == (resolution, patch, 1024)
    assert (model.num_latents, model.latent_dim, model.text_dim) == (tokens, 8, text_dim)
    assert model.text_encoder.endswith(f"-{encoder}") and model.max_text_tokens == 128
    assert (model.encoder_depth, model.decoder_depth, model.dim, model.num_heads) == (12, 12, 768, 12)
    built = meta(run)
    assert count_parameters(built.encoder) + count_parameters(built.decoder) == pytest.approx(176e6, rel=0.02)
    assert run.budgets.kind == "fixed" and run.validation.budgets == (tokens,)
    assert (run.adversarial.weight, run.adversarial.lecam_weight, run.adversarial.r1_weight) == (
        0.1,
        1e-4,
        10,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_pooled_captions_do_not_start_behind_a_bias(name: str) -> None:
    model = RECIPES[name]().model
    assert model.text_pool is None or model.text_bias is None  # benchmarks/caption_reading.py says why


def test_the_default_is_about_ten_million() -> None:
    assert count_parameters(meta(RECIPES["icons-128"]())) == pytest.approx(10e6, rel=0.15)


def test_sizes_are_ordered() -> None:
    small, base, large = (count_parameters(meta(RECIPES[f"imagenet-256-{size}-128"]())) for size in "sbl")
    assert small < base / 2 and large > 3 * base
