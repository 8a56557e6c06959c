"""Generators on cached latents or codes: ``textok train generator NAME --latents CACHE --out RUN``."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from textok.models.conditions import ConditionConfig
from textok.models.dit import SIZES, DiTConfig
from textok.models.maskgit import MaskGITConfig
from textok.training.generator.config import GeneratorRun, PreviewConfig
from textok.training.optimizers import OptimizerConfig
from textok.training.run import BudgetDraw

# --- small, on the pictures of this repository ----------------------------------------------------------


def icons_128_dit() -> GeneratorRun:
    """Text to image on icons-128 latents: DiT of 8 blocks, width 384, any budget up to 32; 23M parameters."""
    return GeneratorRun(
        name="icons-128",
        model=DiTConfig(dim=384, depth=8, num_heads=6),
        latents="latents/icons-128-train",
        optimizer=OptimizerConfig(kind="muon", lr=1.5e-3, weight_decay=0.01, warmup_steps=200),
        budgets=BudgetDraw(kind="log_uniform", full_share=0.4, per_sample=False),
        preview=PreviewConfig(held_out="latents/icons-128-val", every=500, count=610),
        steps=7000,
        batch_size=64,
        checkpoint_every=250,
    )


def icons_128_maskgit() -> GeneratorRun:
    """Text to image on the codes of an icons-128-fsq tokenizer: MaskGIT of 8 blocks, width 384."""
    run = icons_128_dit()
    return replace(
        run,
        name="icons-128-maskgit",
        model=MaskGITConfig(
            dim=384, depth=8, num_heads=6, num_latents=32, num_codes=64_000, factors=2, base=512
        ),
        latents="latents/icons-128-fsq-train",
        preview=PreviewConfig(held_out="latents/icons-128-fsq-val", steps=12),
    )


def scenes_128_generator() -> GeneratorRun:
    """Text to image on scenes-128 latents: the DiT of icons-128-dit, prompts of all three densities."""
    run = icons_128_dit()
    return replace(
        run,
        name="scenes-128",
        latents="latents/scenes-128-train",
        preview=replace(run.preview, held_out="latents/scenes-128-val"),
        steps=25_000,
    )


def icons_64_dit() -> GeneratorRun:
    """The generation study's DiT on icons-64 latents: 6 blocks, width 256, any budget up to 32; 8M parameters."""
    run = icons_128_dit()
    return replace(
        run,
        name="icons-64",
        model=DiTConfig(dim=256, depth=6, num_heads=4),
        latents="latents/icons-64-train",
        preview=PreviewConfig(every=500, count=305),
        steps=2000,
    )


def toy_dit() -> GeneratorRun:
    """A few seconds on any machine: two narrow blocks; shows that the chain works, no more."""
    return GeneratorRun(
        name="toy-dit",
        model=DiTConfig(dim=64, depth=2, num_heads=2),
        latents="latents/toy",
        optimizer=OptimizerConfig(warmup_steps=5),
        preview=PreviewConfig(every=20, steps=2, prompts=("a red apple",)),
        steps=20,
        batch_size=16,
        log_every=5,
        checkpoint_every=10,
    )


# --- the paper's rows -----------------------------------------------------------------------------------


def imagenet(resolution: int, num_latents: int, *, size: str = "XL") -> GeneratorRun:
    """Class-conditional DiT on the latents of a TexTok-N, with the detokenizer's caption drawn from the class.

    350 epochs of 1,281,167 pictures and 10 % dropped classes; batch size, rate and flow objective are ours, for
    the paper's are not known (Zha et al. 2025, section 4).
    """
    depth, width, heads = SIZES[size]
    return GeneratorRun(
        name=f"imagenet-{resolution}-dit-{size}-{num_latents}".lower(),
        model=DiTConfig(
            dim=width,
            depth=depth,
            num_heads=heads,
            num_latents=num_latents,
            condition=ConditionConfig(kind="class", num_classes=1000),
        ),
        latents=f"latents/imagenet-{resolution}-b-{num_latents}",
        optimizer=OptimizerConfig(
            kind="adamw", lr=2e-4, betas=(0.9, 0.95), weight_decay=0.0, warmup_steps=1000, final_lr=1.0
        ),
        budgets=BudgetDraw(kind="fixed"),
        preview=PreviewConfig(every=25_000, budgets=(num_latents,), steps=50),
        ema_decay=0.9999,
        steps=350 * 1_281_167 // 1024,
        batch_size=1024,
        micro_batch=128,
        log_every=100,
        checkpoint_every=5000,
    )


def _imagenet_recipe(resolution: int, num_latents: int, size: str) -> Callable[[], GeneratorRun]:
    recipe = partial(imagenet, resolution, num_latents, size=size)
    recipe.__doc__ = f"DiT-{size} on {num_latents} TexTok tokens of {resolution} px, by class; needs GPUs."
    return recipe


GENERATOR_RECIPES: dict[str, Callable[[], GeneratorRun]] = {
    "icons-128-dit": icons_128_dit,
    "icons-64-dit": icons_64_dit,
    "icons-128-maskgit": icons_128_maskgit,
    "scenes-128-generator": scenes_128_generator,
    "toy-dit": toy_dit,
} | {
    f"imagenet-{resolution}-dit-{size}-{k}".lower(): _imagenet_recipe(resolution, k, size)
    for resolution in (256, 512)
    for size in ("L", "XL")
    for k in (32, 64, 128, 256)
}
