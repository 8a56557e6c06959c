"""The captions of each class, of which the decoder of a class-conditional generator reads one."""

import json
from pathlib import Path


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
