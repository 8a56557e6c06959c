"""Text-conditioned image tokenization and generation.

The public names are loaded when first used, so that importing the package costs nothing.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_MODULES = {
    "budgets.encoder": ("SoftBudget", "SoftEncoder"),
    "codec": ("TtkReader", "TtkWriter"),
    "models.dit": ("DiT", "DiTConfig"),
    "models.maskgit": ("MaskGIT", "MaskGITConfig"),
    "models.text": ("TextCondition",),
    "models.text_encoder": ("TextEncoder",),
    "models.tokenizer": ("TexTok", "TexTokConfig"),
    "pipeline.as_diffusers": ("AutoencoderTexTok", "TexTokPipeline"),
    "pipeline.generation": ("Pipeline",),
    "pipeline.image_tokenizer": ("ImageTokenizer",),
    "pipeline.tokens": ("Tokens", "load_tokens", "save_tokens"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)
try:
    __version__ = version("open-textok")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+source"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'textok' has no attribute {name!r}")
    value = getattr(import_module(f"textok.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
