"""Old names of shared options, until every command uses the new ones."""

from collections.abc import Sequence

from textok.cli.options import DATA_HELP, DEFAULT_MODEL
from textok.cli.options import ModelOptions as ModelChoice
from textok.cli.pictures import PictureOptions as PictureChoice

__all__ = ["DEFAULT_MODEL", "ONE_PICTURE", "SOURCE_HELP", "ModelChoice", "PictureChoice", "comma_list"]
ONE_PICTURE = "a picture file, or "
SOURCE_HELP = ONE_PICTURE + DATA_HELP


def comma_list(words: Sequence[str], *, name: str) -> list[str]:
    """The items of ``a,b c``: commas and spaces do alike; each item once; none without words."""
    items = [item.strip() for word in words for item in word.split(",")]
    found = list(dict.fromkeys(item for item in items if item))
    if words and not found:
        raise ValueError(f"{name}: got {' '.join(words)!r}; expected items and commas, such as A,B")
    return found
