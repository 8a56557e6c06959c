"""Folders on the Hugging Face hub, fetched into the hub's own cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

TRANSFORMERS_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


class Hub(TypedDict, total=False):
    """How the hub is asked.

    Attributes:
        revision: branch, tag or commit.
        token: of an account that may read the repository; by default that of ``hf auth login``.
        cache_dir: folder for what is downloaded; by default the hub's own cache.
    """

    revision: str | None
    token: str | None
    cache_dir: str | Path | None


def fetch(name: str, *, what: str, files: Sequence[str] = TRANSFORMERS_FILES, **hub: Unpack[Hub]) -> Path:
    """The local copy of a hub repository's top-level files.

    Args:
        name: hub id, such as ``someone/model``.
        what: what the files are, for the error.
        files: names or patterns; other runtimes keep copies of the weights in subfolders, which stay there.
        **hub: revision, token and cache_dir, see :class:`Hub`.

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
