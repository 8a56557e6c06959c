"""The generator that ships: small, described by its card, made for the tokenizer beside it, and able to draw."""

import json

import pytest
import torch

from textok.evaluation.alignment import Semantics, caption_features
from textok.models.checkpoint import shipped_folder
from textok.models.tokenizer import TexTok
from textok.pipeline.generation import Pipeline

FOLDER = shipped_folder("icons-128-generator")


def test_weights_are_small_and_of_the_shipped_tokenizer() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 70e6
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["model"]["tokenizer"] == TexTok.from_pretrained("icons-128").model_id
    assert config["model"]["tokenizer_source"] == "icons-128"


def test_the_card_is_of_these_weights() -> None:
    card = (FOLDER / "README.md").read_text()
    assert Pipeline.from_pretrained("icons-128").model_id in card
    assert "{{" not in card and "not measured yet" not in card
    assert "alignment_two_tower" in card and "fd_effnet_lite2_floor" in card


@pytest.mark.slow
def test_pictures_show_what_the_prompts_say() -> None:
    """Red apples are red, backgrounds have their color, and captions fit their own pictures best."""
    prompts = [
        "a glossy 3D emoji of a red apple; food, fruit",
        "a flat vector emoji of a cat face, on a teal background; animal",
        "a simple flat-colored emoji of a woman firefighter with dark skin; person",
    ]
    pipeline = Pipeline.from_pretrained("icons-128")
    random = torch.Generator().manual_seed(0)
    pixels = pipeline(prompts, num_images=4, num_tokens=16, generator=random, output="uint8")
    pixels = pixels.unflatten(0, (3, 4)).float()
    red, green, blue = pixels[0, :, :, 48:80, 48:80].mean(dim=(0, 2, 3)).tolist()
    assert red > 180 and max(green, blue) < 0.6 * red
    corner = pixels[1, :, :, :8, :8].mean(dim=(0, 2, 3)).tolist()
    assert corner[0] < 60 and min(corner[1:]) > 90
    images = pixels.byte().flatten(0, 1)
    semantics = Semantics.from_pretrained()
    head, captions = semantics.two_tower, caption_features(prompts, text=semantics.text)
    with torch.no_grad():
        alike = head.embed_images(semantics.network(images).pooled) @ head.embed_captions(captions).T
    assert alike.unflatten(0, (3, 4)).mean(dim=1).argmax(dim=1).tolist() == [0, 1, 2]
