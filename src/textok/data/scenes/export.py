"""Scenes as webdataset tars: a picture, ``KEY.txt`` with its caption, ``KEY.json`` with that and the facts."""

import io
import json
import tarfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from textok.data.images import tensor_to_image
from textok.data.scenes.source import SceneSource
from textok.writing import write_tar

Format = Literal["png", "webp"]
SHARD = 1000
_SAVING: dict[Format, dict[str, Any]] = {"png": {}, "webp": {"lossless": True, "method": 1, "quality": 20}}


def write_shards(
    source: SceneSource, out: Path, *, count: int, size: int, file_format: Format = "webp"
) -> Iterator[int]:
    """Write the first scenes of a source, a thousand per tar; a shard that is there already is left as it is.

    Args:
        size: pixels a side.
        file_format: "webp" is lossless, about half the size of "png".

    Yields:
        How many scenes are there after each shard.
    """
    for start in range(0, count, SHARD):
        end = min(start + SHARD, count)
        path = out / f"{source.split}-{start // SHARD:06d}.tar"
        if not _is_whole(path, end - start):
            scenes = (
                _members(source, index, size=size, file_format=file_format) for index in range(start, end)
            )
            write_tar(path, chain.from_iterable(scenes))
        yield end


CARD = """---
license: other
license_name: those-of-the-drawings
pretty_name: Scenes of open-textok
task_categories: [text-to-image, image-to-text]
language: [en]
tags: [webdataset, synthetic, image-tokenization]
configs:
- config_name: default
  data_files: "{split}-*.tar"
---

# Scenes

{count:,} captioned pictures of {size} px, composed from the drawings of the split {split} by open-textok. Each
sample has its picture, `KEY.txt` with the caption, and `KEY.json` with the caption and the facts of the scene: what is
where, how large, of what colour. No drawing is in two splits.

The drawings are emoji and clip art under MIT, Apache-2.0 and CC-BY-4.0, or in the public domain; authors and licences
are in `datasets/ATTRIBUTION.md` of open-textok and must go with the pictures.

```python
from datasets import load_dataset

scenes = load_dataset("webdataset", data_files="{split}-*.tar", split="train", streaming=True)
```

Fingerprint: `{fingerprint}`.
"""
"""The card of a folder of scenes as a data set, with the header that the Hugging Face hub reads."""


def _is_whole(path: Path, count: int) -> bool:
    """Whether a shard holds so many scenes; the last one of an earlier, shorter run does not."""
    if not path.is_file():
        return False
    with tarfile.open(path) as tar:
        return sum(member.name.endswith(".txt") for member in tar) == count


def _members(
    source: SceneSource, index: int, *, size: int, file_format: Format
) -> Iterator[tuple[str, bytes]]:
    sample = source.read(index)
    picture = io.BytesIO()
    tensor_to_image(source.draw(index, size)).save(picture, file_format, **_SAVING[file_format])
    record = {"caption": sample.captions[0], "facts": json.loads(sample.facts)}
    yield f"{sample.key}.{file_format}", picture.getvalue()
    yield f"{sample.key}.txt", sample.captions[0].encode()
    yield f"{sample.key}.json", json.dumps(record).encode()
