"""``--profile``: where the time of a training step goes, by torch's profiler."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile, schedule

from textok.display import note
from textok.writing import write_text

SKIPPED, WARM_UP = 2, 1  # steps before those that are recorded
ROWS = 40


@contextmanager
def profiled(folder: Path, *, steps: int) -> Iterator[None]:
    """Record training steps made inside, from the fourth on; the training itself is as without.

    Each rank writes ``folder/rank-N.json``, which chrome://tracing and Perfetto open, some ten megabytes a step, and
    ``folder/rank-N.txt``, the operations by their own time. A training that ends before the fourth step says so.
    """
    if steps < 1:
        raise ValueError(f"profile: got {steps} steps, expected at least 1")
    trace = folder / f"rank-{PartialState().process_index}.json"
    plan = schedule(wait=SKIPPED, warmup=WARM_UP, active=steps, repeat=1)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    written, seen = list[Path](), list[Optimizer]()

    def write(profiler: profile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(trace))
        time = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        write_text(trace.with_suffix(".txt"), profiler.key_averages().table(sort_by=time, row_limit=ROWS))
        written.append(trace)

    def count(optimizer: Optimizer, *_: Any) -> None:
        if not seen:
            seen.append(optimizer)  # a step moves several optimizers; the first to move counts them
        if optimizer is seen[0]:
            profiler.step()

    with profile(activities=activities, schedule=plan, on_trace_ready=write) as profiler:
        hook = register_optimizer_step_post_hook(count)
        try:
            yield
        finally:
            hook.remove()
    note(f"profile: {trace}" if written else "profile: the training ended before its fourth step")
