"""Encoding by Ray's workers against the local path, on the same cores, in steady state; are the files equal?

    python benchmarks/ray_speed.py                        # on an otherwise idle machine
    python benchmarks/ray_speed.py --pictures 256 --rounds 1   # a rehearsal

Each round encodes the same pictures by all, in turn: one local process of as many threads as Ray has workers; as many
local processes of one thread at a time, each of which encodes all pictures; Ray's workers, of one thread each. The
last two compute alike, so that their files are equal. Steady state leaves out the start of Ray and of the models: it
is the time from the first ``workers`` parts of an encoding to the last one, and the pictures of the parts between.
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
from contextlib import suppress
from pathlib import Path
from typing import Any

from textok.evaluation.results import Row, write_result
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "ray.json"
DATA = "datasets/icons-128"
PART = 64
THREADS, PROCESSES, RAY = "local, threads", "local, processes", "ray"


def encoded(engine: str, folder: Path, *, pictures: int, workers: int) -> Row:
    """Encode by an engine into files of the folder; pictures a second from start to end, and in steady state."""
    count = workers if engine == PROCESSES else 1
    outs = [folder / f"{engine}-{number}.safetensors" for number in range(count)]
    words = [sys.executable, "-m", "textok.cli", "encode", str(ROOT / DATA), "--limit", str(pictures)]
    words += ["--shard-pictures", str(PART), "--dtype", "float32", "--batch-size", "32"]
    words += ["--engine", "ray", "--workers", str(workers)] if engine == RAY else []
    variables = os.environ | {
        "OMP_NUM_THREADS": str(workers if engine == THREADS else 1),
        "TQDM_DISABLE": "1",
    }
    started, times = time.monotonic(), dict[Path, float]()
    processes = [
        subprocess.Popen([*words, "--out", str(out)], env=variables, stdout=subprocess.DEVNULL)
        for out in outs
    ]
    while any([process.poll() is None for process in processes]):  # noqa: C419 (each is asked)
        with suppress(FileNotFoundError):  # the folder of one that ends goes away
            for file in folder.glob(".*.parts/[0-9]*.json"):
                times.setdefault(file, time.monotonic())
        time.sleep(0.02)
    assert not any(process.returncode for process in processes), words
    whole = time.monotonic() - started
    return {
        "engine": engine,
        "seconds": whole,
        "pictures_per_second": count * pictures / whole,
        "steady_pictures_per_second": sum(steady(times, out, workers) for out in outs),
        "seconds_to_first_part": min(times.values()) - started,
    }


def steady(times: dict[Path, float], out: Path, workers: int) -> float:
    """Pictures a second of one encoding after its first ``workers`` parts."""
    ends = sorted(time for file, time in times.items() if file.parent.name == f".{out.name}.parts")
    return (len(ends) - workers) * PART / (ends[-1] - ends[workers - 1])


def are_equal(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, byte for byte."""
    names = sorted(file.name for file in one.iterdir())
    _, different, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    return not different and not missing and names == sorted(file.name for file in other.iterdir())


def share(rows: list[Row], engine: str) -> float:
    """Ray's speed as a share of an engine's in the same round: the median of the rounds."""
    speeds = {(row["engine"], row["round"]): float(row["steady_pictures_per_second"]) for row in rows}
    return statistics.median(speeds[RAY, n] / speed for (name, n), speed in speeds.items() if name == engine)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1664, help=f"a multiple of {PART} times the workers")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows, equal = list[Row](), True
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for engine in (THREADS, PROCESSES, RAY):
                row = encoded(engine, folder, pictures=options.pictures, workers=options.workers)
                rows.append(row | {"round": number})
                print(json.dumps(rows[-1]), flush=True)
            files = [folder / f"{engine}-0.safetensors" for engine in (PROCESSES, RAY)]
            equal = equal and are_equal(*files)
    settings: dict[str, Any] = {
        "data": DATA,
        "pictures": options.pictures,
        "workers": options.workers,
        "part": PART,
    }
    summary: Row = {"engine": "ray / local", "steady_share": share(rows, PROCESSES), "equal_files": equal}
    summary |= {"steady_share_of_threads": share(rows, THREADS)}
    write_result(options.out, settings=settings, rows=[*rows, summary], made_by=environment())
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
