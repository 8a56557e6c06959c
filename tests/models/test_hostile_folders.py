"""Model folders from strangers: each fault ends in one line that names the file, before memory or time is taken."""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from textok.models.tokenizer import TexTok
from textok.models.weights_file import MAX_TEXT_BYTES
from tiny import tiny_model

Change = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model().save_pretrained(tmp_path / "model")
    TexTok.from_pretrained(tmp_path / "model")  # what torch imports once is not what is measured below
    return tmp_path / "model"


def setting(**values: Any) -> Change:
    def change(folder: Path) -> None:
        data = json.loads((folder / "config.json").read_text())
        data["model"] |= values
        (folder / "config.json").write_text(json.dumps(data))

    return change


def weight(value: float) -> Change:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        next(iter(weights.values())).view(-1)[0] = value
        save_file(weights, folder / "model.safetensors")

    return change


def text(content: str) -> Change:
    return lambda folder: (folder / "config.json").write_text(content) and None


def link(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    (folder / "model.safetensors").rename(outside)
    (folder / "model.safetensors").symlink_to(outside)


def giant_card(folder: Path) -> None:
    with open(folder / "README.md", "wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)


HOSTILE = {
    "a depth of ten million": (setting(encoder_depth=10_000_000), "encoder_depth: got 10000000"),
    "a width of 2 to the 40": (setting(dim=2**40, num_heads=2), "model.safetensors|config.json"),
    "a width of 2 to the 62": (setting(dim=2**62, num_heads=2), "model.safetensors|config.json"),
    "a giant image": (setting(image_size=10**9, patch_size=8), "image_size: got 1000000000"),
    "a billion latents": (setting(num_latents=10**9), "got shape"),
    "a word for a number": (setting(dim="wide"), "dim: got 'wide', expected int"),
    "a fraction for a count": (setting(dim=32.5), "dim: got 32.5, expected int"),
    "true for a count": (setting(encoder_depth=True), "encoder_depth: got True"),
    "an unknown placement": (setting(placement="above"), "placement: got 'above'"),
    "a list for a bottleneck": (setting(bottleneck=[1]), "bottleneck"),
    "a list for a kind": (setting(bottleneck={"kind": []}), "kind"),
    "more latents than a word holds": (setting(num_latents=2**70), "config.json"),
    "a number beyond all floats": (setting(mlp_ratio=10**400), "mlp_ratio"),
    "a number for a name": (text('{"format": 1, "model": {}, "name": 3}'), "name"),
    "a list for its making": (text('{"format": 1, "model": {}, "made_by": []}'), "made_by"),
    "no object": (text("[1, 2]"), "config.json"),
    "nested brackets": (text("[" * 200_000), "config.json"),
    "weights that are NaN": (weight(float("nan")), "not finite"),
    "weights that are infinite": (weight(float("inf")), "not finite"),
    "a link out of the folder": (link, "link"),
    "a giant card": (giant_card, "README.md"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_in_one_line(name: str, folder: Path) -> None:
    change, match = HOSTILE[name]
    change(folder)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ValueError, match=match) as caught:
        TexTok.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert time.process_time() - start < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_link_into_the_store_of_a_hub_is_followed(folder: Path) -> None:
    hub = folder.parent / "models--someone--model"
    snapshot = hub / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (hub / "blobs").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(hub / "blobs" / name)
        (snapshot / name).symlink_to(hub / "blobs" / name)
    expected = tiny_model().state_dict()
    loaded = TexTok.from_pretrained(snapshot).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())
