"""Encode, decode and reconstruct, as a caller would."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets.fingerprint import Hasher
from PIL import Image
from torch.utils.data import DataLoader

import textok
from datasets import Dataset, Features, Value
from datasets import Image as HubImage
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok
from textok.pipeline import precision
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.precision import inference_dtype
from textok.pipeline.tokens import load_tokens, save_tokens
from textok.pixels import to_unit


def pictures(count: int = 5, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )


def test_encode_is_the_models_own(tokenizer: ImageTokenizer, letters: TextEncoder) -> None:
    captions = ["ab", None, "abc", "", "d"]
    tokens = tokenizer.encode(pictures(), captions, batch_size=2)
    text = letters([caption or "" for caption in captions])
    expected = tokenizer.model.encode(to_unit(pictures()), text).latents
    torch.testing.assert_close(tokens.latents, expected.detach(), atol=1e-5, rtol=1e-4)
    assert tokens.captions == ("ab", "", "abc", "", "d") and tokens.keys == ("0", "1", "2", "3", "4")
    assert tokens.grid == (4, 4) and tokens.num_tokens == 4 and tokens.model_id == tokenizer.model.model_id


@pytest.mark.parametrize("kind", ["tokenizer", "discrete"])
def test_batch_size_and_budget_prefix_change_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer: ImageTokenizer = request.getfixturevalue(kind)
    whole = tokenizer.encode(pictures(), "abc")
    short = tokenizer.encode(pictures(), ["abc"] * 5, num_tokens=2, batch_size=2)
    torch.testing.assert_close(whole.first(2).values, short.values, atol=1e-5, rtol=1e-4)
    assert (whole.latents is None) == (kind == "discrete")


def test_captions_matter_and_can_be_replaced(tokenizer: ImageTokenizer) -> None:
    tokens = tokenizer.encode(pictures(2), "abc")
    own = tokenizer.decode(tokens, output="float")
    assert not torch.allclose(own, tokenizer.decode(tokens, "", output="float"))
    assert torch.equal(own, tokenizer.decode(tokens, ["abc", "abc"], output="float"))
    assert not torch.allclose(own, tokenizer.decode(tokens, "xyz", output="float"))


def test_outputs_agree(tokenizer: ImageTokenizer) -> None:
    tokens = tokenizer.encode(pictures(3), "abc")
    floats, bytes_, images = (tokenizer.decode(tokens, output=kind) for kind in ("float", "uint8", "pil"))
    assert floats.shape == (3, 3, 32, 32) and float(floats.abs().max()) <= 1
    torch.testing.assert_close(to_unit(bytes_), floats, atol=1 / 255 + 1e-6, rtol=0)
    assert [image.size for image in images] == [(32, 32)] * 3
    again = tokenizer.reconstruct(pictures(3), "abc")
    assert [image.tobytes() for image in again] == [image.tobytes() for image in images]


def test_any_grid_with_keep_size(tokenizer: ImageTokenizer) -> None:
    tokens = tokenizer.encode(pictures(2, (16, 48)), keep_size=True)
    assert tokens.grid == (2, 6)
    assert tokenizer.decode(tokens)[0].size == (48, 16)
    assert tokenizer.encode(Image.new("RGB", (48, 16))).grid == (4, 4)
    with pytest.raises(ValueError, match="patch size 8"):
        tokenizer.encode(pictures(1, (16, 50)), keep_size=True)


def test_text_encoder_is_loaded_only_for_captions(make_model: Callable[..., TexTok]) -> None:
    tokenizer = ImageTokenizer(make_model(), text_encoder="no-such-encoder", dtype="float32")
    tokenizer.decode(tokenizer.encode(pictures(1)))
    with pytest.raises((ValueError, FileNotFoundError), match="no-such-encoder"):
        tokenizer.encode(pictures(1), "abc")


def test_another_models_tokens_are_refused(
    tokenizer: ImageTokenizer, make_model: Callable[..., TexTok]
) -> None:
    other = ImageTokenizer(make_model(seed=1), dtype="float32")
    tokens = other.encode(pictures(1))
    with pytest.raises(ValueError, match=f"{other.model_id}.*{tokenizer.model_id}"):
        tokenizer.decode(tokens)


@pytest.mark.parametrize(
    ("captions", "keys", "message"),
    [
        (["a"], None, "captions: got 1 for 2"),
        (None, ["a"], "keys: got 1"),
        (["a"] * 3, None, "captions: got 3"),
    ],
)
def test_counts_must_match(tokenizer: ImageTokenizer, captions: list, keys: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer.encode(pictures(2), captions, keys=keys)


def test_six_lines(tmp_path: Path, letters: TextEncoder, make_model: Callable[..., TexTok]) -> None:
    make_model().save_pretrained(tmp_path / "model", name="tiny")
    tokenizer = textok.ImageTokenizer.from_pretrained(tmp_path / "model", text_encoder=letters)
    tokens = tokenizer.encode([Image.new("RGB", (50, 40), "red")], ["red"], num_tokens=2)
    textok.save_tokens(tokens, tmp_path / "red.safetensors")
    picture = tokenizer.decode(textok.load_tokens(tmp_path / "red.safetensors"))[0]
    assert picture.size == (32, 32) and tokens.model_id.startswith("tiny-")


def test_sixteen_bit_file_decodes_nearly_the_same(tokenizer: ImageTokenizer, tmp_path: Path) -> None:
    tokens = tokenizer.encode(pictures(2), "abc")
    stored = load_tokens(save_tokens(tokens, tmp_path / "t.safetensors"))
    difference = tokenizer.decode(tokens, output="float") - tokenizer.decode(stored, output="float")
    assert float(difference.abs().max()) < 0.02


def test_bfloat16_is_close_to_float32(
    tokenizer: ImageTokenizer, letters: TextEncoder, make_model: Callable[..., TexTok]
) -> None:
    fast = ImageTokenizer(make_model(), text_encoder=letters, dtype="bfloat16")
    assert fast.model_id == tokenizer.model_id
    tokens = tokenizer.encode(pictures(2), "abc")
    difference = (fast.encode(pictures(2), "abc").latents - tokens.latents).abs()
    assert float(difference.mean()) < 0.03 * float(tokens.latents.abs().mean())
    assert (
        float((fast.decode(tokens, output="float") - tokenizer.decode(tokens, output="float")).abs().mean())
        < 0.02
    )


@pytest.mark.parametrize(
    ("capabilities", "gain", "expected"),
    [
        ({}, 9.0, torch.float32),
        ({"avx512_bf16": True}, 2.0, torch.bfloat16),
        ({"avx512_bf16": True}, 0.5, torch.float32),  # a flag that promises more than the machine holds
    ],
)
def test_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], gain: float, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(precision, "bfloat16_gain", lambda: gain)
    assert inference_dtype("cpu") == expected
    assert inference_dtype("cpu", "float32") == torch.float32
    assert inference_dtype("mps") == torch.float32


def test_the_gain_of_bfloat16_is_measured() -> None:
    assert 0.01 < precision.bfloat16_gain() < 100


def as_data_set(images: list[Image.Image], **columns: list[object]) -> Dataset:
    features = Features({"image": HubImage(), **{name: Value("string") for name in columns}})
    return Dataset.from_dict({"image": images, **columns}, features=features)


def test_a_data_set_gets_its_tokens_by_map(tokenizer: ImageTokenizer) -> None:
    images = [Image.new("RGB", (40, 40), (40 * i, 90, 200 - 30 * i)) for i in range(5)]
    captions = ["a cat", "", "a dog", None, "a box"]
    data = as_data_set(images, caption=captions).map(tokenizer, batched=True, batch_size=2)
    expected = tokenizer.encode(images, captions).values
    assert torch.allclose(torch.tensor(data["tokens"][:]), expected, atol=1e-5)
    batch = next(iter(DataLoader(data.select_columns("tokens").with_format("torch"), batch_size=3)))
    assert batch["tokens"].shape == (3, 4, 4)


def test_codes_and_pictures_without_captions_are_mapped_too(discrete: ImageTokenizer) -> None:
    images = [Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")]
    data = as_data_set(images).map(discrete, batched=True)
    assert torch.tensor(data["tokens"][:]).tolist() == discrete.encode(images).codes.tolist()


def test_a_single_sample_or_another_column_is_refused(tokenizer: ImageTokenizer) -> None:
    with pytest.raises(ValueError, match="batch: got columns"):
        tokenizer({"image": Image.new("RGB", (32, 32)), "caption": "a cat"})
    with pytest.raises(ValueError, match="batch: got columns"):
        tokenizer({"photo": [Image.new("RGB", (32, 32))]})


def test_a_tokenizer_that_was_used_has_the_same_fingerprint(tokenizer: ImageTokenizer) -> None:
    before = Hasher.hash(tokenizer)
    tokenizer.encode(Image.new("RGB", (32, 32)), "a caption that nobody wrote before")
    assert Hasher.hash(tokenizer) == before
