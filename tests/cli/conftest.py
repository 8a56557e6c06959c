"""A tiny model folder and a few captioned pictures, made once."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from textok.models.bottleneck import KLConfig
from textok.models.tokenizer import TexTok, TexTokConfig

CAPTIONS = ["a red square", "a green square", "", "a blue square"]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = TexTokConfig(
        image_size=32,
        patch_size=8,
        dim=32,
        encoder_depth=1,
        decoder_depth=1,
        num_heads=2,
        num_latents=4,
        bottleneck=KLConfig(latent_dim=4),
    )
    folder = tmp_path_factory.mktemp("model")
    TexTok(config).save_pretrained(folder, name="tiny", made_by={"recipe": "none", "steps": 0})
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    lines = []
    for i, caption in enumerate(CAPTIONS):
        image = Image.new("RGB", (40, 36), (60 * i, 255 - 60 * i, 40))
        image.putpixel((i, i), (255, 255, 255))
        image.save(folder / f"square-{i}.png")
        lines.append(json.dumps({"file_name": f"square-{i}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder
