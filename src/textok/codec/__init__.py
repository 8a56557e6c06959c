"""Compressed tokens: entropy coding, probability models, and the .ttk container.

>>> with TtkReader("pictures.ttk", prior=find_prior("icons-128", model_id=tokenizer.model_id)) as reader:
...     apple = tokenizer.decode(reader["apple"])
"""

from textok.codec.facts import is_ttk
from textok.codec.header import Header
from textok.codec.prior import CodePrior, LatentPrior, Prior
from textok.codec.prior_file import find_prior, load_prior, save_prior
from textok.codec.reader import TtkReader
from textok.codec.sizes import coded_sizes
from textok.codec.tokenizers import check_model, header_for
from textok.codec.writer import TtkWriter

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
