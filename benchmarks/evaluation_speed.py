"""Speed of the evaluation of one cell of a table, where its time goes, and whether merged ranks equal the whole.

    python benchmarks/evaluation_speed.py

scores icons-128 on test-drawing with right captions at one budget, several times, and writes the medians to
benchmarks/results/evaluation_speed.json. Run it on an otherwise idle machine; minutes. Then two processes share
the same pictures, and their merged row is compared with that of one.
"""

import argparse
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from textok.data import DataConfig, EvalLoader
from textok.evaluation import reconstruction
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.evaluator import Evaluator
from textok.evaluation.metrics import paired
from textok.evaluation.metrics.frechet import FeatureStatistics, frechet_distance
from textok.evaluation.metrics.semantics import CaptionJudge, Semantics
from textok.evaluation.networks import EffNetLite2, FeatureNetwork, ImageFeatures
from textok.evaluation.results import Row, read_result, write_result
from textok.models.tokenizer import TexTok
from textok.training.run_folder import environment
from textok.writing import write_json

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "evaluation_speed.json"
RANKS = 2
Call = Callable[..., Any]


def main() -> None:
    """Measure, compare, write, print."""
    options = read_options()
    pictures = read_pictures(options)
    rounds, whole = measured_rounds(options, pictures)
    rows = medians(rounds, count=len(pictures))
    network = EffNetLite2()
    checks = {
        "two_ranks_relative_differences": differences(whole, row_of_ranks(options)),
        "frechet_from_vectors_against_sums": frechet_both_ways(network, pictures, batch_size=options.batch),
    }
    settings = {
        name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()
    }
    result = {
        "settings": settings
        | {"captions": "right", "count": len(pictures), "threads": torch.get_num_threads()},
        "made_by": environment(),
        "checks": checks,
        "rows": rows,
    }
    write_json(options.out, result)
    for row in rows:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    print(checks)


def read_options() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="icons-128")
    parser.add_argument("--data", default=str(ROOT / "datasets" / "icons-128"))
    parser.add_argument("--split", default="test-drawing")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def read_pictures(options: argparse.Namespace) -> CaptionedPictures:
    """The pictures at the model's size."""
    side = TexTok.from_pretrained(options.model).config.image_size
    config = DataConfig(source=options.data, split=options.split or None, size=(side, side))
    loader = EvalLoader(config, batch_size=options.batch)
    return CaptionedPictures.collect(options.split or "all", loader, limit=options.limit)


