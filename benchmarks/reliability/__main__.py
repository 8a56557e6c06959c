"""Every fault on every command that writes, fuzzing and a soak, into ``benchmarks/results/reliability.json``.

    python -m benchmarks.reliability
    python -m benchmarks.reliability --parts kills,fuzz --kills 4 --mutations 1000 --out /tmp/r.json

A part or a command that is left out keeps its rows in the record; each row of a command says which code it is of.
Three slow commands are killed, and get full disks, a quarter as often.
"""

import argparse
import json
import random
import resource
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability import faults, fuzz, soak, ttk_files
from benchmarks.reliability.commands import Workplace, commands, make_inputs, worker_commands
from textok.training.run_folder import code_version, environment
from textok.writing import write_json

OUT = Path(__file__).resolve().parents[1] / "results" / "reliability.json"
PARTS = ("kills", "disks", "limits", "doubles", "sources", "workers", "fuzz", "ttk", "soak")
STRIKES = PARTS[:6]


def main() -> None:
    """Run the parts and write the record."""
    options = _options()
    record = json.loads(options.out.read_text()) if options.out.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_inputs(root)
        if set(options.parts) & set(STRIKES):
            record = _struck(root, options, record)
        for part, rows in _others(root, options).items():
            if part in options.parts:
                record[part] = _part(rows(), options)
                print(part, json.dumps(record[part]["rows"]), flush=True)
                write_json(options.out, record)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--commands", default="", help="only those whose names hold this")
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--disks", type=int, default=5, help="that fill, of each command")
    parser.add_argument("--doubles", type=int, default=20, help="double starts of all commands together")
    parser.add_argument("--mutations", type=int, default=20_000, help="of each kind of file")
    parser.add_argument("--pictures", type=int, default=50_000, help="of the soak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"--parts: got {', '.join(unknown)}, expected some of {', '.join(PARTS)}")
    return options


def _part(rows: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    settings = {name: value for name, value in vars(options).items() if name not in ("out", "parts")}
    words = [word for word in sys.argv[1:] if word not in ("--out", str(options.out))]
    command = shlex.join(["python", "-m", "benchmarks.reliability", *words])
    made_by = environment() | {"command": command}
    return {"settings": settings, "made_by": made_by, "rows": rows}


# --- faults of commands -------------------------------------------------------------------------------------


def _struck(root: Path, options: argparse.Namespace, record: dict[str, Any]) -> dict[str, Any]:
    doubles, workers = -(-options.doubles // len(commands())), worker_commands()
    for command in [one for one in [*commands(), *workers] if options.commands in one.name]:
        parts = [part for part in options.parts if part in STRIKES]
        parts = [part for part in parts if (part == "workers") == (command in workers)]
        if not parts:
            continue
        place = Workplace(root, command)
        times = {
            "kills": options.kills,
            "disks": options.disks,
            "limits": 2,
            "doubles": doubles,
            "sources": 2,
            "workers": 4,
        }
        for part in parts:
            strike = _strike(part, place, random.Random(f"{part} {command.name} {options.seed}"))
            share = 4 if command.is_slow and part in ("kills", "disks") else 1
            row = _row(command.name, strike, -(-times[part] // share))
            print(part, json.dumps(row), flush=True)
            kept = {one["command"]: one for one in record.get(part, {}).get("rows", ())} | {command.name: row}
            record[part] = _part(list(kept.values()), options)
            write_json(options.out, record)
    return record


def _strike(part: str, place: Workplace, draws: random.Random) -> Callable[[int], list[str]]:
    strikes: dict[str, Callable[[int], list[str]]] = {
        "kills": lambda number: faults.kill(place, draws, number),
        "disks": lambda _: faults.fill_disk(place, draws),
        "limits": lambda number: (
            faults.limit_memory(place, _address_space() + (256 << 20))
            if number
            else faults.limit_files(place, 3000)
        ),
        "doubles": lambda _: faults.start_twice(place, draws),
        "workers": lambda _: faults.lose_worker(place, draws),
        "sources": lambda number: faults.lose_source(place, draws, (faults.remove, faults.cut)[number]),
    }
    return strikes[part]


def _row(name: str, strike: Callable[[int], list[str]], times: int) -> dict[str, Any]:
    wrong = [strike(number) for number in range(times)]
    return {
        "command": name,
        "code": code_version(),
        "times": times,
        "good": wrong.count([]),
        "wrong": [one for some in wrong for one in some],
    }


def _address_space() -> int:
    """What this process, and so each child, has reserved."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


# --- files and pictures -------------------------------------------------------------------------------------


def _others(root: Path, options: argparse.Namespace) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    folder = root / "fuzz"
    folder.mkdir()
    return {
        "fuzz": lambda: [
            fuzz.fuzz(kind, mutations=round(options.mutations * kind.share), seed=options.seed)
            for kind in fuzz.kinds(folder)
        ],
        "ttk": lambda: [
            row
            for number, original in enumerate(ttk_files.originals())
            for row in ttk_files.fuzz(
                original, mutations=options.mutations // 4, seed=options.seed + number, folder=folder
            )
        ],
        "soak": lambda: soak.soak(root, count=options.pictures),
    }


if __name__ == "__main__":
    main()
