"""Text-conditioned image tokenization and generation.

The public names are loaded when first used, so that importing the package costs nothing.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textok.models.dit import DiT, DiTConfig
    from textok.models.maskgit import MaskGIT, MaskGITConfig
    from textok.models.text import TextCondition
    from textok.models.text_encoder import TextEncoder
    from textok.models.tokenizer import TexTok, TexTokConfig
    from textok.pipeline.generation import Pipeline
    from textok.pipeline.image_tokenizer import ImageTokenizer
    from textok.pipeline.token_file import load_tokens, save_tokens
    from textok.pipeline.tokens import Tokens

try:
    __version__ = version("open-textok")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"
__all__ = [
    "DiT",
    "DiTConfig",
    "ImageTokenizer",
    "MaskGIT",
    "MaskGITConfig",
    "Pipeline",
    "TexTok",
    "TexTokConfig",
    "TextCondition",
    "TextEncoder",
    "Tokens",
    "load_tokens",
    "save_tokens",
]

_HOMES = {
    "DiT": "textok.models.dit",
    "DiTConfig": "textok.models.dit",
    "ImageTokenizer": "textok.pipeline.image_tokenizer",
    "MaskGIT": "textok.models.maskgit",
    "MaskGITConfig": "textok.models.maskgit",
    "Pipeline": "textok.pipeline.generation",
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
