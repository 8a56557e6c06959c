"""The packaged encoder against transformers' own model and tokenizer."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from textok.models.text_encoder import TextEncoder, token_counts
from textok.models.text_encoder_files import resolve

pytestmark = pytest.mark.slow

CAPTIONS = [
    "a cat",
    "a red apple with a green leaf, on a wooden table",
    "",
    "   ",
    "Ünïcödé: naïve café, Straße, ÀÉÎÕÜ",
    "一只猫坐在红色的沙发上",
    "кот под деревом 🐱🌳",
    "[SEP] and [MASK] in the middle [CLS]",
    "tabs\tand\nlines\u200b\x00 and a soft\u00adhyphen",
    "3.14159 x 10^-2 = ?!#$%&",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
    " ".join(f"word{i} of a long caption" for i in range(60)),
]


@pytest.fixture(scope="module")
def reference() -> tuple[Any, Any]:
    folder = resolve("minilm")
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("max_tokens", [8, 40, 512])
def test_the_states_are_those_of_transformers(reference: tuple[Any, Any], max_tokens: int) -> None:
    tokenizer, model = reference
    states = TextEncoder.from_pretrained("minilm", max_tokens=max_tokens).encode_ragged(CAPTIONS)
    for caption, row in zip(CAPTIONS, states, strict=True):
        if not caption.strip():
            assert row.shape == (0, 384)
            continue
        tokens = tokenizer([caption], truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.no_grad():
            expected = model(**tokens).last_hidden_state[0]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)


def test_a_padded_batch_gives_the_same_states_to_the_last_bit(reference: tuple[Any, Any]) -> None:
    tokenizer, model = reference
    captions = [caption for caption in CAPTIONS if caption.strip()]
    tokens = tokenizer(captions, truncation=True, max_length=40, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**tokens).last_hidden_state
    condition = TextEncoder.from_pretrained("minilm")(captions)
    assert torch.equal(condition.mask, tokens["attention_mask"].bool())
    assert torch.equal(condition.embeddings[condition.mask], expected[condition.mask])


def test_token_ids_are_those_of_transformers(reference: tuple[Any, Any]) -> None:
    whole = reference[0](CAPTIONS, verbose=False)["input_ids"]
    assert token_counts("minilm", CAPTIONS) == [len(row) for row in whole]
    encoder = TextEncoder.from_pretrained("minilm", max_tokens=8)
    assert encoder._tokenizer.ids(CAPTIONS) == whole
    cut = reference[0](CAPTIONS, truncation=True, max_length=8)["input_ids"]
    assert encoder._tokenizer.ids(CAPTIONS, max_tokens=8) == cut


def test_the_fingerprint_is_that_of_earlier_caches() -> None:
    assert TextEncoder.describe("minilm").fingerprint == "02285f699d6b8768f7fd2215d1160ed1"


def test_models_load_and_read_a_caption_without_transformers_and_compiler() -> None:
    code = (
        "import sys; from textok import Pipeline; Pipeline.from_pretrained().tokenizer.text_of(['a cat']); "
        "print({'transformers', 'torch._dynamo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
