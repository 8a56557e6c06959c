"""How long a folder of 100,000 files takes to open, the first time and the second, and in how much memory.

    python benchmarks/listing.py

50,000 pictures in 50 folders, each with a .txt beside it. Every opening is a process of its own, with a cache folder
of its own; its time is that of `open_source`, and its memory is that of the whole process at its most. Processor
seconds are given beside those of the clock, which other work on the machine makes longer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from textok.data.images import save_png
from textok.evaluation.results import Row, write_result
from textok.training.run_folder import environment

OUT = Path(__file__).resolve().parent / "results" / "listing.json"
OPENING = """
import json, resource, sys, time
from textok.data import open_source
wall, cpu = time.perf_counter(), time.process_time()
source = open_source(sys.argv[1])
times = {"seconds": round(time.perf_counter() - wall, 3), "cpu_seconds": round(time.process_time() - cpu, 3)}
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(times | {"megabytes": round(memory), "pictures": len(source), "fingerprint": source.fingerprint}))
"""


def main() -> None:
    """Write the folder, open it, write the record, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder, "own"), options.pictures)
        for number in range(options.rounds):
            for start in ("first", "second"):
                rows.append({"start": start, **opened(Path(folder, "own"), Path(folder, f"cache-{number}"))})
                print(rows[-1], flush=True)
    settings = {"files": 2 * options.pictures, "processors": os.cpu_count(), "load": os.getloadavg()[0]}
    write_result(options.out, settings=settings, rows=rows, made_by=environment())


def write_pictures(root: Path, count: int) -> None:
    """The pictures, all the same, with different captions."""
    from PIL import Image

    root.mkdir()
    data = save_png(Image.new("RGB", (8, 8)), root.parent / "one.png").read_bytes()
    for number in range(count):
        folder = root / f"{number % 50:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"IMG_{number:06d}.png").write_bytes(data)
        (folder / f"IMG_{number:06d}.txt").write_text(f"picture number {number}")


def opened(root: Path, cache: Path) -> Row:
    """What a process tells that opens the folder."""
    words = [sys.executable, "-c", OPENING, str(root)]
    environ = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return json.loads(subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
