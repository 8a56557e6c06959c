"""Text-conditioned image tokenization and generation.

The public names are loaded when first used, so that importing the package costs nothing.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textok.models.text import TextCondition
    from textok.models.text_encoder import TextEncoder
    from textok.models.tokenizer import TexTok, TexTokConfig
    from textok.pipeline.image_tokenizer import ImageTokenizer
    from textok.pipeline.token_file import load_tokens, save_tokens
    from textok.pipeline.tokens import Tokens

try:
    __version__ = version("open-textok")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"
__all__ = [
    "ImageTokenizer",
    "TexTok",
    "TexTokConfig",
    "TextCondition",
    "TextEncoder",
    "Tokens",
    "load_tokens",
    "save_tokens",
]

_HOMES = {
    "ImageTokenizer": "textok.pipeline.image_tokenizer",
    "TexTok": "textok.models.tokenizer",
    "TexTokConfig": "textok.models.tokenizer",
    "TextCondition": "textok.models.text",
    "TextEncoder": "textok.models.text_encoder",
    "Tokens": "textok.pipeline.tokens",
    "load_tokens": "textok.pipeline.token_file",
    "save_tokens": "textok.pipeline.token_file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'textok' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
