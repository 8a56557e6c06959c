"""Scenes per second of one thread, by size, and where the time goes.

    python benchmarks/scenes_speed.py

composes, captions and draws scenes of the train split and writes benchmarks/results/scenes_speed.json. Processor
time of one thread; a minute. The first scenes fill the cache of decoded drawings and are timed apart.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from textok.data import DataConfig, read_sample
from textok.data.scenes.drawings import CACHE_BYTES, draw_scene
from textok.data.scenes.source import SceneOptions, SceneSource
from textok.training.run_folder import environment
from textok.writing import write_json

OUT = Path(__file__).resolve().parent / "results" / "scenes_speed.json"


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="scenes in each round")
    parser.add_argument("--warm", type=int, default=24000, help="scenes drawn first, which fill the cache")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)  # processor time adds up the threads, and idle ones spin
    source = SceneSource("train", SceneOptions())
    source.facts(0)  # reads the words of all drawings
    rows = [measure(source, size, warm=options.warm, count=options.count) for size in (64, 128, 256)]
    parts = parts_of(source, count=options.count)
    record = {"scenes": rows, "microseconds": parts, "cache_bytes": CACHE_BYTES, "environment": environment()}
    write_json(options.out, record)
    for row in rows:
        print(row)
    print(parts)


def measure(source: SceneSource, size: int, *, warm: int, count: int) -> dict[str, float]:
    """Scenes per second with an empty cache and with a full one; a sample is facts, caption, JSON and pixels."""
    config = DataConfig(source="scenes", size=(size, size))

    def read(index: int) -> Any:
        return read_sample(source, index, config)

    cold = seconds(read, range(warm)) / warm
    full = seconds(read, range(warm, warm + count)) / count
    return {
        "size": size,
        "scenes_per_second_filling": round(1 / cold, 1),
        "scenes_per_second": round(1 / full, 1),
    }


def parts_of(source: SceneSource, *, count: int) -> dict[str, float]:
    """Microseconds of each part at 64 px, with a full cache."""
    facts = [source.facts(index) for index in range(count)]
    parts: dict[str, Callable[[int], Any]] = {
        "facts": source.facts,
        "caption": lambda index: source.caption(index, facts[index]),
        "json": lambda index: facts[index].to_json(),
        "pixels_64": lambda index: draw_scene(facts[index], source.drawings, 64),
    }
    seconds(parts["pixels_64"], range(count))
    return {name: round(seconds(part, range(count)) / count * 1e6, 1) for name, part in parts.items()}


def seconds(call: Callable[[int], Any], indices: range) -> float:
    """Processor time of all calls."""
    start = time.process_time()
    for index in indices:
        call(index)
    return time.process_time() - start


if __name__ == "__main__":
    main()
