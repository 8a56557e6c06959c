"""Tokenizers: the small ones on the pictures of this repository, and the rows of the paper."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from textok.data import DataConfig
from textok.models.bottleneck import AEConfig, FSQConfig, KLConfig, NormConfig, VQConfig
from textok.models.decoder import FlowDecoderConfig
from textok.models.tokenizer import TexTokConfig
from textok.objectives.adversarial import AdversarialConfig
from textok.objectives.discriminator import DiscriminatorConfig
from textok.objectives.reconstruction import FlowLossConfig, LossConfig
from textok.training.optimizers import OptimizerConfig
from textok.training.run import BudgetDraw
from textok.training.tokenizer.config import TokenizerRun, ValidationConfig

ICONS = DataConfig(source="icons", split="train")
IMAGENET = DataConfig(source="data/imagenet-captioned", split="train", workers=8, keep_decoded_mb=0)

# width, heads, blocks on either side
SIZES = {"S": (512, 8, 8), "B": (768, 12, 12), "L": (1024, 16, 24)}
# T5 1.1 on, tuned on instructions: the paper's T5 1.1 itself is not published as safetensors, nothing else is read
T5_XL, T5_XXL = ("google/flan-t5-xl", 2048), ("google/flan-t5-xxl", 4096)


# --- small, on the pictures of this repository ----------------------------------------------------------


def icons_128() -> TokenizerRun:
    """The small default: 128 px drawings, K = 32 elastic kl tokens, MiniLM text, 10M parameters."""
    return TokenizerRun(
        name="icons-128",
        data=ICONS,
        loss=LossConfig(l2=1.0, perceptual=0.04, perceptual_share=0.125),
        optimizer=OptimizerConfig(kind="muon", lr=1e-3, warmup_steps=200),
        budgets=BudgetDraw(kind="log_uniform", full_share=0.25),
        steps=3800,
        batch_size=64,
    )


def icons_128_gan() -> TokenizerRun:
    """A GAN phase on top of the shipped icons-128 weights, with a small discriminator."""
    run = icons_128()
    return replace(
        run,
        name="icons-128-gan",
        init_from="icons-128",
        adversarial=AdversarialConfig(weight=0.01, start_step=0, discriminator_warmup_steps=200),
        discriminator=DiscriminatorConfig.small(128),
        optimizer=replace(run.optimizer, lr=1e-4, warmup_steps=50),
        steps=1000,
        validation=replace(run.validation, every=250, best_by="fd_effnet_lite2"),
    )


def icons_128_ae() -> TokenizerRun:
    """icons-128 with plain autoencoder latents."""
    return _with_bottleneck("ae", AEConfig())


def icons_128_fsq() -> TokenizerRun:
    """icons-128 with finite scalar quantization: 64,000 codes, 16 bits a token."""
    return _with_bottleneck("fsq", FSQConfig())


def icons_128_vq() -> TokenizerRun:
    """icons-128 with vector quantization: 4,096 codes, 12 bits a token."""
    return _with_bottleneck("vq", VQConfig())


def _with_bottleneck(kind: str, bottleneck: AEConfig | FSQConfig | VQConfig) -> TokenizerRun:
    run = icons_128()
    return replace(run, name=f"icons-128-{kind}", model=replace(run.model, bottleneck=bottleneck))


def icons_64() -> TokenizerRun:
    """The small default at 64 px, patch 8, 4M parameters: an arm of the caption study."""
    run = icons_128()
    return replace(
        run,
        name="icons-64",
        model=replace(
            run.model, image_size=64, patch_size=8, dim=192, num_heads=3, encoder_depth=4, decoder_depth=4
        ),
        data=replace(run.data, size=(64, 64)),
        steps=2000,
        batch_size=32,
        micro_batch=32,
        checkpoint_every=250,
    )


def toy() -> TokenizerRun:
    """A few seconds on any machine: 32 px, two blocks a side; shows that the chain works, no more."""
    return TokenizerRun(
        name="toy",
        model=TexTokConfig(
            image_size=32, patch_size=8, dim=64, encoder_depth=2, decoder_depth=2, num_heads=2, num_latents=8
        ),
        data=replace(ICONS, split="val", size=(32, 32)),
        loss=LossConfig(perceptual=0.0),
        optimizer=OptimizerConfig(warmup_steps=5),
        steps=20,
        batch_size=16,
        validation=ValidationConfig(count=32, every=20, budgets=(1, 4, 8)),
        log_every=5,
        checkpoint_every=10,
    )


# --- scenes: composed pictures without end, whose captions tell what is in them ----------------------------


def scenes_64_direct() -> TokenizerRun:
    """Scenes at 64 px, patch 8, width 192, 4 and 6 blocks, one pass from tokens to pixels; an arm of the study."""
    return TokenizerRun(
        name="scenes-64-direct",
        model=TexTokConfig(
            image_size=64,
            patch_size=8,
            dim=192,
            num_heads=3,
            encoder_depth=4,
            decoder_depth=6,
            bottleneck=NormConfig(latent_dim=8),
            max_text_tokens=96,
            text_path="keys",
        ),
        data=DataConfig(source="scenes", split="train", size=(64, 64)),
        loss=LossConfig(l2=1.0, perceptual=0.1),
        optimizer=OptimizerConfig(kind="muon", lr=1e-3, warmup_steps=250),
        budgets=BudgetDraw(kind="powers", full_share=0.25, empty_share=0.2),
        decoder_caption_dropout=0.1,
        words_first=0.4,
        steps=6250,
        batch_size=64,
        validation=ValidationConfig(every=1250, budgets=(1, 2, 4, 8, 16, 32)),
    )


def scenes_64_flow() -> TokenizerRun:
    """scenes-64-direct with the decoder that generates."""
    return _with_flow(scenes_64_direct(), name="scenes-64-flow")


def scenes_128() -> TokenizerRun:
    """Scenes at 128 px with a flow decoder and dense captions of up to 96 tokens; starts from icons-128."""
    run, start = scenes_64_flow(), icons_128().model
    return replace(
        run,
        name="scenes-128",
        model=replace(
            start,
            bottleneck=KLConfig(weight=1e-3),  # direct rows weigh five times as much as those of icons-128
            decoder=run.model.decoder,
            max_text_tokens=96,
            text_path="keys",
        ),
        data=replace(run.data, size=(128, 128)),
        optimizer=replace(run.optimizer, warmup_steps=200),
        init_from="icons-128",
        steps=25_000,
    )


def scenes_128_fsq() -> TokenizerRun:
    """scenes-128 with finite scalar quantization: 64,000 codes, 16 bits per token."""
    run = scenes_128()
    return replace(run, name="scenes-128-fsq", model=replace(run.model, bottleneck=FSQConfig()), steps=8000)


def _with_flow(run: TokenizerRun, *, name: str) -> TokenizerRun:
    """The same run with a flow decoder; its direct rows weigh five times as much, so that both kinds are heard."""
    return replace(
        run,
        name=name,
        model=replace(run.model, decoder=FlowDecoderConfig()),
        loss=replace(run.loss, l2=5 * run.loss.l2, perceptual=5 * run.loss.perceptual, flow=FlowLossConfig()),
    )


# --- the paper's rows -----------------------------------------------------------------------------------


def imagenet(resolution: int, num_latents: int, *, size: str = "B") -> TokenizerRun:
    """A row of the paper's tables: TexTok-N at 256 px (patch 8, T5-XL) or 512 px (patch 16, T5-XXL).

    Weights, optimizer and schedule follow what is known of the paper (Zha et al. 2025, section 4); its batch
    size is not known, 256 is ours. 270 epochs of 1,281,167 pictures.
    """
    width, heads, depth = SIZES[size]
    encoder, text_dim = T5_XL if resolution == 256 else T5_XXL
    steps = 270 * 1_281_167 // 256
    adam = OptimizerConfig(kind="adamw", lr=1e-4, betas=(0.0, 0.99), weight_decay=0.0, warmup_steps=0)
    return TokenizerRun(
        name=f"imagenet-{resolution}-{size}-{num_latents}".lower(),
        model=TexTokConfig(
            image_size=resolution,
            patch_size=resolution // 32,
            dim=width,
            num_heads=heads,
            encoder_depth=depth,
            decoder_depth=depth,
            num_latents=num_latents,
            bottleneck=AEConfig(latent_dim=8),
            text_encoder=encoder,
            text_dim=text_dim,
            max_text_tokens=128,
            text_dtype="bfloat16",
            text_bias=None,  # is ours, and the paper's rows are long trainings
        ),
        data=replace(IMAGENET, size=(resolution, resolution)),
        loss=LossConfig(l2=1.0, perceptual=0.1),
        optimizer=replace(adam, kind="adam", warmup_steps=4000, final_lr=0.0),
        discriminator_optimizer=adam,
        adversarial=AdversarialConfig(),
        budgets=BudgetDraw(kind="fixed"),
        text_states="online",  # stored, those of 1.28 million captions take hundreds of gigabytes
        steps=steps,
        batch_size=256,
        micro_batch=32,
        validation=ValidationConfig(count=5000, every=10_000, budgets=(num_latents,)),
        log_every=100,
        checkpoint_every=2000,
    )


def _imagenet_recipe(resolution: int, num_latents: int, size: str) -> Callable[[], TokenizerRun]:
    recipe = partial(imagenet, resolution, num_latents, size=size)
    text = "T5-XL" if resolution == 256 else "T5-XXL"
    where = f"{resolution} px, patch {resolution // 32}, {text}"
    recipe.__doc__ = f"TexTok-{size}, {num_latents} tokens, {where}; needs GPUs."
    return recipe


RECIPES: dict[str, Callable[[], TokenizerRun]] = {
    "icons-128": icons_128,
    "icons-128-gan": icons_128_gan,
    "icons-128-ae": icons_128_ae,
    "icons-128-fsq": icons_128_fsq,
    "icons-128-vq": icons_128_vq,
    "icons-64": icons_64,
    "scenes-64-direct": scenes_64_direct,
    "scenes-64-flow": scenes_64_flow,
    "scenes-128": scenes_128,
    "scenes-128-fsq": scenes_128_fsq,
    "toy": toy,
} | {
    f"imagenet-{resolution}-{size}-{k}".lower(): _imagenet_recipe(resolution, k, size)
    for resolution in (256, 512)
    for size, budgets in (("B", (32, 64, 128, 256)), ("S", (128,)), ("L", (128,)))
    for k in budgets
}
