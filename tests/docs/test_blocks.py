"""The blocks of README and docs run, one after another, page by page, in a folder that has what they name.

Commands run with fewer pictures and steps (``SMALLER``). ``NOT_RUN`` and ``PAGES_NOT_RUN`` are all that is only
parsed, in test_docs, each with the reason.
"""

import io
import json
import re
import shlex
import shutil
import tarfile
from importlib.util import find_spec
from pathlib import Path

import nbclient
import nbformat
import pytest
from PIL import Image

from textok.cli import fit, main
from textok.evaluation import demo
from textok.recipes.fit import Plan

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES_NOT_RUN = {
    "gpu": "GPUs, a cluster, downloads",
    "scale": "clusters and S3; tests/scale runs each engine",
    "reproduction": "the study of captions takes days; tests/research runs it in small",
}
NOT_RUN = {
    "imagenet": "millions of pictures that are not here",
    "coco|places365": "data sets that are not here",
    "inception_2015|dinov2|lpips|flan-t5|t5-v1_1": "weights that are not here",
    "openai": "a server",
    "--labels": "no shipped generator is of classes",
    r"evaluate gener|\bprior\b": "thousands of pictures; tests/evaluation and tests/codec run them on few",
    "textok app": "runs until it is stopped; tests/app uses it",
    "all-in-one": "its adversarial part begins at step 3,000; tests/training begins it earlier",
    "demo --data my-pictures": "README's demo reads these pictures here too",
}
SKIPPED = re.compile("|".join(NOT_RUN))
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [page for page in PAGES if re.search("^```(python|bash)", page.read_text(), re.MULTILINE)]
RUN = [page for page in PAGES if page.parent != DOCS or page.stem not in PAGES_NOT_RUN]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TRAINED = "--steps 1 --batch-size 4 --micro-batch 4 --log-every 1 --optimizer.warmup-steps 0"
VALIDATED = "--validation.count 4 --validation.budgets 2,4"
SMALLER = {
    "encode": "--limit 8",
    "cache": "--limit 8",
    "generate --prompts": "--limit 4 --steps 2",
    "demo": "--limit 2 --data my-pictures",
    "evaluate reconstruction": "--limit 4",
    "train tokenizer icons-128-gan": f"{TRAINED} {VALIDATED} --validation.best-by perceptual_effnet_lite2",
    "train tokenizer": f"{TRAINED} {VALIDATED}",
    "train generator": f"{TRAINED} --preview.every 1 --preview.prompts apple",
}
STEPS = dict.fromkeys(("tokenizer_steps", "generator_steps", "tokenizer_batch", "generator_batch"), 2)


def drawings() -> list[tuple[str, str, bytes]]:
    """Name, caption and file of the pictures that travel with the package."""
    rows = []
    for path in sorted((ROOT / "datasets/demo-pictures").glob("*.tar")):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
        for name in sorted(name for name in files if name.endswith(".webp")):
            rows.append((name, json.loads(files[f"{Path(name).stem}.json"])["caption"], files[name]))
    return rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages name: pictures of one's own in several forms, and one of an apple."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    for number, (name, caption, picture) in enumerate(drawings()):
        for part in ("my-pictures", f"my-folder/{'val' if number % 4 == 0 else 'train'}"):
            (tmp_path / part).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / name).write_bytes(picture)
            if part != "my-pictures":
                (tmp_path / part / name).with_suffix(".txt").write_text(caption)
    (tmp_path / "my-tars").symlink_to(ROOT / "datasets/demo-pictures")
    Image.open(io.BytesIO(drawings()[0][2])).save(tmp_path / "apple.png")
    plan = Plan(
        tokenizer="icons-128", generator="icons-64-dit", init_from="icons-128", reasons=("a test",), **STEPS
    )
    monkeypatch.setattr(fit.recipes, "choose", lambda *_, **__: plan)
    monkeypatch.setattr(fit, "_measured_speed", lambda *_: 1e-6)
    monkeypatch.setattr(demo, "PROMPTS", dict([next(iter(demo.PROMPTS.items()))]))  # the whole takes a minute
    monkeypatch.setattr(demo, "PROMPT_BUDGETS", demo.PROMPT_BUDGETS[:1])
    monkeypatch.setattr(demo, "_TIMED_SECONDS", 0.0)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run_one_after_another(
    page: Path, folder: Path, trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = sorted((folder / "my-pictures").iterdir())[:4]
    captions = ["a drawing"] * len(pictures)
    names = {"pictures": pictures, "captions": captions, "sample": pictures, "sample_captions": captions}
    if page.stem == "evaluation":  # of what another page trains
        (folder / "runs-out/mine").mkdir(parents=True)
        (folder / "runs-out/mine/weights").symlink_to(ROOT / "weights/icons-128-tokenizer")
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python" and not SKIPPED.search(block):
            exec(compile(block, page.name, "exec"), names)
        elif language == "bash":
            for line in block.replace("\\\n", " ").splitlines():
                run(shlex.split(line, comments=True), trained, capsys)


def run(words: list[str], trained: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """One line of a shell; of a training that was run with another folder the result is there."""
    if words[:1] == ["torchrun"]:
        words = ["textok", *words[words.index("textok.cli") + 1 :]]
    if words[:1] != ["textok"]:
        exists(words)
        return
    line = shlex.join(words)
    if SKIPPED.search(line):
        return
    training, out = (
        re.sub(r"--out \S+", "", line),
        Path(words[words.index("--out") + 1]) if "--out" in words else None,
    )
    if training in trained:
        shutil.copytree(trained[training], out, dirs_exist_ok=True)
        return
    name = next((name for name in SMALLER if words[1:][: name.count(" ") + 1] == name.split()), "")
    smaller = shlex.split(SMALLER.get(name, ""))
    if name.startswith("train tokenizer") and "--data.source" not in words:
        smaller += ["--data.source", "my-folder", "--data.split", "train", "--validation.split", "val"]
    end = next(
        (place for place, word in enumerate(words) if ":" in word and word.endswith("-config")), len(words)
    )
    code = main([*words[1:end], *smaller, *words[end:]])
    assert code == 0, f"{line}\n{capsys.readouterr().err[-2000:]}"
    if words[1] in ("fit", "train"):
        trained[training] = out.absolute()


def test_what_is_not_run_is_there() -> None:
    blocks = "\n".join(block for page in RUN for _, block in BLOCK.findall(page.read_text(encoding="utf-8")))
    assert all(re.search(pattern, blocks) for pattern in NOT_RUN)
    assert {page.stem for page in PAGES} >= PAGES_NOT_RUN.keys()


@pytest.fixture(scope="module")
def trained() -> dict[str, Path]:
    """A training without its folder -> the folder where it was run; each is run once."""
    return {}


def exists(words: list[str]) -> None:
    """Of a line that is not ours to run: the script, module or target that it names is there."""
    if words[:1] == ["make"]:
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[:2] == ["python", "-m"]:
        assert find_spec(words[2])
    elif words and Path(words[0]).name == "python":
        assert (ROOT / words[1]).is_file()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    shutil.copy(DOCS / "quickstart.ipynb", tmp_path)
    notebook = nbformat.read(tmp_path / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/png" in output["data"] for output in pictures) == 5
