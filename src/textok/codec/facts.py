"""What a .ttk file holds, from its header and index alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textok.codec.header import Header
from textok.codec.layout import MAGIC, Entry


def is_ttk(path: Path) -> bool:
    """Whether the file is meant to be a .ttk file: by its name, or because it begins as one."""
    with open(path, "rb") as file:
        return path.suffix == ".ttk" or file.read(len(MAGIC)) == MAGIC


def facts_of(header: Header, entries: Sequence[Entry], *, file_bytes: int) -> dict[str, Any]:
    """Sizes and settings, as plain values; bytes for each picture are shares of the whole file."""
    sizes = [entry.sizes for entry in entries]
    pictures = sum(chunk.pictures for chunk in sizes)
    captions, values = sum(chunk.captions for chunk in sizes), sum(chunk.values for chunk in sizes)
    each = max(1, pictures)
    return {
        "model_id": header.model_id,
        "kind": header.kind,
        "pictures": pictures,
        "captions": "kept" if header.captions else "left out",
        "mean_tokens": sum(chunk.tokens for chunk in sizes) / each,
        "bytes_per_image": file_bytes / each,
        "bytes_per_image_without_captions": (file_bytes - captions) / each,
        "token_bytes_per_image": values / each,
        "caption_bytes_per_image": captions / each,
        "key_bytes_per_image": sum(chunk.names for chunk in sizes) / each,
        "file_bytes": file_bytes,
        "step": header.step / 1000 if header.kind == "latents" else None,
        "probability_model": header.prior or "plain",
        "settings": dict(header.settings),
    }
