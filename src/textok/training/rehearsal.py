"""``--rehearse``: what a whole training would take, by a few steps of every phase; ``--profile``: what in a step."""

import json
import math
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile, schedule

from textok.data.held_out import open_train
from textok.display import note
from textok.models.layers import checkpoint_activations
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.reconstruction import ReconstructionObjective
from textok.training.generator.config import GeneratorRun
from textok.training.optimizers import build_optimizers
from textok.training.parallel import step_dtype
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import total
from textok.writing import write_text

Run = TokenizerRun | GeneratorRun
Train = Callable[..., Path]

# Steps of each phase: one that warms up, one that is timed; one more follows after the restart.
PLAIN = GAN = 2
VALIDATED = 64  # pictures that the rehearsed validation scores
HEADROOM = 0.92  # of the memory that a training may take
DAY, GB = 86_400, 1e9


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What a machine took for the parts of a run, in seconds and bytes."""

    step: float
    gan_step: float | None  # with the discriminator
    r1_step: float | None  # and with its R1 term
    validation: float  # from one of few pictures with a restart and a checkpoint: an upper bound
    memory: float  # at the peak
    memory_limit: float
    checkpoint: int
    disk: int  # two checkpoints, one that is being written, and weights
    disk_free: int
    whole: float  # all steps and validations

    def lines(self, run: Run) -> list[str]:
        """The table."""
        gan = ""
        if self.gan_step is not None and self.r1_step is not None:
            gan = f"; with the discriminator {self.gan_step:.3g}, with its R1 term {self.r1_step:.3g}"
        return [
            f"{run.name}: {run.steps:,} steps of {run.batch_size}; a few of every phase were run here",
            f"  memory      {self.memory / GB:.2f} of {self.memory_limit / GB:.1f} GB at the peak",
            f"  a step      {self.step:.3g} s, {run.batch_size / self.step:.3g} a second{gan}",
            f"  validation  {self.validation:.3g} s at most; saving, stopping and going on were run too",
            f"  checkpoint  {self.checkpoint / GB:.3g} GB",
            f"  disk        {self.disk / GB:.3g} of {self.disk_free / GB:.1f} GB that are free",
            f"  the whole   {self.whole / DAY:.3g} days",
        ]


def rehearse(run: Run, out: Path, train: Train) -> Rehearsed:
    """Run every phase by ``train`` in a folder beside ``out``, which goes away again; all ranks call.

    ``ValueError`` when the run does not fit into memory or onto the disk here; says what would fit.
    """
    if isinstance(run, TokenizerRun):
        open_train(run.data)  # whose error comes before the minute that follows
        check_memory(run)
    scratch = out.with_name(f".{out.name}.rehearsal")
    short = _shortened(run)
    _begin_peak()
    try:
        train(short, scratch, stop_at=short.steps - 1)
        began = time.perf_counter()
        train(short, scratch)
        made = _summary(run, scratch, time.perf_counter() - began)
    finally:
        if PartialState().is_main_process:
            shutil.rmtree(scratch, ignore_errors=True)
    if made.disk > made.disk_free:
        raise ValueError(
            f"out: got {made.disk_free / GB:.3g} GB free beside {out}, expected {made.disk / GB:.3g}; use another disk"
        )
    return made


def _shortened(run: Run) -> Run:
    """A run of a few steps, whose discriminator, R1, validation and checkpoint come within them."""
    settings: dict[str, Any] = {"steps": PLAIN + 1, "log_every": 1, "checkpoint_every": 10**9}
    if isinstance(run, TokenizerRun):
        settings["text_states"] = "online"  # else all captions would be encoded first
        settings["words_first"] = 0.0  # steps of words alone are cheaper than the others
        if run.adversarial is not None:
            settings["steps"] = PLAIN + GAN + 1
            settings["adversarial"] = replace(
                run.adversarial, start_step=PLAIN, discriminator_warmup_steps=0, r1_every=PLAIN
            )
        few: dict[str, Any] = {
            "count": min(run.validation.count, VALIDATED),
            "best_by": "perceptual_effnet_lite2",
        }
        settings["validation"] = replace(run.validation, every=10**9, **few)
    return replace(run, **settings)


def _summary(run: Run, scratch: Path, second_half: float) -> Rehearsed:
    """The figures of the whole from those of the few steps."""
    log = [json.loads(line) for line in (scratch / "metrics.jsonl").read_text().splitlines()]
    rates = [line.get("images_per_second") or line.get("rows_per_second") for line in log]
    seconds = [run.batch_size / rate for rate in rates if rate]
    plain, gan, r1 = seconds[PLAIN - 1], None, None
    steps, validation = run.steps * plain, max(0.0, second_half - seconds[-1])
    if isinstance(run, TokenizerRun):
        validation *= max(1.0, run.validation.count / VALIDATED)
        if run.adversarial is not None:
            r1, gan = seconds[PLAIN], seconds[PLAIN + 1]
            late = max(0, run.steps - run.adversarial.start_step)
            steps = (run.steps - late) * plain + late * (gan + max(0.0, r1 - gan) / run.adversarial.r1_every)
    every = run.validation.every if isinstance(run, TokenizerRun) else run.preview.every
    checkpoint = sum(f.stat().st_size for f in max((scratch / "checkpoints").iterdir()).iterdir())
    weights = sum(f.stat().st_size for f in (scratch / "weights").iterdir())
    return Rehearsed(
        step=plain,
        gan_step=gan,
        r1_step=r1,
        validation=validation,
        memory=_peak_bytes(),
        memory_limit=memory_bytes(),
        checkpoint=checkpoint,
        disk=3 * checkpoint + 2 * weights,
        disk_free=shutil.disk_usage(scratch).free,
        whole=steps + math.ceil(run.steps / every) * validation,
    )


# --- memory -------------------------------------------------------------------------------------------------


def check_memory(run: TokenizerRun) -> None:
    """Take steps of one and of two pictures; ``ValueError`` names the largest micro-batch that the memory allows."""
    one, two = (step_bytes(run, pictures) for pictures in (1, 2))
    limit, each, micro = HEADROOM * memory_bytes(), max(1.0, two - one), min(run.micro_batch, run.batch_size)
    needed, fits = one + (micro - 1) * each, int((limit - one) / each) + 1
    if needed > limit:
        advice = f"use --micro-batch {fits}" if fits >= 1 else "use a smaller model or a larger device"
        more = "" if run.activation_checkpointing else ", or --activation-checkpointing"
        raise ValueError(
            f"micro_batch: got {micro}, which takes about {needed / GB:.1f} GB of the "
            f"{memory_bytes() / GB:.1f} GB here; {advice}{more}"
        )


def step_bytes(run: TokenizerRun, pictures: int) -> float:
    """Memory at the peak of a step of so many pictures, with everything that a training keeps."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = step_dtype(run.precision)
    _begin_peak()
    try:
        model = TexTok(run.model).to(device)
        _averaged = [p.detach().clone() for p in model.parameters()]
        checkpoint_activations(model, enabled=run.activation_checkpointing)
        optimizers = build_optimizers(model, run.optimizer, dtype=dtype)
        objective = ReconstructionObjective(run.loss, dtype=dtype).to(device)
        side, tokens = run.model.image_size, run.model.max_text_tokens
        images = torch.rand(pictures, 3, side, side, device=device)
        states = torch.randn(pictures, tokens, run.model.text_dim, device=device)
        text = TextCondition(states, torch.ones(pictures, tokens, dtype=torch.bool, device=device))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            made = model(images, text, generator=torch.Generator(device))
        total(objective(made, images)).backward()
        for optimizer in optimizers:
            optimizer.step()
        return _peak_bytes()
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"micro_batch: a step of {pictures} does not fit into {memory_bytes() / GB:.1f} GB; use a smaller "
            "model or a larger device"
        ) from error


def memory_bytes() -> float:
    """Of the device."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _begin_peak() -> None:
    """Forget the peak so far, where the system lets us; elsewhere it is that of the whole process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return 1024 * float(lines["VmHWM"].split()[0])
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- profile ------------------------------------------------------------------------------------------------

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
