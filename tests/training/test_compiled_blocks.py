"""``compile``: equal blocks share one compilation, and the training computes what it computed.

On a CPU the last part, one block through the default backend, needs a C++ compiler.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_compiled_blocks_give_the_same_gradients_from_few_graphs() -> None:
    program = Path(__file__).with_name("compile_blocks.py")
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.stdout == "compiled\n", done.stderr[-3000:]
