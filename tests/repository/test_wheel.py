"""The wheel holds what an installation needs, and runs from it alone."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from textok.models.checkpoint import shipped_folder
from tiny import write_pictures

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow  # the fixture builds


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("open_textok-*.whl")
    return found


def test_what_an_installation_needs_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for folder in ("icons-128-tokenizer", "icons-128-generator", "demo-pictures"):
        carried = {
            str(path.relative_to(shipped_folder(folder))) for path in shipped_folder(folder).rglob("*.*")
        }
        assert {f"textok/_shipped/{folder}/{name}" for name in carried} <= set(names)
    assert {"config.json", "model.safetensors"} <= {Path(name).name for name in names}
    assert {
        "textok/evaluation/pages/look.css",
        "textok/evaluation/pages/report.css",
        "textok/__init__.pyi",
        "textok/app/theme.css",
        "textok/py.typed",
    } <= set(names)
    licences = {path.name for path in (ROOT / "datasets/licences").iterdir()}
    for where in ("textok/_shipped/demo-pictures/licences/", ".dist-info/licenses/datasets/licences/"):
        assert licences <= {Path(name).name for name in names if where in name}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "textok/_shipped/demo-pictures/ATTRIBUTION.md" in names


def test_nothing_else_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        strays = [name for name in archive.namelist() if name.endswith((".pyc", ".tmp"))]
    assert {top for top in tops if not top.endswith(".dist-info")} == {"textok"} and not strays
    assert wheel.stat().st_size < 90e6, "a package index takes 100 MB"


def test_it_runs_away_from_the_repository(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from textok.cli import main; from textok.models.checkpoint import shipped_folder;"
        "print(shipped_folder('icons-128-tokenizer')); main(['info', 'icons-128', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder, facts = done.stdout.splitlines()
    assert folder == str(tmp_path / "site/textok/_shipped/icons-128-tokenizer")
    assert json.loads(facts)["model"]["model_id"].startswith("icons-128-")


def test_first_steps_away_from_the_repository(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    write_pictures(tmp_path / "own", ["a red square", "a blue circle", "a cat"] * 4)
    toy = "train tokenizer toy --data.source own --name m --steps 1 --batch-size 4 --validation.count 2 --out run"
    steps = ["check own", toy, "encode own --model run --out t.ttk", "decode t.ttk --model run --out back"]
    code = (
        "import sys; from textok.cli import main; sys.exit(any(main(step.split()) for step in sys.argv[1:]))"
    )
    variables = {"PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for words, status in ((steps, 0), (["scenes --count 1 --out scenes"], 1)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path, env=os.environ | variables,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
    assert len(list((tmp_path / "back").glob("*.png"))) == 12
    assert "drawings: got no folder" in done.stderr and len(done.stderr.splitlines()) == 1
