"""Copy a handful of test pictures into ../demo-pictures: what `textok demo` shows and the wheel carries.

    python demo.py --data ..

Nothing is drawn at random: the pictures are named below, varied in subject, style and background. Pictures and
fields are copied byte for byte with their keys, so each is still the sample of its test split.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path

# (concept, source): a new drawing of a thing that training knows from other sources
DRAWINGS = [
    ("butterfly", "fluent-flat"), ("strawberry", "fluent-3d"), ("airplane", "noto-v1"), ("turtle", "emojione"),
    ("owl", "noto"), ("sunflower", "fxemoji"), ("wolf", "twemoji"), ("violin", "openclipart"),
    ("snowman", "fluent-3d"), ("palm tree", "noto"), ("house garden", "noto-v1"), ("bicycle", "emojione"),
]
# (concept, source): a thing that occurs nowhere in training
CONCEPTS = [
    ("tiger", "noto"), ("pineapple", "fluent-3d"), ("octopus", "fxemoji"), ("volcano", "twemoji"),
    ("crown", "fluent-flat"), ("kangaroo", "noto"), ("watermelon", "emojione"), ("headphone", "noto-v1"),
    ("hamster", "fluent-3d"), ("flying saucer", "fluent-flat"), ("cupcake", "twemoji"), ("squirrel", "openclipart"),
]
PHOTOS = [
    "skimage/astronaut.png", "skimage/chelsea.png", "skimage/coffee.png", "skimage/rocket.jpg",
    "a photo of a red panda", "a photo of a kingfisher", "a photo of Mont-Saint-Michel", "a photo of the Taj Mahal",
]  # file or caption

Member = tuple[tarfile.TarInfo, bytes]


def read_raw(path: Path) -> list[tuple[list[Member], dict[str, str]]]:
    """The samples of a tar as they lie in it: their members, and the fields of the json one."""
    samples: dict[str, list[Member]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            samples.setdefault(member.name.rsplit(".", 1)[0], []).append((member, archive.extractfile(member).read()))
    return [(members, json.loads(members[1][1])) for members in samples.values()]


def drawing(samples: list[tuple[list[Member], dict[str, str]]], concept: str, source: str) -> list[Member]:
    """The first drawing of the concept from the source; plain ones (shortest caption) before skin-tone variants."""
    found = [(len(f["name"]), m) for m, f in samples if (f["concept"], f["source"]) == (concept, source)]
    return min(found, key=lambda pair: pair[0])[1]


def photo(samples: list[tuple[list[Member], dict[str, str]]], name: str) -> list[Member]:
    return next(members for members, fields in samples if name in (fields["file"], fields["caption"]))


def write(path: Path, chosen: list[list[Member]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for members in chosen:
            for member, data in members:
                archive.addfile(member, io.BytesIO(data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parent.parent)
    data = parser.parse_args().data
    for split, named in (("test-drawing", DRAWINGS), ("test-concept", CONCEPTS)):
        samples = read_raw(data / "icons-128" / f"{split}-000000.tar")
        write(data / "demo-pictures" / f"{split}-000000.tar", [drawing(samples, *name) for name in named])
    samples = read_raw(data / "photos-256" / "test-000000.tar")
    write(data / "demo-pictures" / "photos-000000.tar", [photo(samples, name) for name in PHOTOS])


if __name__ == "__main__":
    main()
