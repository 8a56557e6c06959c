"""Values of a wrong type get one sentence, in a process without the type checker of the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SCRIPT = """
import numpy as np, torch
from tiny import LetterEncoder, tiny_model
from textok.pipeline.image_tokenizer import ImageTokenizer

torch.cuda.is_available = lambda: False
model = tiny_model(text_dim=12)
tokenizer = ImageTokenizer(model, text_encoder=LetterEncoder(), dtype="float32")
picture = np.zeros((32, 32, 3), dtype=np.uint8)
calls = [
    lambda: tokenizer.encode(picture, num_tokens=2.5),
    lambda: tokenizer.encode(picture, 7),
    lambda: tokenizer.encode(picture, [7]),
    lambda: tokenizer.encode([picture, picture], ["a"]),
    lambda: tokenizer.encode(picture, "cat \\ud83d"),
    lambda: tokenizer.encode(7),
    lambda: tokenizer.decode("x"),
    lambda: ImageTokenizer(model, device="cuda"),
    lambda: ImageTokenizer(model, device="abacus"),
    lambda: ImageTokenizer(model, dtype="float8"),
    lambda: tokenizer.to("cpu", torch.int8),
    lambda: tokenizer.decode(tokenizer.encode(picture), steps=3),
]
for call in calls:
    try:
        call()
        print("nothing was refused")
    except ValueError as error:
        print(error)
print(tokenizer)
print(tokenizer.to("cpu", torch.bfloat16).dtype, tokenizer.to("cpu").dtype)
print(tokenizer.encode(picture, num_tokens=np.int64(2)))
"""

REFUSED = [
    "num_tokens: got 2.5, expected a whole number",
    "captions: got int, expected a string",
    "captions[0]: got int, expected a string",
    "captions: got 1 for 2 pictures",
    "captions[0]: got",
    "images[0]: got int, expected a path",
    "tokens: got str, expected Tokens",
    "device: got 'cuda'",
    "device: got 'abacus'",
    "dtype: got float8",
    "dtype: got torch.int8",
    "steps: got 3",
]


@pytest.mark.slow
def test_wrong_types_get_one_sentence() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=TESTS)
    lines = run.stdout.splitlines()
    assert run.returncode == 0, run.stderr
    for line, start in zip(lines, REFUSED, strict=False):
        assert line.startswith(start)
    name, dtypes, tokens = lines[len(REFUSED) :]
    assert name.startswith("ImageTokenizer('") and dtypes == "torch.bfloat16 torch.bfloat16"
    assert tokens.startswith("Tokens(1 pictures")