class Stopwatch:
    """Seconds by kind of work, of calls that do not contain one another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, name: str, call: Call) -> Call:
        """The same call, with its time counted."""

        def counted(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return counted


class TimedNetwork:
    """A feature network whose calls are timed."""

    def __init__(self, network: EffNetLite2, watch: Stopwatch) -> None:
        self.name, self.dim = network.name, network.dim
        self.call = watch.timed("feature network, originals and reconstructions", network)

    def __call__(self, images: torch.Tensor) -> ImageFeatures:
        """What the network sees."""
        return self.call(images)


@contextmanager
def metrics_timed(watch: Stopwatch) -> Iterator[None]:
    """Time the parts of the evaluation that are looked up by name."""
    parts: list[tuple[Any, str, str]] = [
        (reconstruction, "measure_pairs", "PSNR, SSIM, perceptual distance"),
        (reconstruction.SplitFeatures, "add", "feature vectors"),
        (Semantics, "judge", "captions for retrieval, once a set"),
        (CaptionJudge, "measure", "retrieval and agreement"),
        (paired, "frechet_distance", "Fréchet distances, of real halves among them"),
        (paired, "frechet_distance_pca", "Fréchet distances along principal directions"),
        (paired, "kernel_distance", "kernel distance"),
    ]
    with ExitStack() as stack:
        for place, name, work in parts:
            call = getattr(place, name)
            stack.enter_context(mock.patch.object(place, name, _method(watch.timed(work, call))))
        yield


def _method(call: Call) -> Call:
    """A plain function, which a class binds to its objects."""
    return lambda *args, **options: call(*args, **options)


def load_evaluator(options: argparse.Namespace, network: FeatureNetwork) -> Evaluator:
    """The tokenizer with everything that scores it."""
    model = TexTok.from_pretrained(options.model)
    evaluator = Evaluator.load(model, network, semantics=False, batch_size=options.batch)
    return replace(evaluator, semantics=Semantics.from_pretrained(network=network))


def row_of(
    evaluator: Evaluator,
    pictures: CaptionedPictures,
    options: argparse.Namespace,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> Row:
    """The row of the one cell."""
    scores = evaluator.score(
        pictures, budgets=(options.budget,), captions=("right",), rank=rank, world_size=world_size
    )
    return scores.rows[0]


def measured_rounds(
    options: argparse.Namespace, pictures: CaptionedPictures
) -> tuple[list[dict[str, float]], Row]:
    """Seconds by kind of work of several evaluations, after one that warms up, and their row."""
    watch = Stopwatch()
    evaluator = load_evaluator(options, TimedNetwork(EffNetLite2(), watch))
    assert evaluator.text is not None
    model, rounds = evaluator.model, []
    evaluator = replace(evaluator, text=watch.timed("text encoder", evaluator.text))
    with (
        metrics_timed(watch),
        mock.patch.object(model, "encode", watch.timed("tokenizer, encode", model.encode)),
        mock.patch.object(model, "decode", watch.timed("tokenizer, decode", model.decode)),
    ):
        for _ in range(options.rounds + 1):
            watch.seconds.clear()
            start = time.perf_counter()
            row = row_of(evaluator, pictures, options)
            whole = time.perf_counter() - start
            rest = whole - sum(watch.seconds.values())
            rounds.append({"whole": whole} | watch.seconds | {"rest": rest})
    return rounds[1:], row


def medians(rounds: list[dict[str, float]], *, count: int) -> list[Row]:
    """A row a kind of work."""
    whole = statistics.median(seconds["whole"] for seconds in rounds)
    rows: list[Row] = []
    for work in rounds[0]:
        took = statistics.median(seconds[work] for seconds in rounds)
        row: Row = {"work": work, "seconds": took, "share": took / whole, "images_per_second": count / took}
        rows.append(row)
    return rows


def row_of_ranks(options: argparse.Namespace) -> Row:
    """The merged row of processes that share the pictures."""
    with TemporaryDirectory() as folder:
        mp.spawn(evaluate_on_rank, args=(options, Path(folder), free_port()), nprocs=RANKS)
        return read_result(Path(folder) / "row.json").rows[0]


def free_port() -> int:
    """One where the processes can meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def evaluate_on_rank(rank: int, options: argparse.Namespace, folder: Path, port: int) -> None:
    """One process's share; the first writes the merged row."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    evaluator = load_evaluator(options, EffNetLite2())
    row = row_of(evaluator, read_pictures(options), options, rank=rank, world_size=RANKS)
    if rank == 0:
        write_result(folder / "row.json", settings={}, rows=[row])
    dist.destroy_process_group()


def differences(a: Row, b: Row) -> dict[str, float]:
    """Relative difference of every number in a row."""
    return {
        name: abs(float(b[name]) - value) / max(abs(value), 1e-12)
        for name, value in a.items()
        if isinstance(value, float)
    }


def frechet_both_ways(
    network: EffNetLite2, pictures: CaptionedPictures, *, batch_size: int
) -> dict[str, float]:
    """Seconds of a Fréchet distance from the vectors and from mean and covariance, and how far they agree."""
    batches = pictures.images.split(batch_size)
    vectors = [
        torch.cat([network(images).pooled for images in batches]),
        torch.cat([network(images // 2).pooled for images in batches]),
    ]
    kept = [FeatureStatistics.of(found) for found in vectors]
    sums = [FeatureStatistics.from_moments(found.mean, found.covariance, found.count) for found in kept]
    watch = Stopwatch()
    exact = watch.timed("seconds_from_vectors", frechet_distance)(*kept)
    other = watch.timed("seconds_from_sums", frechet_distance)(*sums)
    return watch.seconds | {"relative_difference": abs(other - exact) / exact}


if __name__ == "__main__":
    main()
