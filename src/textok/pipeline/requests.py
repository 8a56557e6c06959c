"""What a generator is to draw: prompts or classes, checked, one request for each picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textok.models.conditions import NO_CLASS, ConditionConfig
from textok.pipeline.text import as_captions


class Request(NamedTuple):
    """One picture to make.

    Attributes:
        caption: what the decoder reads, and a generator conditioned on text.
        label: the class, for a generator conditioned on classes.
        negative: what guidance leads away from; "" for no condition.
    """

    caption: str
    label: int | None = None
    negative: str = ""


def checked_conditions(
    config: ConditionConfig, prompts: str | Sequence[str] | None, labels: int | Sequence[int] | None
) -> tuple[list[str], list[int]]:
    """Prompts or labels as lists, the other one empty.

    Raises:
        ValueError: for what a generator of this configuration does not read.
    """
    name, given, other = ("prompts", prompts, labels)
    if config.kind == "class":
        name, given, other = ("labels", labels, prompts)
    if given is None or other is not None:
        raise ValueError(
            f"{name}: this generator is conditioned on {config.kind}; pass {name}, and them only"
        )
    values = [given] if isinstance(given, str | int) else list(given)
    if not values:
        raise ValueError(f"{name}: got none, expected at least one")
    if config.kind == "text":
        texts: Any = values  # as_captions checks them
        return list(as_captions(texts, len(values))), []
    numbers = [int(label) for label in values]
    if min(numbers) < NO_CLASS or max(numbers) >= config.num_classes:
        raise ValueError(
            f"labels: got {min(numbers)} to {max(numbers)}, expected 0 to {config.num_classes - 1}, "
            f"or {NO_CLASS} for no class"
        )
    return [], numbers


def checked_negatives(
    negative_prompt: str | Sequence[str] | None, *, texts: Sequence[str], guidance: float
) -> tuple[str, ...]:
    """A negative prompt for each text, "" for none.

    Raises:
        ValueError: for one that nothing reads: beside classes, or without guidance.
    """
    if negative_prompt and not texts:
        raise ValueError("negative_prompt: got one, expected none: this generator is conditioned on class")
    if negative_prompt and guidance == 1:
        raise ValueError(
            "negative_prompt: got one with guidance 1, expected a guidance above 1, by which alone it acts"
        )
    return as_captions(negative_prompt, len(texts))


def read_class_captions(path: Path) -> dict[int, list[str]]:
    """Captions of every class from a JSON object {label: [captions]}; empty when there is no file.

    Raises:
        ValueError: for a file of another form.
    """
    if not path.is_file():
        return {}
    try:
        captions = {int(label): texts for label, texts in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: got {error}, expected a JSON object {{label: [captions]}}") from error
    lists = all(isinstance(texts, list) for texts in captions.values())
    if not lists or not all(isinstance(text, str) for texts in captions.values() for text in texts):
        raise ValueError(f"{path}: got something else, expected a JSON object {{label: [captions]}}")
    return captions
