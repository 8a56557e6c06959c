"""Whatever form one's own pictures have, they go all the way: check, train, info, encode, decode, cache, generate."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from textok.cli import main

COUNT = 12
PICTURES = [f"IMG {n:03d}.JPG" if n % 2 else f"img_{n}.png" for n in range(COUNT)]


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("RGB", (40 + number, 32), (20 * number, 90, 200 - 10 * number))
    image.save(buffer, "JPEG" if number % 2 else "PNG")
    return buffer.getvalue()


def caption(number: int) -> str:
    return f"shade number {number}"


def put(root: Path, name: str, content: bytes | str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def pictures(
    root: Path, *, folder: Callable[[int], str] = lambda _: "", texts: int = 0, suffix: str = ".txt"
) -> None:
    for number, name in enumerate(PICTURES):
        place = folder(number) + name
        put(root, place, encoded(number))
        if number < texts:
            put(root, place.rpartition(".")[0] + suffix, caption(number))


def flat_txt(root: Path) -> None:
    pictures(root, texts=COUNT)


def flat_bare(root: Path) -> None:
    pictures(root)


def flat_partly(root: Path) -> None:
    pictures(root, texts=COUNT // 2)


def flat_meta(root: Path) -> None:
    pictures(root)
    lines = [json.dumps({"file_name": name, "text": caption(n)}) for n, name in enumerate(PICTURES)]
    put(root, "metadata.jsonl", "\n".join(lines))


def flat_csv(root: Path) -> None:
    pictures(root)
    lines = [f'"{name}","{caption(n)}"' for n, name in enumerate(PICTURES)]
    put(root, "metadata.csv", "\n".join(["file_name,caption", *lines]))


def classes(root: Path) -> None:
    pictures(root, folder=lambda n: "dog/" if n % 2 else "cat/")


def nested(root: Path) -> None:
    pictures(root, folder=lambda n: "a/" if n % 2 else "b/c/", texts=COUNT)


def coco(root: Path) -> None:
    pictures(root, folder=lambda _: "images/")
    images = [{"id": n, "file_name": name} for n, name in enumerate(PICTURES)]
    annotations = [{"image_id": n, "caption": caption(n)} for n in range(COUNT) for _ in range(2)]
    put(root, "annotations/captions_own.json", json.dumps({"images": images, "annotations": annotations}))


def one_tar(root: Path) -> None:
    root.mkdir()
    with tarfile.open(root / "one.tar", "w") as tar:
        for number in range(COUNT):
            for name, data in (
                (PICTURES[number], encoded(number)),
                (PICTURES[number][:-4] + ".txt", caption(number).encode()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def table() -> pa.Table:
    cells = [{"bytes": encoded(n), "path": name} for n, name in enumerate(PICTURES)]
    return pa.table({"image": cells, "caption": [caption(n) for n in range(COUNT)]})


def one_parquet(root: Path) -> None:
    root.mkdir()
    pq.write_table(table(), root / "one.parquet")


def hub_like(root: Path) -> None:
    (root / "data").mkdir(parents=True)
    pq.write_table(table(), root / "data" / "train-00000-of-00001.parquet")
    put(root, "README.md", "# pictures")


def kohya(root: Path) -> None:
    pictures(root, folder=lambda _: "10_shades/", texts=COUNT, suffix=".caption")


def parts(root: Path) -> None:
    pictures(root, folder=lambda n: "validation/" if n < 3 else "train/", texts=COUNT)


def json_beside(root: Path) -> None:
    pictures(root)
    for number, name in enumerate(PICTURES):
        put(root, name[:-4] + ".json", json.dumps({"caption": caption(number), "url": "https://example.org"}))


FORMS = [
    flat_txt,
    flat_bare,
    flat_partly,
    flat_meta,
    flat_csv,
    classes,
    nested,
    coco,
    one_tar,
    one_parquet,
    hub_like,
    kohya,
    parts,
    json_beside,
]
TOKENIZER = ["--steps", "2", "--batch-size", "4", "--name", "m", "--precision", "float32"]
SMALL = ["--model.dim", "16", "--model.encoder-depth", "1", "--model.decoder-depth", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_form_goes_all_the_way(
    form: Callable[[Path], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    form(tmp_path / "own")

    def textok(*words: str) -> str:
        capsys.readouterr()
        assert main(list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().err

    textok("check", "own")
    said = textok(
        "train",
        "tokenizer",
        "toy",
        "--data.source",
        "own",
        "--data.split",
        "train",
        "--out",
        "run",
        *TOKENIZER,
        *SMALL,
    )
    assert "held out" in said
    textok("info", "run")
    textok("encode", "own", "--num-tokens", "2", "--model", "run", "--out", "x.safetensors")
    textok("decode", "x.safetensors", "--model", "run", "--out", "back")
    assert len(list(Path("back").glob("*.png"))) == COUNT
    textok("cache", "--model", "run", "--data", "own", "--out", "latents")
    generator = [
        "--latents",
        "latents",
        "--out",
        "gen",
        "--steps",
        "2",
        "--batch-size",
        "4",
        "--preview.every",
        "2",
    ]
    textok("train", "generator", "toy-dit", *generator)
    textok("generate", "a shade", "--model", "gen", "--num-tokens", "2", "--out", "made")


@pytest.mark.slow
def test_without_a_split_a_part_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat_txt(tmp_path / "own")
    words = ["train", "tokenizer", "toy", "--data.source", str(tmp_path / "own"), "--data.split", "None"]
    assert main([*words, "--out", str(tmp_path / "run"), *TOKENIZER, *SMALL]) == 0
    assert "held out for validation" in capsys.readouterr().err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["facts"]["held_out"]["count"] == 6 and facts["census"]["read"] == COUNT


def test_a_run_in_its_own_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat_txt(tmp_path / "own")
    words = ["train", "tokenizer", "toy", "--data.source", str(tmp_path / "own")]
    assert main([*words, "--out", str(tmp_path / "own" / "run"), *TOKENIZER, *SMALL]) == 2
    assert "out: got" in capsys.readouterr().err and not (tmp_path / "own" / "run").exists()


@pytest.mark.slow
def test_a_shorter_run_scales_and_a_run_is_extended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat_txt(tmp_path / "own")
    words = [
        "train",
        "tokenizer",
        "toy",
        "--data.source",
        str(tmp_path / "own"),
        "--out",
        str(tmp_path / "run"),
    ]
    words += [*TOKENIZER, *SMALL]
    assert main(words) == 0
    assert "warm-up takes 1 of them" in capsys.readouterr().err
    longer = [*words, "--steps", "3"]
    assert main(longer) == 2
    assert "--extend" in capsys.readouterr().err
    assert main([*longer, "--extend"]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["steps"] == 3 and [config["steps"] for config in record["extended"]] == [2]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 3
