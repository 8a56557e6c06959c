"""The weights that ship: small, whole, described by their card, and as good as when they were released."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from textok.budgets.predictor import QualityPredictor
from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.networks import EffNetLite2
from textok.models.checkpoint import shipped_folder
from textok.models.tokenizer import TexTok
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer

FOLDER = shipped_folder("icons-128-tokenizer")


def test_weights_are_small_and_stored_in_16_bits() -> None:
    file = FOLDER / "model.safetensors"
    assert file.stat().st_size <= 25e6
    with safe_open(file, framework="pt") as tensors:
        wide = [key for key in tensors.keys() if tensors.get_slice(key).get_dtype() != "F16"]  # noqa: SIM118
    assert sorted(wide) == ["latent_mean", "latent_std"]


def test_the_card_names_this_model_and_what_made_it() -> None:
    model = TexTok.from_pretrained("icons-128")
    card = (FOLDER / "README.md").read_text()
    assert f"`{model.model_id}`" in card
    assert "{{" not in card
    assert "not measured yet" not in card
    assert {"recipe", "steps", "data", "seed", "licence", "hardware"} <= set(model.made_by)


@pytest.mark.slow
def test_demo_pictures_come_back_and_more_tokens_help() -> None:
    demo = DataConfig(source=str(shipped_folder("demo-pictures")), split="test-drawing", size=(128, 128))
    pictures = CaptionedPictures.collect("test-drawing", EvalLoader(demo, batch_size=12))
    model = TexTok.from_pretrained("icons-128")
    evaluator = Evaluator(model=model, text=None, network=EffNetLite2())
    outputs = evaluator.reconstruct(pictures, budgets=(2, 8, 32), captions=("none",))
    mean = [float(psnr_per_image(pictures.images, images).mean()) for images in outputs.values()]
    assert mean == sorted(mean)
    assert mean[-1] > 18.5, "the released weights gave about 20 dB without a caption"


def test_latents_are_unit_scale() -> None:
    demo = DataConfig(
        source=str(Path(shipped_folder("demo-pictures"))), split="test-concept", size=(128, 128)
    )
    pictures = CaptionedPictures.collect("test-concept", EvalLoader(demo, batch_size=12))
    model = TexTok.from_pretrained("icons-128")
    with torch.no_grad():
        latents = model.encode(pictures.images.float() / 127.5 - 1).latents
    assert 0.5 < float(latents.std()) < 1.6
    assert abs(float(latents.mean())) < 0.5


def test_the_quality_predictor_is_of_the_shipped_tokenizer_and_its_card_of_it() -> None:
    head = QualityPredictor.from_pretrained("icons-128")
    tokenizer = ImageTokenizer.from_pretrained("icons-128")
    head.check(tokenizer_id=tokenizer.model_id, measure="psnr")
    card = (shipped_folder("icons-128-predictor") / "README.md").read_text()
    scores = head.made_by["scores"]
    assert f"`{head.model_id}`" in card and f"`{tokenizer.model_id}`" in card
    assert f"{scores['rmse']:.2f} dB" in card and f"{100 * scores['explained']:.0f} %" in card
    assert f"{sum(p.numel() for p in head.parameters()):,} parameters" in card
