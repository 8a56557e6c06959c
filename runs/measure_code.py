"""Measures the package against the bars that keep it small: ``python runs/measure_code.py [--enforce]``.

``make check`` runs it. A feature that needs more lines or files raises LINES or FILES by what it adds, in a commit
that says what for. The proportions and the lengths of functions stay as they are.
"""

import ast
import sys
from collections import Counter
from pathlib import Path
from statistics import median, quantiles

# 21,000 and 155, and what later features may add: scenes 1,760 and 14, captions at scale 1,760 and 12, the decoder that
# generates 530 and 2, own pictures 600 and 8, speed and rehearsals 810 and 5, trust 300 and 1. And what came after that
# list, as it was counted: the app 940 and 6, calls of diffusers and generation in bulk 430 and 2, Ray, addresses and
# tokens as parquet 390 and 3, contents and locks 270 and 2, the profile 60 and 1.
LINES, FILES = 28_850, 211
SHELL_TO_ENGINE = 0.60  # lines of the rooms in SHELL, to those in ENGINE
MEDIAN, P90, LONGEST = 8, 25, 80  # lines of a function, decorators included
LOOPS, LOOP = ("train_tokenizer", "train_generator"), 150  # the training loops read from top to bottom

SHELL = ("cli", "evaluation")
ENGINE = ("models", "objectives", "sampling", "data", "training", "pipeline", "budgets")
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGE = Path(__file__).parents[1] / "src" / "textok"


def functions_of(file: Path) -> list[tuple[int, str]]:
    """Length in lines and name of every function and method."""
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, FUNCTION)]
    starts = [min(part.lineno for part in (node, *node.decorator_list)) for node in nodes]
    return [
        ((node.end_lineno or start) - start + 1, node.name) for node, start in zip(nodes, starts, strict=True)
    ]


def main() -> int:
    """Print every measure beside its bar; return 1 where a bar is passed and ``--enforce`` is given."""
    files = sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")])
    rooms: Counter[str] = Counter()
    for file in files:
        rooms[file.relative_to(PACKAGE).parts[0]] += len(file.read_text().splitlines())
    functions = [function for file in files for function in functions_of(file)]
    lengths = [length for length, _ in functions]
    longest, name = max(function for function in functions if function[1] not in LOOPS)
    shell, engine = (sum(rooms[room] for room in part) for part in (SHELL, ENGINE))
    measures = [
        ("lines", rooms.total(), LINES),
        ("files", len(files), FILES),
        (f"lines of {' + '.join(SHELL)} per line of {' + '.join(ENGINE)}", shell / engine, SHELL_TO_ENGINE),
        ("lines of a function: median", median(lengths), MEDIAN),
        ("lines of a function: nine in ten have at most", quantiles(lengths, n=10)[-1], P90),
        (f"lines of the longest function but the training loops: {name}", longest, LONGEST),
        ("lines of the longer training loop", max(n for n, title in functions if title in LOOPS), LOOP),
    ]
    print("lines:", ", ".join(f"{room} {count}" for room, count in rooms.most_common()))
    for title, value, bar in measures:
        print(f"{'ok  ' if value <= bar else 'OVER'} {value:>9,.5g} of {bar:>6,}  {title}")
    return int("--enforce" in sys.argv and any(value > bar for _, value, bar in measures))


if __name__ == "__main__":
    sys.exit(main())
