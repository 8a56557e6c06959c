"""Caption features for training: from the cache, or encoded as they come where captions have no end."""

from pathlib import Path

import pytest
import torch

from textok.models.tokenizer import TexTokConfig
from textok.pipeline.text import CachedText
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
