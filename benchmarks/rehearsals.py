"""``--rehearse`` of every recipe on this machine: its table, or the line that says what is missing here.

    python benchmarks/rehearsals.py

Recipes on ImageNet rehearse on the icons of this repository, generators on latents of the shipped tokenizer, which
the script makes first. Run it on an otherwise idle machine. What takes longer than ``--seconds`` is stopped.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from textok.evaluation.results import Row, write_result
from textok.recipes import GENERATOR_RECIPES, RECIPES
from textok.training.run_folder import environment

OUT = Path(__file__).resolve().parent / "results" / "rehearsals.json"
TEXTOK = [sys.executable, "-m", "textok.cli"]
TABLE = 7  # lines of a rehearsal's table


def main() -> None:
    """Rehearse every recipe in turn, and write what each said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300, help="limit of one recipe")
    parser.add_argument("--only", nargs="+", help="recipes by name; all when not given")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows = []
    with TemporaryDirectory() as scratch:
        latents = Path(scratch) / "latents"
        subprocess.run([*TEXTOK, "cache", "--data", "icons", "--split", "val", "--out", latents], check=True)
        for kind, names in (("tokenizer", RECIPES), ("generator", GENERATOR_RECIPES)):
            for name in names:
                if name in (options.only or names):
                    row = rehearsed(kind, name, latents, Path(scratch) / name, seconds=options.seconds)
                    print(row["said"], flush=True)
                    rows.append(row)
                    settings = {"seconds": options.seconds, "seed": 0}
                    write_result(options.out, settings=settings, rows=rows, made_by=environment())


def rehearsed(kind: str, name: str, latents: Path, out: Path, *, seconds: float) -> Row:
    """What the command ended with and said last."""
    command = ["train", kind, name, "--out", out, "--rehearse"]
    if kind == "generator":
        command += ["--latents", latents]
    elif name.startswith("imagenet"):
        command += ["--data.source", "icons"]
    try:
        done = subprocess.run(
            [*TEXTOK, *map(str, command)], capture_output=True, text=True, check=False,
            timeout=seconds, env=os.environ | {"TQDM_DISABLE": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"recipe": name, "kind": kind, "exit": 124, "said": f"{name}: took over {seconds:.0f} s"}
    lines = (done.stdout if done.returncode == 0 else done.stderr).replace(f"{out.parent}/", "").splitlines()
    told = lines[-TABLE:] if done.returncode == 0 else lines[-1:]
    return {"recipe": name, "kind": kind, "exit": done.returncode, "said": "\n".join(told)}


if __name__ == "__main__":
    main()
