"""The blocks of README and docs run, one after another, page by page, in a folder that has what they name.

Commands run with fewer pictures and steps (``SMALLER``). What needs a server, a download, a GPU or hours is only
parsed, in test_docs; ``PARSED_ONLY`` and the pages of ``PARSED_PAGES`` are all of it.
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
PARSED_PAGES = (
    "training",
    "evaluation",
    "gpu",
    "scale",
    "reproduction",
    "log",
    "reliability",
    "commands",
    "architecture",
    "evidence",
    "coming-from",
)
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [page for page in PAGES if page.parent != DOCS or page.stem not in PARSED_PAGES]
PARSED_ONLY = re.compile(
    r"imagenet|openai|inception_2015|dinov2|coco|places365|flan-t5|--labels|lpips|textok app|\bprior\b|evaluate gener"
    r"|all-in-one|demo --data my-pictures"  # README's demo reads these pictures here too
)
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TRAINED = "--steps 2 --batch-size 4 --micro-batch 4 --log-every 1 --optimizer.warmup-steps 1"
VALIDATED = "--validation.count 4 --validation.budgets 2,4"
SMALLER = {
    "encode": "--limit 8",
    "cache": "--limit 8",
    "generate --prompts": "--limit 4 --steps 2",
    "demo": "--limit 2 --data my-pictures",
    "evaluate reconstruction": "--limit 16",
    "train tokenizer": f"{TRAINED} {VALIDATED}",
    "train generator": f"{TRAINED} --preview.every 2 --preview.prompts apple",
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
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run_one_after_another(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = sorted((folder / "my-pictures").iterdir())[:4]
    captions = ["a drawing"] * len(pictures)
    names = {"pictures": pictures, "captions": captions, "sample": pictures, "sample_captions": captions}
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python" and not PARSED_ONLY.search(block):
            exec(compile(block, page.name, "exec"), names)
        elif language == "bash":
            for line in block.replace("\\\n", " ").splitlines():
                run(shlex.split(line, comments=True), capsys)


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line of a shell."""
    if words[:1] == ["torchrun"]:
        words = ["textok", *words[words.index("textok.cli") + 1 :]]
    if words[:1] != ["textok"]:
        exists(words)
        return
    if PARSED_ONLY.search(shlex.join(words)):
        return
    name = next((name for name in SMALLER if words[1:][: name.count(" ") + 1] == name.split()), "")
    smaller = shlex.split(SMALLER.get(name, ""))
    own = {word for word in words if word.startswith("--")}
    if name == "train tokenizer" and "--data.source" not in own:
        smaller += ["--data.source", "my-folder", "--data.split", "train", "--validation.split", "val"]
    end = next(
        (place for place, word in enumerate(words) if ":" in word and word.endswith("-config")), len(words)
    )
    done = main([*words[1:end], *smaller, *words[end:]])
    assert done == 0, f"{shlex.join(words)}\n{capsys.readouterr().err[-2000:]}"


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
