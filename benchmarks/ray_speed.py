"""Encoding by Ray's workers against the local path, on the same cores, in steady state; are the files equal?

    python benchmarks/ray_speed.py                        # on an otherwise idle machine
    python benchmarks/ray_speed.py --pictures 256 --rounds 1   # a rehearsal

Each round encodes the same pictures by both, in turn. Steady state leaves out the start of Ray and of the models: it
is the time from the first ``workers`` parts that are kept to the last one, and the pictures of the parts between.
The local path computes with as many threads as Ray has workers, each of which has one.
"""

import argparse
import filecmp
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from textok.evaluation.results import Row, write_result
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "ray.json"
DATA = "datasets/icons-128"
PART = 64


def encoded(out: Path, *, pictures: int, workers: int, ray: bool) -> Row:
    """Encode once; pictures a second from start to end, and in steady state."""
    words = [
        sys.executable,
        "-m",
        "textok.cli",
        "encode",
        str(ROOT / DATA),
        "--limit",
        str(pictures),
        "--out",
        str(out),
    ]
    words += ["--shard-pictures", str(PART), "--dtype", "float32", "--batch-size", "32"]
    words += ["--engine", "ray", "--workers", str(workers)] if ray else []
    threads = {"OMP_NUM_THREADS": "1" if ray else str(workers), "TQDM_DISABLE": "1"}
    started, times = time.monotonic(), dict[str, float]()
    parts = out.with_name(f".{out.name}.parts")
    with subprocess.Popen(words, env=os.environ | threads, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            for file in parts.glob("[0-9]*.json"):
                times.setdefault(file.name, time.monotonic())
            time.sleep(0.02)
    assert process.returncode == 0, words
    ends = sorted(times.values())
    first, steady = ends[workers - 1], len(ends) - workers
    whole = time.monotonic() - started
    return {
        "engine": "ray" if ray else "local",
        "seconds": whole,
        "pictures_per_second": pictures / whole,
        "steady_pictures_per_second": steady * PART / (ends[-1] - first),
        "seconds_to_first_part": ends[0] - started,
    }


def are_equal(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    names = sorted(file.name for file in one.iterdir())
    _, different, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    return not different and not missing and names == sorted(file.name for file in other.iterdir())


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1344, help=f"a multiple of {PART}")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows, equal = list[Row](), True
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            places = {ray: Path(folder) / f"{number}-{ray}.safetensors" for ray in (False, True)}
            for ray, place in places.items():
                row = encoded(place, pictures=options.pictures, workers=options.workers, ray=ray)
                rows.append(row | {"round": number})
                print(json.dumps(rows[-1]), flush=True)
            equal = equal and are_equal(places[False], places[True])
    settings: dict[str, Any] = {
        "data": DATA,
        "pictures": options.pictures,
        "workers": options.workers,
        "part": PART,
    }
    shares = [
        float(ray["steady_pictures_per_second"]) / float(local["steady_pictures_per_second"])
        for local, ray in zip(rows[::2], rows[1::2], strict=True)
    ]
    summary: Row = {"engine": "ray / local", "steady_share": statistics.median(shares), "equal_files": equal}
    write_result(options.out, settings=settings, rows=[*rows, summary], made_by=environment())
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
