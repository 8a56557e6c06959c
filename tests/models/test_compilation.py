"""``torch.compile(fullgraph=True)`` of what users and training call."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)  # a process of its own, which a busy machine makes wait
def test_the_tokenizer_compiles_in_one_graph() -> None:
    program = Path(__file__).with_name("compile_whole.py")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "compiled\n"
