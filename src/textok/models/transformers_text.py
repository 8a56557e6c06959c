"""Text encoders that transformers loads: T5, CLIP, whatever ``AutoModel`` reads.

transformers is imported by the functions, because importing it takes longer than most commands.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# The text half of these models has a class of its own, so that the other half is never loaded.
_TEXT_CLASSES = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
}


class StatesModel(nn.Module):
    """A model of transformers that gives its last hidden states alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Int[Tensor, "b t"], mask: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """States of all tokens; those where the mask is 0 are not attended to."""
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state


class CaptionTokenizer:
    """A tokenizer of transformers: captions to token ids, special tokens included."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.pad_token_id: int = tokenizer.pad_token_id or 0
        self.num_special_tokens: int = tokenizer.num_special_tokens_to_add()

    def ids(self, captions: Sequence[str], *, max_tokens: int | None = None) -> list[list[int]]:
        """Token ids of each caption, cut to ``max_tokens`` where there is such a limit."""
        cut = {"truncation": max_tokens is not None, "max_length": max_tokens}
        return self._tokenizer(list(captions), padding=False, verbose=False, **cut)["input_ids"]


def dim_and_limit(folder: Path) -> tuple[int, int | None]:
    """Channels of a token state, and the most tokens of a caption where there is a limit."""
    config = _load_config(folder)
    text_config = getattr(config, "text_config", None) or config
    return text_config.hidden_size, getattr(text_config, "max_position_embeddings", None)


def _load_config(folder: Path) -> Any:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"text encoder {folder}: no config.json; expected a transformers model folder"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"text encoder {folder}: config.json is not readable by transformers: {error}"
        ) from error
    if getattr(config, "text_config", None) is not None and config.model_type not in _TEXT_CLASSES:
        raise ValueError(
            f"text encoder {folder}: model type {config.model_type!r} mixes text with something else; "
            f"expected a text encoder, T5 or CLIP: save its text half to a folder of its own and pass that"
        )
    return config


def load_model(folder: Path, dtype: torch.dtype) -> "StatesModel":
    """The encoder, of a model with two halves the text half.

    Raises:
        ValueError: when the weights belong to another configuration.
    """
    import transformers

    config = _load_config(folder)
    model_class = getattr(transformers, _TEXT_CLASSES.get(config.model_type, "AutoModel"))
    with quiet_transformers():
        model, report = model_class.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    # transformers fills absent weights with random numbers; only the pooled output, never read here, may lack them.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ValueError(
            f"text encoder {folder}: its weights lack {len(missing)} tensors that config.json asks for, first "
            f"{missing[0]}; the two files belong to different models: fetch the folder again"
        )
    has_decoder = config.is_encoder_decoder and hasattr(model, "decoder")
    return StatesModel(model.get_encoder() if has_decoder else model)


def load_tokenizer(folder: Path) -> "CaptionTokenizer":
    """The tokenizer of the folder; ``ValueError`` when transformers cannot read it."""
    from transformers import AutoTokenizer

    try:
        return CaptionTokenizer(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise ValueError(
            f"text encoder {folder}: its tokenizer does not load ({error}); expected a tokenizer.json"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the progress bar and the table of unused weights (a T5 encoder leaves its decoder unread)."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
