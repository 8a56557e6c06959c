"""Loads any generator from its folder; its class is in the configuration."""

import json
from pathlib import Path
from typing import Unpack

from textok.models.checkpoint import CONFIG_FILE, SHIPPED_GENERATORS, resolve
from textok.models.dit import DiT, DiTConfig
from textok.models.hub import Hub
from textok.models.maskgit import MaskGIT, MaskGITConfig

Generator = DiT | MaskGIT
CLASSES: dict[str, type[DiT] | type[MaskGIT]] = {"dit": DiT, "maskgit": MaskGIT}


def build_generator(config: DiTConfig | MaskGITConfig) -> Generator:
    """An untrained generator of this configuration."""
    return DiT(config) if isinstance(config, DiTConfig) else MaskGIT(config)


def load_generator(name_or_folder: str | Path, **hub: Unpack[Hub]) -> Generator:
    """A DiT or a MaskGIT from a shipped name, a folder or a hub id, of which ``hub`` says more.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when the files are damaged or hold no generator.
    """
    folder = resolve(str(name_or_folder), shipped=SHIPPED_GENERATORS, **hub)
    kind = kind_of(folder)
    if kind is None:
        raise ValueError(
            f"{folder}: holds no generator; expected {CONFIG_FILE} with a model of kind {' or '.join(CLASSES)}, as "
            "textok train generator writes"
        )
    return CLASSES[kind].from_pretrained(folder)


def kind_of(folder: Path) -> str | None:
    """Which generator a folder holds; None when it holds none."""
    try:
        kind = json.loads((folder / CONFIG_FILE).read_text())["model"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind if kind in CLASSES else None
