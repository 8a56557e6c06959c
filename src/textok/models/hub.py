"""Folders on the Hugging Face hub, fetched into the hub's own cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

TRANSFORMERS_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


class Hub(TypedDict, total=False):
    """How the hub is asked: for a branch, tag or commit, with the token of an account that may read the repository.

    By default with that of ``hf auth login``; downloads go to ``cache_dir``, by default the hub's own cache.
    """

    revision: str | None
    token: str | None
    cache_dir: str | Path | None


def fetch(name: str, *, what: str, files: Sequence[str] = TRANSFORMERS_FILES, **hub: Unpack[Hub]) -> Path:
    """The local copy of top-level files of a hub id such as ``someone/model``; errors call them ``what``.

    Other runtimes keep copies of the weights in subfolders, which stay there.

    Raises:
        FileNotFoundError: when the hub has no such repository, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name, allow_patterns=list(files), ignore_patterns=["*/*"], **hub)
    except (OSError, ValueError) as error:  # the hub's errors and a lost connection derive from these
        raise FileNotFoundError(
            f"{what} {name}: got no such folder here nor on the hub ({type(error).__name__}), expected either; check "
            f"the spelling; without a connection, run `hf download {name}` elsewhere and pass that folder; a gated "
            "model needs `hf auth login` first"
        ) from error
    return Path(folder)
