"""A tiny model folder and a few captioned pictures, made once."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tiny import tiny_model

CAPTIONS = ["a red square", "a green square", "", "a blue square"]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder, name="tiny", made_by={"recipe": "none", "steps": 0})
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
