"""Compressed tokens: entropy coding, probability models, and the .ttk container."""

from textok.codec.coding import Prior
from textok.codec.header import Header, check_model, coded_sizes, header_for
from textok.codec.prior import CodePrior, LatentPrior, find_prior, load_prior, save_prior
from textok.codec.ttk import TtkReader, TtkWriter, is_ttk

__all__ = [
    "CodePrior",
    "Header",
    "LatentPrior",
    "Prior",
    "TtkReader",
    "TtkWriter",
    "check_model",
    "coded_sizes",
    "find_prior",
    "header_for",
    "is_ttk",
    "load_prior",
    "save_prior",
]
