"""Named runs: each function returns one whole configuration; variants are small changes of another.

A recipe is chosen by name: ``textok train tokenizer icons-128 --out RUN``; its fields can be overridden.
"""

from textok.recipes.generators import GENERATOR_RECIPES
from textok.recipes.tokenizers import RECIPES

__all__ = ["GENERATOR_RECIPES", "RECIPES"]
