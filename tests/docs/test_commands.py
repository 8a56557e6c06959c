"""The reference of the command line is what --help says."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "commands.py"


@pytest.mark.slow
def test_the_page_is_what_the_commands_say() -> None:
    script = runpy.run_path(str(SCRIPT))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert page == script["page"](), "write it anew: python docs/commands.py"
    assert "--labels INT,INT" in page and "Exit codes" in page
