"""Speed on one core against another checkout: training step, encoding, decoding, generation, cold start, evaluation.

    python benchmarks/speed.py --before /path/to/another/checkout
    python benchmarks/speed.py --before /path/to/another/checkout --work evaluate \
        --out benchmarks/results/evaluation_speed.json

Run it on an otherwise idle machine; it takes about five minutes. Each checkout works in a process of its own and one
waits while the other works (A B A B). Training is the loop of ``icons-128`` itself on the validation drawings, with
their captions: a step is what passes between two batches. The figure is the ratio of the least seconds of each side,
since other work only ever makes one slower. ``--before-dtype float32`` takes bfloat16 out of the comparison.
Evaluation is that of some test drawings in three caption conditions at five budgets, in float32; the record also holds
how far the numbers of the two sides lie apart.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
OUT = HERE.parent / "results" / "speed_cpu.json"
WORK = ("train", "encode", "decode", "generate")
PICTURES, TOKENS, PROMPT = 64, 32, "a cat"
EVALUATED = 48


def main() -> None:
    """Measure every kind of work in turn and write the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="the other checkout")
    parser.add_argument("--before-dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--work", nargs="+", default=[*WORK, "cold"])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="auto", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options.worker, options.dtype)
        return
    if options.before is None:
        parser.error("--before: got none, expected the folder of another checkout")
    sides = {"before": (options.before, options.before_dtype), "now": (HERE.parents[1], "auto")}
    rows = [row for name in options.work for row in compare(name, sides, rounds=options.rounds)]
    write(rows, options)


def compare(name: str, sides: dict[str, tuple[Path, str]], *, rounds: int) -> list[dict[str, Any]]:
    """The least seconds of each side, for one kind of work."""
    if name == "cold":
        return compare_cold(sides)
    workers = {side: start(place, name, dtype) for side, (place, dtype) in sides.items()}
    times: dict[str, list[float]] = {side: [] for side in sides}
    scores: dict[str, Any] = {}
    try:
        for _ in range(rounds + 1):
            for side, worker in workers.items():
                seconds, scores[side] = ask(worker)
                times[side].append(seconds)
    finally:
        for worker in workers.values():
            worker.kill()
    line = row(name, {side: seconds[1:] for side, seconds in times.items()})  # the first warms up
    if name == "evaluate":
        line |= {"pictures": EVALUATED, "relative_differences": differences(**scores)}
    return [line]


