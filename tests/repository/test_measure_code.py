"""The script behind the bars of size counts what it says."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "runs" / "measure_code.py"
CODE = '''
@decorator
def first():
    """Two lines and a decorator."""


class Some:
    async def second(self):
        def third():
            return 3

        return third


def train_tokenizer():
    pass
'''


def test_functions_lines_and_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("measure_code", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for room in ("cli", "models"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "code.py").write_text(CODE)
    assert sorted(script.functions_of(tmp_path / "cli" / "code.py")) == [
        (2, "third"), (2, "train_tokenizer"), (3, "first"), (5, "second"),
    ]  # fmt: skip
    monkeypatch.setattr(script, "PACKAGE", tmp_path)
    monkeypatch.setattr("sys.argv", ["measure_code.py", "--enforce"])
    assert script.main() == 1
    output = capsys.readouterr().out
    assert output.count("OVER") == 1 and "OVER         1 of    0.6  lines of cli" in output
    assert f"{2 * len(CODE.splitlines())} of {script.LINES:,}  lines" in output
    monkeypatch.setattr("sys.argv", ["measure_code.py"])
    assert script.main() == 0
