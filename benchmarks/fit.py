"""`textok fit` from a folder of pictures to generated ones, timed: 40 photographs, or 2,000 drawings.

    python benchmarks/fit.py photographs 40
    python benchmarks/fit.py drawings 2000 --hours 0.2

The folder holds pictures with captions beside them, as a user has them; then come the two commands that a user types.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from textok.data import DataConfig, tensor_to_image
from textok.data.config import read_sample
from textok.data.samples import spread
from textok.training.run_folder import environment
from textok.writing import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
KINDS = {
    "photographs": DataConfig(source=str(ROOT / "datasets" / "photos-256"), size=(256, 256)),
    "drawings": DataConfig(source="icons", split="train", size=(128, 128)),
}


def main() -> None:
    """Write the pictures, run the commands, write the record, print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the pictures and the model stay; else they go")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.folder or Path(temporary)
        write_pictures(work / "own", KINDS[options.kind], options.count)
        hours = [] if options.hours is None else ["--hours", str(options.hours)]
        fit = ["fit", "own", "--out", "model", "--seed", str(options.seed), *hours]
        seconds = {"fit": timed(fit, work)}
        results = json.loads((work / "model" / "report.json").read_text())
        generate = [
            "generate",
            results["prompts"][0],
            "--model",
            "model",
            "--num-tokens",
            "8",
            "--out",
            "made",
        ]
        seconds["generate"] = timed(generate, work)
        commands = [shlex.join(["textok", *words]) for words in (fit, generate)]
        record = {"pictures": options.kind, "typed": commands, "seconds": seconds, "fit": results}
        record |= {"generated": len(list((work / "made").glob("[0-9]*.png"))), "made_by": environment()}
        write_json(options.out or RESULTS / f"fit_{options.count}.json", record)
    print(json.dumps({"seconds": seconds, "psnr_db": results["psnr_db"], "plan": results["plan"]}, indent=2))


def write_pictures(folder: Path, config: DataConfig, count: int) -> None:
    """So many pictures, at even distances in the source, as PNG with a .txt beside."""
    source = spread(config.open(), count)
    folder.mkdir(parents=True)
    for index in range(len(source)):
        sample = read_sample(source, index, config)
        tensor_to_image(sample.image).save(folder / f"{sample.key}.png")
        (folder / f"{sample.key}.txt").write_text(sample.captions[0])


def timed(words: list[str], work: Path) -> float:
    """Seconds of a command, from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "textok.cli", *words], check=True, cwd=work)
    return round(time.perf_counter() - began, 1)


if __name__ == "__main__":
    main()
