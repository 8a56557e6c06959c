"""Seconds of training until the PSNR and the perceptual distance that another checkout reaches in ten minutes.

    python benchmarks/time_to_quality.py --before /path/to/another/checkout

Both checkouts train ``icons-128`` on the validation drawings from the same seed, one core each and side by side;
nothing else may run. Seconds are those of steps alone: pictures over the logged speed, which leaves validations out.
Averages of weights decay by 0.9, so that early ones can be compared.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from textok.evaluation.results import write_result
from textok.training.run_folder import environment

HERE = Path(__file__).resolve()
OUT = HERE.parent / "results" / "time_to_quality.json"
BATCH, EVERY, TOKENS = 64, 8, 32
WORDS = (
    f"train tokenizer icons-128 --steps 3800 --log-every {EVERY} --validation.every {EVERY} --validation.count 64 "
    f"--validation.budgets {TOKENS} --ema-decay 0.9 --data.split val --validation.split test-drawing "
    "--checkpoint-every 100000"
)
MEASURES = {"psnr": 1, "perceptual_effnet_lite2": -1}  # with the sign of better
Curve = list[tuple[float, dict[str, float]]]


def main() -> None:
    """Train both sides at once for so many seconds, and write their curves and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--seconds", type=float, default=600, help="of steps, for the other checkout")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folders = {
            "before": (options.before, Path(scratch) / "a"),
            "now": (HERE.parents[1], Path(scratch) / "b"),
        }
        sides = {
            name: start(tree, out, core=core) for core, (name, (tree, out)) in enumerate(folders.items())
        }
        while (reached := curve(folders["before"][1])[-1:]) == [] or reached[0][0] < options.seconds:
            if any(process.poll() is not None for process in sides.values()):
                raise SystemExit("a training ended before its time; run the command of start() by hand")
            time.sleep(2)
        for process in sides.values():
            process.kill()
            process.wait()
        curves = {name: curve(out) for name, (_, out) in folders.items()}
    seconds, reached = curves["before"][-1]
    rows = [
        {"side": side, "seconds": second, **values}
        for side, points in curves.items()
        for second, values in points
    ]
    settings: dict[str, Any] = {"seed": 0, "threads": 1, "tokens": TOKENS, "before_seconds": seconds}
    settings["reached"] = reached
    words = ["git", "-C", str(options.before), "rev-parse", "--short", "HEAD"]
    settings["before"] = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    now = {measure: when(curves["now"], measure, value) for measure, value in reached.items()}
    settings |= {"now_seconds": now, "share": {measure: moment / seconds for measure, moment in now.items()}}
    print(settings)
    write_result(options.out, settings=settings, rows=rows, made_by=environment())


def when(points: Curve, measure: str, value: float) -> float:
    """Seconds until a measure is as good, on a straight line between two validations; 0 where it never is."""
    better = [(second, MEASURES[measure] * values[measure]) for second, values in points]
    for (first, low), (second, high) in pairwise(better):
        if high >= MEASURES[measure] * value:
            return first + (second - first) * max(0.0, MEASURES[measure] * value - low) / (high - low)
    return 0.0


def start(tree: Path, out: Path, *, core: int) -> subprocess.Popen[bytes]:
    """The training of a checkout, pinned to a core."""
    command = [sys.executable, "-m", "textok.cli", *WORDS.split(), "--out", str(out)]
    own = {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.Popen(
        command, cwd=tree, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip


def curve(run: Path) -> Curve:
    """(seconds of steps, PSNR) of each validation so far."""
    file, seconds, points = run / "metrics.jsonl", 0.0, []
    for line in file.read_text().splitlines() if file.is_file() else ():
        values = json.loads(line)
        if "images_per_second" in values:
            seconds += EVERY * BATCH / values["images_per_second"]
        scores = {measure: values.get(f"val/right/{TOKENS}/{measure}") for measure in MEASURES}
        if None not in scores.values():
            points.append((seconds, scores))
    return points


if __name__ == "__main__":
    main()
