"""Any generator from its folder: the configuration says which class it is."""

import json
from pathlib import Path

from textok.models.checkpoint import CONFIG_FILE, SHIPPED_GENERATORS, resolve
from textok.models.dit import DiT, DiTConfig
from textok.models.maskgit import MaskGIT, MaskGITConfig

Generator = DiT | MaskGIT
CLASSES: dict[str, type[DiT] | type[MaskGIT]] = {"dit": DiT, "maskgit": MaskGIT}


def build_generator(config: DiTConfig | MaskGITConfig) -> Generator:
    """An untrained generator of this configuration."""
    return DiT(config) if isinstance(config, DiTConfig) else MaskGIT(config)


def load_generator(name_or_folder: str | Path, *, revision: str | None = None) -> Generator:
    """A DiT or a MaskGIT from a shipped name, a folder or a hub id.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when the files are damaged or hold no generator.
    """
    folder = resolve(str(name_or_folder), shipped=SHIPPED_GENERATORS, revision=revision)
    config = folder / CONFIG_FILE
    try:
        kind = json.loads(config.read_text())["model"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = None
    if kind not in CLASSES:
        raise ValueError(
            f"{folder}: holds no generator (kind {kind!r}); expected one of {', '.join(CLASSES)}, as "
            "textok train generator writes"
        )
    return CLASSES[kind].from_pretrained(folder)
