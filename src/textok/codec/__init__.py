"""Compressed tokens: entropy coding, probability models, and the .ttk container.

Examples:
    >>> with TtkReader("pictures.ttk", prior=find_prior("icons-128", model_id=tokenizer.model_id)) as reader:
    ...     apple = tokenizer.decode(reader["apple"])
"""

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
