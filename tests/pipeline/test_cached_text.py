"""Caption features for training: from the cache, or encoded as they come where captions have no end."""

from pathlib import Path

import pytest
import torch

from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.text import CachedText, RememberedText
from tiny import invented_states


class _Encoder:
    calls = 0

    def encode_ragged(self, captions):
        type(self).calls += 1
        return invented_states(captions)


def test_endless_captions_are_encoded_as_they_come_and_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CachedText, "_encoder", lambda _: _Encoder().encode_ragged)
    text = CachedText(TexTokConfig(text_dim=384), folder=str(tmp_path))
    text.warm(["a cat"], progress=False)
    with pytest.raises(ValueError, match="a dog"):
        text(["a cat", "a dog"])
    text.encode_unstored()
    condition = text(["a dog", "a cat", "", "a dog"])
    dog, cat = invented_states(["a dog", "a cat"])
    assert condition.mask.sum(1).tolist() == [len(dog), len(cat), 0, len(dog)]
    assert torch.equal(condition.embeddings[0, : len(dog)], dog.half().float())
    torch.testing.assert_close(condition.embeddings[1, : len(cat)], cat.half().float())
    assert text.cache.missing(["a dog"]) == ["a dog"]
    calls = _Encoder.calls
    text(["a cat"])
    assert _Encoder.calls == calls


@pytest.mark.slow
def test_training_and_use_read_states_of_the_same_dtype(tmp_path: Path) -> None:
    config = TexTokConfig(text_dtype="bfloat16")
    text = ImageTokenizer(TexTok(config)).remembered_text
    cached = CachedText(config, folder=str(tmp_path))
    assert text.encoder.info.dtype == cached._options["dtype"] == "bfloat16"
    assert text.encoder.info.fingerprint == TextEncoder.describe(max_tokens=40, dtype="bfloat16").fingerprint


def test_the_captions_used_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode = TextEncoder.encode_ragged

    def noted(self: TextEncoder, captions: list[str]) -> object:
        encoded.extend(captions)
        return encode(self, captions)

    monkeypatch.setattr(TextEncoder, "encode_ragged", noted)
    text = RememberedText("minilm", max_tokens=8, remember=2)
    for caption in ("a cat", "a dog", "a cat", "a hat", "a cat", "a dog"):
        text([caption])
    assert encoded == ["a cat", "a dog", "a hat", "a dog"]
