"""Local models and a real server, both with tiny models of random weights: what they write is judged, not good."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] in ('image', 'image_url') %}<image>{% else %}{{ c['text'] }}"
    "{% endif %}{% endfor %}{% endif %}\n{% endfor %}assistant:"
)
WORDS = ["a", "red", "apple", "on", "table", "with", "cat", "and", "hat", "in", "the", "sun", "by", "sea"]


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory) -> Path:
    """A LLaVA, 32 wide."""
    folder = tmp_path_factory.mktemp("chat")
    tokens = Tokenizer(models.BPE(unk_token=None))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens.train_from_iterator(
        [" ".join(WORDS)] * 4,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"}, chat_template=TEMPLATE,
    )  # fmt: skip
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=8, projection_dim=32, **narrow),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=2048, **narrow
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def blip_model(tmp_path_factory) -> Path:
    """A BLIP, 32 wide."""
    folder = tmp_path_factory.mktemp("blip")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(vocabulary)})
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**narrow, "vocab_size": len(tokenizer), "encoder_hidden_size": 32, "bos_token_id": 5, "sep_token_id": 3,
            "eos_token_id": 3, "pad_token_id": 0, "is_decoder": True}  # fmt: skip
    config = BlipConfig(text_config=text, vision_config={**narrow, "image_size": 32, "patch_size": 8})
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def verdicts(out: Path) -> list[dict]:
    files = [out / "captions.jsonl", out / "rejected.jsonl"]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["chat_model", "blip_model"])
def test_a_local_model_gives_each_picture_a_verdict(kind, request, pictures, caption, tmp_path):
    model = request.getfixturevalue(kind)
    options = ("--writer", "transformers", "--model", str(model), "--max-tokens", "12", "--batch-size", "4")
    code, _, err = caption(pictures(6), *options, "--language", "any", "--asks", "2")
    assert code == 0, err
    rows = verdicts(tmp_path / "out")
    assert sorted(row["key"] for row in rows) == [f"{number:04d}" for number in range(6)]
    assert all(row["model"] == str(model) and row["tokens_out"] > 0 for row in rows)
    assert all(row["tokens_in"] > 16 for row in rows) == (kind == "chat_model")


def test_the_same_seed_writes_the_same(chat_model, pictures, caption, tmp_path):
    options = (
        "--writer",
        "transformers",
        "--model",
        str(chat_model),
        "--max-tokens",
        "12",
        "--language",
        "any",
    )
    folder = pictures(4)
    for name in ("a", "b"):
        assert caption(folder, *options, out=name)[0] == 0
    first, second = ({row["key"]: row["caption"] for row in verdicts(tmp_path / name)} for name in ("a", "b"))
    assert first == second


def test_a_model_that_does_not_see_is_refused_in_one_line(tmp_path, pictures, caption):
    LlamaConfig(vocab_size=8).save_pretrained(tmp_path / "llama")
    for model in (tmp_path / "llama", tmp_path / "nothing"):
        code, _, err = caption(
            pictures(1, model.name + "-p"), "--writer", "transformers", "--model", str(model)
        )
        assert code == 2 and "error: model: cannot take" in err


@pytest.fixture
def real_server(tmp_path) -> Iterator[str]:
    """``transformers serve`` on loopback, offline."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "hub").mkdir()
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    log = (tmp_path / "serve.log").open("w")
    with log, subprocess.Popen(command, env={**os.environ, **quiet}, stdout=log, stderr=log) as process:
        try:
            while True:
                assert process.poll() is None, (tmp_path / "serve.log").read_text()[-2000:]
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_real_server_with_a_real_model_gives_each_picture_a_verdict(
    chat_model, real_server, pictures, caption, tmp_path
):
    options = (
        "--writer",
        "openai",
        "--base-url",
        real_server,
        "--model",
        str(chat_model),
        "--max-tokens",
        "12",
    )
    code, _, err = caption(pictures(5), *options, "--language", "any", "--concurrency", "2")
    assert code == 0, err
    rows = verdicts(tmp_path / "out")
    assert sorted(row["key"] for row in rows) == [f"{number:04d}" for number in range(5)]
    assert all(row["tokens_in"] > 16 and row["tokens_out"] > 0 for row in rows)
