"""Blocks of work on workers of Ray Data, on this machine or on a cluster. Ray is imported only when it is asked for."""

import json
import logging
import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[int], Mapping[str, Any]]
"""Does the block of a number, writes what comes of it, and returns what is to be known of it, as JSON values."""
Engine = Callable[[Callable[[], Work], Sequence[int]], Iterator[tuple[int, dict[str, Any]]]]
"""Does blocks elsewhere: takes what makes a worker there, and the numbers of the blocks."""
MISTAKES = (ValueError, OSError, FloatingPointError)
_PATIENCE = 45  # seconds that a cluster may be full before the first block
_RETRIES = 3  # of a block whose worker died


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many workers, and how many cores and GPUs each of them takes."""

    workers: int
    cores: float
    gpus: int

    @classmethod
    def of(cls, resources: Mapping[str, float], *, workers: int | None = None, cuda: bool = True) -> "Plan":
        """A worker for each GPU, where ``cuda`` allows them, else for each core, or another number of ``workers``.

        All together leave a core to read and to schedule. ``resources`` is what the cluster has, as Ray names it.

        Raises:
            ValueError: when the cluster has no room for so many.
        """
        cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0)) if cuda else 0
        most = gpus or cores
        if not 1 <= (workers or 1) <= most:
            kind = "GPUs" if gpus else "cores"
            raise ValueError(f"workers: got {workers or 1}, expected 1 to the {most} {kind} of the cluster")
        count = workers or most
        share = min(1.0, max(cores - 1, 0.5) / count)
        return cls(workers=count, cores=math.floor(1000 * share) / 1000, gpus=1 if gpus else 0)


def run_blocks(
    make: Callable[[], Work],
    numbers: Sequence[int],
    *,
    address: str | None = None,
    workers: int | None = None,
    cuda: bool = True,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Do blocks by Ray Data, each whole by one worker; what is known of them comes in the order they are finished.

    A worker that dies costs its block, which another one does again.

    Args:
        make: called once in each worker; it is pickled, and finds the same files there as here.
        address: of a cluster, such as "auto" or "10.0.0.1:6379"; None starts one on this machine for the time.
        workers, cuda: see :meth:`Plan.of`.

    Raises:
        ValueError: when Ray is not installed, no cluster answers or none has room within a minute, a worker meets
            a mistake of the user, or a block kills its workers again and again.
    """
    with _cluster(address) as ray:
        plan = Plan.of(ray.cluster_resources(), workers=workers, cuda=cuda)
        _wait_for_room(ray, plan)
        ray.data.DataContext.get_current().enable_progress_bars = False  # ours is shown instead
        # The argument goes with 2.64: pyproject.toml has the bound.
        warnings.filterwarnings("ignore", message=".*ray_remote_args_fn")
        blocks = ray.data.from_items([{"number": n} for n in numbers], override_num_blocks=len(numbers))
        sizes = {"min_size": 1, "max_size": plan.workers, "initial_size": plan.workers}
        sizes["max_tasks_in_flight_per_actor"] = (
            2  # the next block waits at the worker, which asks nobody for it
        )
        answers = blocks.map(
            _Worker,
            fn_constructor_args=(make, str(Path.cwd())),
            compute=ray.data.ActorPoolStrategy(**sizes),
            num_cpus=plan.cores,
            num_gpus=plan.gpus,
            ray_remote_args_fn=lambda: {"max_task_retries": _RETRIES},
        )
        try:
            for row in answers.iter_rows():
                if row["error"]:
                    raise ValueError(row["error"])
                yield row["number"], json.loads(row["known"])
        except ray.exceptions.RayActorError as error:
            raise ValueError(
                f"engine: got a block whose worker died {_RETRIES + 1} times, expected one that fits the memory; "
                "take a smaller --batch-size or fewer --workers"
            ) from error


class _Worker:
    """What Ray Data keeps in each process. A mistake of the user is an answer: no traceback, and no second try."""

    def __init__(self, make: Callable[[], Work], folder: str) -> None:
        self._make: Callable[[], Work] = make
        self._work: Work | None = None
        os.chdir(folder)  # of the driver, so that relative paths are the same

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, known, error = int(row["number"]), "", ""
        try:
            work = self._work = self._work or self._make()
            known = json.dumps(work(number))
        except MISTAKES as mistake:
            error = str(mistake) or type(mistake).__name__
        return {"number": number, "known": known, "error": error}


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray with its data library, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ValueError(
            f"engine: got ray, but the package {error.name} is not installed; pip install 'open-textok[ray]'"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # plans and tracebacks; what fails is raised
    try:
        _knock(address)
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        hint = "start one by ray start --head, or leave --address out"
        raise ValueError(f"address: got {address!r}, where no Ray of this version answers; {hint}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise ``OSError`` where nobody listens: Ray itself would try for two minutes, and then end the process."""
    host, _, port = (address or "").rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _wait_for_room(ray: Any, plan: Plan) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        free = ray.available_resources()
        cores, gpus = free.get("CPU", 0.0), free.get("GPU", 0.0)
        if cores >= plan.cores and gpus >= plan.gpus:
            return
        if time.monotonic() > end:
            raise ValueError(
                f"engine: got {cores:g} free cores and {gpus:g} free GPUs for {_PATIENCE} seconds, expected "
                f"{plan.cores:g} and {plan.gpus} for a worker; another job has the rest of the cluster"
            )
        time.sleep(1)
