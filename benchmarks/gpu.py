"""Speed on a GPU, timed by CUDA events: ceilings, training and decoding, kernels, and DiT-XL/2 beside ours.

    python benchmarks/gpu.py ceilings --out bench.jsonl
    python benchmarks/gpu.py sweep --recipes icons-128 imagenet-256-b-128 --batches 64 256 1024 --out bench.jsonl
    python benchmarks/gpu.py profile --recipes scenes-128 --batches 256 --out bench.jsonl
    python benchmarks/gpu.py compare --batches 1 8 64 --out bench.jsonl

Each measurement is a line of JSON, written when it is there, so that a time limit loses no other. On a CPU the same
code runs by the host's clock, which is how it is rehearsed.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok
from textok.objectives.reconstruction import ReconstructionObjective
from textok.recipes import RECIPES
from textok.training.optimizers import Average, build_optimizers
from textok.training.parallel import compile_blocks
from textok.training.run_folder import environment
from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.step import total
from timing import seconds

TRAIN_OVER_FORWARD = 3  # operations of forward and backward to those of forward


class Clock:
    """Milliseconds of a call on a device: the median of several, after a few that warm up."""

    def __init__(self, device: torch.device, *, calls: int, warm_up: int) -> None:
        self.device, self.calls, self.warm_up = device, calls, warm_up

    def __call__(self, call: Callable[[], object]) -> float:
        """Time it."""
        for _ in range(self.warm_up):
            call()
        return 1e3 * statistics.median(seconds(call, device=self.device) for _ in range(self.calls))


def main() -> None:
    """Run one kind of measurement."""
    options = parse()
    device, dtype = torch.device(options.device), torch.bfloat16
    torch.backends.cudnn.benchmark = True
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # as a training may; scores stay in ieee fp32
    clock = Clock(device, calls=options.calls, warm_up=options.warm_up)
    kinds = {"ceilings": ceilings, "sweep": sweep, "profile": profile, "compare": compare}
    made_by = environment()
    for row in kinds[options.kind](options, device, dtype, clock):
        record = {"kind": options.kind, **row, "device": device_name(device)}
        with options.out.open("a") as file:
            file.write(json.dumps(record | {"made_by": made_by}) + "\n")
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in record.items()}, flush=True)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("ceilings", "sweep", "profile", "compare"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=["icons-128"])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--compile", action="store_true", help="sweep and profile: blocks through torch.compile"
    )
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices of the ceilings")
    parser.add_argument(
        "--steps", type=int, default=250, help="compare: of the picture that is really made; the paper's 250"
    )
    return parser.parse_args()


def device_name(device: torch.device) -> str:
    """What it says it is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


# --- ceilings ---------------------------------------------------------------------------------------------


def ceilings(
    options: argparse.Namespace, device: torch.device, dtype: torch.dtype, clock: Clock
) -> Iterator[dict[str, Any]]:
    """One large matrix product and one large copy."""
    side = options.side
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    target = torch.empty_like(a)
    yield {"what": "matrix product", "tflops": 2 * side**3 / clock(lambda: a @ b) / 1e9}
    yield {"what": "copy", "gigabytes_per_second": 2 * a.nbytes / clock(lambda: target.copy_(a)) / 1e6}


# --- tokenizers -------------------------------------------------------------------------------------------