def differences(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> dict[str, float]:
    """The largest relative difference of every score."""
    pairs = [(a[name], b[name], name) for a, b in zip(before, now, strict=True) for name in a]
    numbers = [(abs(a - b) / max(abs(a), 1e-9), name) for a, b, name in pairs if isinstance(a, float)]
    return {name: max(value for value, other in numbers if other == name) for _, name in numbers}


def compare_cold(sides: dict[str, tuple[Path, str]]) -> list[dict[str, Any]]:
    """The least seconds of whole commands."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for command in cold_commands(Path(folder)):
            times: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(3):
                for side, (place, _) in sides.items():
                    times[side].append(cold(place, command))
            rows.append(row(f"textok {command[0]}", times))
    floor = {
        side: [whole(place, "-c", "import torch") for _ in range(3)] for side, (place, _) in sides.items()
    }
    return [*rows, row("import torch", floor)]  # what any command of such a package takes at least


def row(work: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """One line of the table."""
    least = {f"{side}_seconds": min(seconds) for side, seconds in times.items()}
    found = {"work": work, **least, "speedup": min(times["before"]) / min(times["now"])}
    print(
        {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()},
        flush=True,
    )
    return found


def write(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """The record."""
    from textok.training.run_folder import environment

    other = subprocess.run(
        ["git", "-C", str(options.before), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    settings = {"before": other, "before_dtype": options.before_dtype, "rounds": options.rounds, "threads": 1}
    record = {"settings": settings, "made_by": environment(), "rows": rows}
    options.out.write_text(json.dumps(record, indent=2) + "\n")


# --- a process for each side ------------------------------------------------------------------------------


def process_environment(place: Path) -> dict[str, str]:
    """One thread, and the package of that checkout."""
    return os.environ | {
        "PYTHONPATH": str(place / "src"),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def start(place: Path, work: str, dtype: str) -> subprocess.Popen[str]:
    """A worker of this checkout, which waits for its turns."""
    return subprocess.Popen(
        [sys.executable, str(HERE), "--worker", work, "--dtype", dtype],
        cwd=place, env=process_environment(place), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def ask(worker: subprocess.Popen[str]) -> tuple[float, Any]:
    """Give the worker a turn; the seconds that it took, and the scores that it gave."""
    assert worker.stdin and worker.stdout
    worker.stdin.write("go\n")
    worker.stdin.flush()
    scores = None
    for line in worker.stdout:
        if line.startswith("scores "):
            scores = json.loads(line.removeprefix("scores "))
        if line.startswith("seconds "):
            return float(line.split()[1]), scores
    raise SystemExit(f"worker: got an early end, expected seconds; run it alone: {worker.args}")


def cold_commands(folder: Path) -> list[tuple[str, ...]]:
    """Whole commands that a user waits for."""
    drawings()[0][0].save(folder / "one.png")
    generate = ("generate", PROMPT, "--num-images", "1", "--num-tokens", "8")
    return [generate, ("encode", str(folder / "one.png"))]


def cold(place: Path, command: tuple[str, ...]) -> float:
    """Seconds of one command, from nothing to its end."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.ttk" if command[0] == "encode" else f"{folder}/out"
        return whole(place, "-m", "textok.cli", *command, "--out", out)


def whole(place: Path, *words: str) -> float:
    """Seconds of a Python process."""
    begin = time.perf_counter()
    call = [sys.executable, *words]
    subprocess.run(call, env=process_environment(place), cwd=place, check=True, capture_output=True)
    return time.perf_counter() - begin


# --- what a worker does -----------------------------------------------------------------------------------


def serve(work: str, dtype: str) -> None:
    """Do the work once for each line that comes in, and say the seconds."""
    turns = turn_by_turn()
    if work == "train":
        train(turns, dtype)
        return
    calls = {"encode": encoding, "decode": decoding, "generate": generating, "evaluate": evaluating}
    call = calls[work](dtype)
    for _ in turns:
        call()


def turn_by_turn() -> Iterator[None]:
    """Wait for a line; what runs until the next call is timed, by the processor's seconds: there is one thread."""
    for _ in sys.stdin:
        begin = time.process_time()
        yield
        print(f"seconds {time.process_time() - begin}", flush=True)


def train(turns: Iterator[None], dtype: Any) -> None:
    """The training loop of icons-128, whose loader hands out a batch for each turn."""
    from textok.data import TrainLoader
    from textok.recipes.tokenizers import icons_128

    module = import_module("textok.training.tokenizer")
    if not hasattr(module, "train_tokenizer"):  # one file then, a package today
        module = import_module("textok.training.tokenizer.train")
    load = TrainLoader.__next__

    def next_in_turn(self: TrainLoader) -> Any:
        next(turns)
        return load(self)

    TrainLoader.__next__ = next_in_turn
    run = icons_128()
    run = replace(
        run, data=replace(run.data, split="val"), precision=dtype, checkpoint_every=10**6,
        validation=replace(run.validation, count=8, every=10**6),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        module.train_tokenizer(run, folder + "/run")


def tokenizer(dtype: str) -> Any:
    """The shipped tokenizer."""
    import textok

    return shipped(textok.ImageTokenizer, dtype)


def shipped(kind: Any, dtype: str) -> Any:
    """The shipped weights of a kind; an older package calls the dtype its precision."""
    try:
        return kind.from_pretrained("icons-128", dtype=dtype)
    except TypeError:
        return kind.from_pretrained("icons-128", precision=dtype)


def drawings() -> tuple[list[Any], list[str]]:
    """Pictures of the validation split, and their captions."""
    import io
    import tarfile

    from PIL import Image

    with tarfile.open(HERE.parents[1] / "datasets" / "icons-128" / "val-000000.tar") as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    names = [name for name in files if name.endswith(".webp")][:PICTURES]
    captions = [json.loads(files[name[:-5] + ".json"]) for name in names]
    texts = [c.get("caption") or c["captions"][0] for c in captions]
    return [Image.open(io.BytesIO(files[name])).convert("RGB") for name in names], texts


def encoding(dtype: str) -> Callable[[], object]:
    """64 pictures with their captions, read before."""
    side, (pictures, captions) = tokenizer(dtype), drawings()
    return lambda: side.encode(pictures, captions, num_tokens=TOKENS)


def decoding(dtype: str) -> Callable[[], object]:
    """The same pictures from 32 tokens each."""
    side, (pictures, captions) = tokenizer(dtype), drawings()
    tokens = side.encode(pictures, captions, num_tokens=TOKENS)
    return lambda: side.decode(tokens)


def generating(dtype: str) -> Callable[[], object]:
    """One picture of 32 tokens from a prompt."""
    import textok

    pipeline = shipped(textok.Pipeline, dtype)
    return lambda: pipeline(PROMPT, num_images=1, num_tokens=TOKENS)


def evaluating(dtype: str) -> Callable[[], object]:
    """Every score of the test drawings, in one command's work after its networks are loaded; always float32."""
    from textok.data import DataConfig, EvalLoader
    from textok.evaluation.alignment import Semantics
    from textok.evaluation.captioned import CaptionedPictures
    from textok.evaluation.networks import EffNetLite2
    from textok.models.text_encoder import TextEncoder
    from textok.models.tokenizer import TexTok

    source = str(HERE.parents[1] / "datasets" / "icons-128")
    loader = EvalLoader(DataConfig(source=source, split="test-drawing", size=(128, 128)), batch_size=32)
    pictures = CaptionedPictures.collect("test-drawing", loader, limit=EVALUATED)
    model, network = TexTok.from_pretrained("icons-128"), EffNetLite2()

    def say(rows: list[Any]) -> None:
        print("scores", json.dumps(rows), flush=True)

    try:
        from textok.evaluation.evaluator import Evaluator
    except ModuleNotFoundError:  # a function then
        module: Any = import_module("textok.evaluation.reconstruction")
        limit = model.config.max_text_tokens
        text = TextEncoder.from_pretrained(model.config.text_encoder, max_tokens=limit)
        parts = {"text": text, "network": network, "semantics": Semantics.from_pretrained(network=network)}
        return lambda: say(module.evaluate_reconstruction(model, pictures, **parts).rows)
    evaluator = Evaluator.load(model, network, semantics=True)

    def evaluate() -> None:
        vars(evaluator.text).get("_states", {}).clear()  # captions are new in every turn
        say(evaluator.score(pictures).rows)

    return evaluate


if __name__ == "__main__":
    main()
