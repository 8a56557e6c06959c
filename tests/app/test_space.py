"""The Space folder runs as it is: its header fits its files, and its script serves the page to everybody."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from textok.app import serve
from textok.app.studio import Studio

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "examples/space"


def test_the_header_names_the_script_and_the_tested_gradio() -> None:
    header = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert header["sdk"] == "gradio" and (SPACE / header["app_file"]).is_file()
    assert f"gradio=={header['sdk_version']}\n" in (ROOT / "constraints.txt").read_text()
    assert "open-textok[app]" in (SPACE / "requirements.txt").read_text().splitlines()


@pytest.mark.slow
def test_the_script_serves_the_page_to_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Studio, dict[str, Any]]] = []
    monkeypatch.setattr(serve, "serve", lambda studio, **where: calls.append((studio, where)))
    monkeypatch.delenv("TEXTOK_MODEL", raising=False)
    runpy.run_path(str(SPACE / "app.py"), run_name="__main__")
    ((studio, where),) = calls
    assert where == {"host": "0.0.0.0", "port": 7860}
    assert studio.pipeline is not None and studio.prior is not None