class Trained:
    """A tokenizer with all that a step moves, and one batch of random pictures and captions."""

    def __init__(self, run: TokenizerRun, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.run, self.device, self.dtype, model = run, device, dtype, run.model
        self.model = TexTok(model).to(device).train()
        self.ema = Average(self.model, decay=run.ema_decay)
        self.optimizers = build_optimizers(self.model, run.optimizer, dtype=dtype)
        self.objective = ReconstructionObjective(run.loss, dtype=dtype).to(device)
        self.images = torch.rand(batch, 3, model.image_size, model.image_size, device=device) * 2 - 1
        states = torch.randn(batch, model.max_text_tokens, model.text_dim, device=device)
        present = torch.arange(model.max_text_tokens, device=device) < model.max_text_tokens * 2 // 3
        self.text = TextCondition(states, present.expand(batch, -1).contiguous())
        self.lengths = run.budgets.lengths(batch, most=model.num_latents, generator=torch.Generator())
        self.noise = torch.Generator(device).manual_seed(0)

    def loss(self) -> Tensor:
        """Of the batch."""
        with torch.autocast(self.device.type, self.dtype):
            made = self.model(self.images, self.text, lengths=self.lengths, generator=self.noise)
        return total(self.objective(made, self.images))

    def step(self) -> None:
        """Forward, losses, backward, optimizers, average."""
        self.loss().backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.ema.update_parameters(self.model)
        self.model.zero_grad(set_to_none=True)

    def forward_flops(self) -> int:
        """Operations of the network's forward pass over the batch, without the losses."""
        with FlopCounterMode(display=False) as counter:
            self.model(self.images, self.text, generator=self.noise)
        return counter.get_total_flops()


def sweep(
    options: argparse.Namespace, device: torch.device, dtype: torch.dtype, clock: Clock
) -> Iterator[dict[str, Any]]:
    """Training and use of each recipe at each batch; what does not fit is said and passed over."""
    for name in options.recipes:
        for batch in options.batches:
            try:
                yield from of_recipe(RECIPES[name](), batch, options, device, dtype, clock)
            except torch.OutOfMemoryError:
                yield {"recipe": name, "batch": batch, "what": "out of memory"}


def of_recipe(
    run: TokenizerRun,
    batch: int,
    options: argparse.Namespace,
    device: torch.device,
    dtype: torch.dtype,
    clock: Clock,
) -> Iterator[dict[str, Any]]:
    """Pictures a second of a training step, of encoding, and of decoding at a few budgets."""
    about = {"recipe": run.name, "batch": batch, "compile": options.compile}
    trained = Trained(replace(run, adversarial=None, discriminator=None), batch, device, dtype)
    flops = trained.forward_flops() / batch
    if options.compile:
        compile_blocks(trained.model)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    rate = 1e3 * batch / clock(trained.step)
    yield about | {
        "what": "train",
        "images_per_second": rate,
        "network_tflops": TRAIN_OVER_FORWARD * flops * rate / 1e12,
        "gflop_per_image": flops / 1e9,
        "peak_gigabytes": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
    }
    yield from of_use(trained, about, clock)


@torch.inference_mode()
def of_use(trained: Trained, about: dict[str, Any], clock: Clock) -> Iterator[dict[str, Any]]:
    """Pictures a second of encoding and decoding with weights in bfloat16."""
    config, batch = trained.run.model, about["batch"]
    model = trained.model.eval()
    model.encoder.to(trained.dtype), model.decoder.to(trained.dtype)
    images, text = trained.images.to(trained.dtype), trained.text.to(trained.device, trained.dtype)
    yield about | {
        "what": "encode",
        "images_per_second": 1e3 * batch / clock(lambda: model.encode(images, text)),
    }
    latents = model.encode(images, text).latents.float()
    for tokens in sorted({min(k, config.num_latents) for k in (8, 32, 128)}):
        took = clock(lambda tokens=tokens: model.decode(latents[:, :tokens], text))
        yield about | {"what": "decode", "tokens": tokens, "images_per_second": 1e3 * batch / took}


# --- kernels ----------------------------------------------------------------------------------------------


def profile(
    options: argparse.Namespace, device: torch.device, dtype: torch.dtype, clock: Clock
) -> Iterator[dict[str, Any]]:
    """The dearest kernels of a training step, how many are launched, and the memory at the peak."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] * (device.type == "cuda")
    for name in options.recipes:
        run = replace(RECIPES[name](), adversarial=None, discriminator=None)
        trained = Trained(run, options.batches[0], device, dtype)
        if options.compile:
            compile_blocks(trained.model)
        took = clock(trained.step)
        with torch.profiler.profile(activities=activities) as profiler:
            trained.step()
        of_device = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
        events = [e for e in profiler.key_averages() if getattr(e, of_device) > 0]
        kernels = [e for e in events if device.type != "cuda" or e.device_type.name == "CUDA"]
        kernels.sort(key=lambda e: -getattr(e, of_device))
        yield {
            "recipe": name,
            "batch": options.batches[0],
            "compile": options.compile,
            "milliseconds": took,
            "launches": sum(e.count for e in kernels),
            "busy_milliseconds": sum(getattr(e, of_device) for e in kernels) / 1e3,
            "kernels": [[e.key[:90], e.count, getattr(e, of_device) / 1e3] for e in kernels[:25]],
        }


# --- DiT-XL/2 beside ours -----------------------------------------------------------------------------------


@torch.inference_mode()
def compare(
    options: argparse.Namespace, device: torch.device, dtype: torch.dtype, clock: Clock
) -> Iterator[dict[str, Any]]:
    """A network evaluation with guidance and the decoder, eager and replayed from a CUDA graph; and a real picture."""
    from generation_speed import original, ours  # diffusers takes seconds that no other kind needs

    for build in (ours, original):
        system = build(str(device), dtype)
        for batch in options.batches:
            calls = {"evaluation": partial(system.evaluate, batch), "decoder": partial(system.decode, batch)}
            for part, call in calls.items():
                about = {"system": system.name, "batch": batch, "part": part}
                yield about | {"mode": "eager", "milliseconds": clock(call)}
                if device.type == "cuda":
                    yield about | replayed(call, clock)
        middle = options.batches[len(options.batches) // 2]
        took = Clock(device, calls=1, warm_up=0)(partial(system.picture, middle, options.steps))
        about = {"system": system.name, "batch": middle, "part": f"picture of {options.steps} steps"}
        yield about | {"mode": "eager", "milliseconds": took}
        del system
        if device.type == "cuda":
            torch.cuda.empty_cache()


def replayed(call: Callable[[], object], clock: Clock) -> dict[str, Any]:
    """The call as a CUDA graph, which no launch from the host holds up; or why it cannot be one."""
    try:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        return {"mode": "graph", "milliseconds": clock(graph.replay)}
    except RuntimeError as error:
        return {"mode": "graph", "error": str(error).partition("\n")[0]}


if __name__ == "__main__":
    main()
