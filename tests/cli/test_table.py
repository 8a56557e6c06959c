"""The table of commands: every row leads to a command, and a shell completes all of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from textok.cli import main
from textok.cli.table import COMMANDS, find, load


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_leads_to_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(load(name, [])) and find([*name.split(), "x"]) == (name, ["x"])
    assert main([*name.split(), "--help"]) == 0
    assert f"usage: textok {name} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encod"], "'encode'"),
        (["train", "tokeniser"], "'train tokenizer'"),
        (["bake"], "--help"),
        (["train"], ""),
    ],
)
def test_an_unknown_command_suggests_the_nearest(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == (2 if message else 0)
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_shell_completes_commands_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "textok"
    script.write_text(capsys.readouterr().out)
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    line = "textok train tok"
    code = f"""
        source {script}
        COMP_WORDS=(textok train tok); COMP_CWORD=2; COMP_LINE="{line}"; COMP_POINT={len(line)}
        $(complete -p textok | sed -E 's/.*-F ([^ ]+).*/\\1/')
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["tokenizer"], done.stderr
