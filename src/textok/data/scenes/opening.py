"""Opening drawn pictures by their name."""

from textok.data.scenes.drawings import SPLITS
from textok.data.scenes.foreign import ForeignSource
from textok.data.scenes.source import IconSource, SceneOptions, SceneSource


def open_drawn(name: str, split: str | None) -> SceneSource | ForeignSource | IconSource:
    """Open ``scenes[:OPTIONS]``, ``scenes-foreign`` or ``icons``; the latter two take ``:drawings=FOLDER`` only.

    Raises:
        FileNotFoundError: when the drawings are not there; says where to get them.
        ValueError: for an unknown split or option, naming it.
    """
    kind, _, text = name.partition(":")
    options = SceneOptions.parse(text)
    if kind != "scenes" and options != SceneOptions(drawings=options.drawings):
        raise ValueError(f"{name}: got {text!r}; expected drawings=FOLDER or nothing after {kind}")
    if kind == "scenes-foreign":
        return ForeignSource(options.drawings)
    if split not in SPLITS:
        raise ValueError(f"{name}: split is {split!r}; expected one of {', '.join(SPLITS)}")
    return SceneSource(split, options) if kind == "scenes" else IconSource(split, options.drawings)
