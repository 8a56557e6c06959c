"""Folders on the Hugging Face hub, fetched into the hub's own cache."""

from collections.abc import Sequence
from pathlib import Path

TRANSFORMERS_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


def fetch(
    name: str, *, what: str, revision: str | None = None, files: Sequence[str] = TRANSFORMERS_FILES
) -> Path:
    """The local copy of a hub repository's top-level files.

    Args:
        name: hub id, such as ``someone/model``.
        what: what the files are, for the error.
        revision: branch, tag or commit.
        files: names or patterns; other runtimes keep copies of the weights in subfolders, which stay there.

    Raises:
        FileNotFoundError: when the hub has no such repository, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(files), ignore_patterns=["*/*"]
        )
    except (OSError, ValueError) as error:  # the hub's errors and a lost connection derive from these
        raise FileNotFoundError(
            f"{what} {name}: got no such folder here nor on the hub ({type(error).__name__}), expected either; check "
            f"the spelling; without a connection, run `hf download {name}` elsewhere and pass that folder; a gated "
            "model needs `hf auth login` first"
        ) from error
    return Path(folder)
