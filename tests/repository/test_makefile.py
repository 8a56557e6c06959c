"""What ``make`` says before it works: the size on the disk, the small build of torch, the Python it needs."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run make in an empty folder, where nothing is installed yet."""
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    command = ["make", "--file", str(ROOT / "Makefile"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["install", "setup", "demo"])
@pytest.mark.slow
def test_one_word_chooses_the_small_build_and_both_sizes_are_said_before(target: str, tmp_path: Path) -> None:
    large = make("--dry-run", target, folder=tmp_path).stdout
    small = make("--dry-run", target, "TORCH=cpu", folder=tmp_path).stdout
    assert "GB on Linux" in large and "TORCH=cpu" in large and "whl/cpu" not in large
    assert "whl/cpu" in small and small.index(" GB") < small.index("pip install")


def test_mistakes_end_in_one_line_and_install_nothing(tmp_path: Path) -> None:
    wrong = make("setup", "TORCH=rocm", folder=tmp_path)
    assert wrong.returncode and "TORCH: got rocm" in wrong.stderr
    old = make("setup", "PYTHON=false", folder=tmp_path)
    assert old.returncode and "PYTHON: got 'false'" in old.stdout + old.stderr
    assert not (tmp_path / ".venv").exists()
