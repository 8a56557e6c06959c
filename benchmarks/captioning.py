"""Captioning through a server that misbehaves, by a client that is killed; and how busy a good one is kept.

    python benchmarks/captioning.py
    python benchmarks/captioning.py --pictures 300 --kills 3 --timed 300    # a small one

Run it on an otherwise idle machine. The server is a process of its own (tests/captioning/hostile_server.py).
1. Some 30 % of the requests meet 429, 500, 503, cut connections, invalid JSON, empty answers; the client is killed
   by SIGKILL again and again, and started again. Counted: verdicts per picture, answers after the verdict.
2. Without faults, 200 ms per answer, 64 requests at a time: captions per second, and the peak of the memory.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from textok.evaluation.results import Row, write_result
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "captioning.json"
SERVER = ROOT / "tests" / "captioning" / "hostile_server.py"
FAULTS = "429,429-after,500,503,cut,half,json,empty,html"
KEY = "sk-of-the-benchmark"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=10_000, help="through the server that misbehaves")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--timed", type=int, default=10_000, help="pictures of the measurement of speed")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_pictures(place / "pictures", max(options.pictures, options.timed))
        hostile = killed(place, pictures=options.pictures, kills=options.kills)
        speed = timed(place, pictures=options.timed)
    settings = {"pictures": options.pictures, "kills": options.kills, "timed": options.timed}
    write_result(options.out, settings=settings, rows=[hostile, speed], made_by=environment())
    print(json.dumps([hostile, speed], indent=2))


def make_pictures(folder: Path, count: int) -> None:
    """JPEG pictures of 128 x 128, all different."""
    folder.mkdir()
    for number in range(count):
        noise = Image.frombytes("RGB", (16, 16), random.Random(number).randbytes(16 * 16 * 3))
        noise.resize((128, 128), Image.Resampling.BICUBIC).save(folder / f"{number:06d}.jpg", quality=90)


def start_server(*options: str) -> tuple[subprocess.Popen, str]:
    """The server, and its base URL."""
    command = [sys.executable, str(SERVER), "--key", KEY, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"


def start_client(place: Path, url: str, *, out: str, limit: int, concurrency: int) -> subprocess.Popen:
    """``textok caption`` on the first pictures."""
    command = [
        sys.executable,
        "-m",
        "textok.cli",
        "caption",
        str(place / "pictures"),
        "--out",
        str(place / out),
    ]
    command += ["--writer", "openai", "--base-url", url, "--model", "tiny", "--limit", str(limit)]
    command += ["--concurrency", str(concurrency), "--retries", "20"]
    quiet = {"TEXTOK_CAPTION_KEY": KEY, "TQDM_DISABLE": "1"}
    return subprocess.Popen(command, env={**os.environ, **quiet}, stdout=subprocess.DEVNULL)


def journal(folder: Path) -> list[dict]:
    """All whole rows, accepted and rejected."""
    files = [folder / "captions.jsonl", folder / "rejected.jsonl"]
    lines = [line for file in files if file.exists() for line in file.read_bytes().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def killed(place: Path, *, pictures: int, kills: int) -> Row:
    """Caption through faults and kills; every answer that the server wrote is in its log."""
    log, out = place / "log", place / "hostile"
    server, url = start_server("--faults", FAULTS, "--share", "0.3", "--latency", "0.02", "--log", str(log))
    answers_at: dict[str, int] = {}  # of each picture, when its verdict was first seen
    for kill in range(1, kills + 1):
        process = start_client(place, url, out="hostile", limit=pictures, concurrency=32)
        while len(journal(out)) < pictures * kill // (kills + 1) and process.poll() is None:
            time.sleep(0.05)
        process.kill()
        process.wait()
        answers = answers_in(log)
        for row in journal(out):
            name = row["caption"].split()[6]  # the server's name of the picture
            answers_at.setdefault(name, answers[name])
    code = start_client(place, url, out="hostile", limit=pictures, concurrency=32).wait()
    server.kill()
    keys = Counter(row["key"] for row in journal(out))
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        "part": "hostile",
        "pictures": pictures,
        "kills": kills,
        "exit_code": code,
        "pictures_with_one_verdict": sum(count == 1 for count in keys.values()),
        "accepted": sum(row["reason"] is None for row in journal(out)),
        "answers": answers_in(log).total(),
        "answers_after_the_verdict": sum(answers_in(log)[name] - count for name, count in answers_at.items()),
        "key_is_on_the_disk": any(KEY.encode() in path.read_bytes() for path in files),
    }


def answers_in(log: Path) -> Counter[str]:
    """How often the server answered about each picture."""
    return Counter(line.split()[0] for line in log.read_text().splitlines())


def timed(place: Path, *, pictures: int) -> Row:
    """Captions per second, start of the process left out, and the peak memory in the middle and at the end."""
    server, url = start_server("--latency", "0.2")
    process = start_client(place, url, out="speed", limit=pictures, concurrency=64)
    out = place / "speed"
    first = wait_for(out, pictures // 10)
    start = time.perf_counter()
    wait_for(out, pictures // 2)
    middle = peak_memory(process.pid)
    count = wait_for(out, pictures - 64)  # the last ones leave the server idle
    end = peak_memory(process.pid)
    seconds = time.perf_counter() - start
    process.wait()
    server.kill()
    return {
        "part": "speed",
        "captions_per_second": round((count - first) / seconds, 1),
        "most_possible": 64 / 0.2,
        "peak_mb_in_the_middle": middle,
        "peak_mb_at_the_end": end,
    }


def wait_for(folder: Path, count: int) -> int:
    """Wait for so many captions; how many there are then."""
    rows = 0
    while rows < count:
        time.sleep(0.1)
        file = folder / "captions.jsonl"
        rows = file.read_bytes().count(b"\n") if file.exists() else 0
    return rows


def peak_memory(pid: int) -> float:
    """Of a process, in MB; Linux."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


if __name__ == "__main__":
    main()
