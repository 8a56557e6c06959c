"""Ranks: their process group, device and dtype; weights whole on every one (DDP), or spread over them (FSDP2)."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import InitProcessGroupKwargs, LoggerType
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from textok.models.config_json import encode_config
from textok.models.layers import Transformer
from textok.pipeline.precision import Precision, inference_dtype, keep_freed_memory
from textok.training.run import Run

PATIENCE = timedelta(hours=12)
"""How long ranks wait for captions that others encode, pictures that they decode and weights that they fetch."""
STEP_PATIENCE = timedelta(minutes=20)
"""How long they wait for each other in a step: a rank that hangs does not hold a cluster for hours."""


def step_dtype(precision: Precision) -> torch.dtype:
    """The dtype of the forward pass on this machine."""
    return inference_dtype("cuda" if torch.cuda.is_available() else "cpu", precision)


def start_accelerator(run: Run) -> Accelerator:
    """The process group, the device and the dtype; in a step ranks wait for each other up to ``STEP_PATIENCE``.

    Raises:
        ValueError: for trackers that are unknown or not installed, and a batch that the ranks cannot share.
    """
    _check_trackers(run.trackers)
    keep_freed_memory()
    accelerator = Accelerator(
        log_with=list(run.trackers) or None,
        mixed_precision="bf16" if step_dtype(run.precision) == torch.bfloat16 else "no",
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=STEP_PATIENCE)],
    )
    if run.batch_size % (world := accelerator.num_processes):
        raise ValueError(f"batch_size: got {run.batch_size}, expected a multiple of the {world} ranks")
    return accelerator


def _check_trackers(names: Sequence[str]) -> None:
    known = sorted(map(str, LOGGER_TYPE_TO_CLASS.keys() - {"tensorboard"}))  # what a caller registered too
    missing = set(map(str, LoggerType)) - set(map(str, get_available_trackers()))
    for name in names:
        if name not in known:
            raise ValueError(
                f"trackers: got {name!r}, expected some of {', '.join(known)}; tensorboard's files are always written"
            )
        if name in missing:
            raise ValueError(f"trackers: got {name!r}, which is not installed; pip install {name}")


def start_trackers(accelerator: Accelerator, run: Run) -> list[GeneralTracker]:
    """Begin the run's entry in each service that it names, with its settings; all ranks call."""
    accelerator.init_trackers(run.name, config=_flat(encode_config(run)))
    return list(accelerator.trackers)


def _flat(config: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Settings by their dotted names, as they are typed; values that services do not take as text."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def wait_long(accelerator: Accelerator) -> None:
    """Wait for all ranks, up to ``PATIENCE``; they meet over gloo, which has a timeout of its own."""
    if accelerator.num_processes > 1:
        dist.barrier(group=_patient_group(dist.group.WORLD))


@contextmanager
def node_first(accelerator: Accelerator) -> Iterator[None]:
    """The first rank of each machine runs the block before the others there, which find what it fetched or wrote."""
    if not accelerator.is_local_main_process:
        wait_long(accelerator)
    yield
    if accelerator.is_local_main_process:
        wait_long(accelerator)


@cache
def _patient_group(world: dist.ProcessGroup) -> Any:
    """One for each life of the process group."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


# --- weights ------------------------------------------------------------------------------------------------

WHOLE = distributed.StateDictOptions(full_state_dict=True, cpu_offload=True)


class Replicated:
    """Every rank has all weights; gradients are averaged by DDP, which accelerate puts in place."""

    network: Callable[..., Any]  # what the training step calls

    def __init__(self, model: nn.Module, accelerator: Accelerator) -> None:
        self.model, self.accelerator = model, accelerator
        self.network = accelerator.prepare(model)
        if isinstance(self.network, DistributedDataParallel):
            # Else it would move every tensor among the arguments to the GPU, budgets too, which are read on the host.
            self.network.device_ids = None

    def no_sync(self) -> AbstractContextManager[Any]:
        """Inside, gradients are not exchanged: more micro-batches follow."""
        return self.accelerator.no_sync(cast(nn.Module, self.network))

    def clip_gradients(self, norm: float) -> Tensor:
        """Scale gradients to at most ``norm``; returns what it was, the same on all ranks."""
        return torch.as_tensor(self.accelerator.clip_grad_norm_(self.model.parameters(), norm))

    def whole(self, part: nn.Module | Optimizer) -> dict[str, Any]:
        """Whole state of weights or of an optimizer; all ranks call, rank 0 gets it."""
        return part.state_dict()

    def load(self, part: nn.Module | Optimizer, state: dict[str, Any]) -> None:
        """Load whole state."""
        part.load_state_dict(state)


class Sharded(Replicated):
    """Every rank of a machine has a part of every block's weights, gathered when the block runs.

    Machines hold copies of each other, so that weights cross no slow line. A training in bfloat16 gathers blocks in
    bfloat16, and sums gradients in float32. ``ValueError`` on a single rank.
    """

    def __init__(self, model: nn.Module, ema: AveragedModel, accelerator: Accelerator) -> None:
        if accelerator.num_processes == 1:
            raise ValueError("sharded: got one rank, expected more; start with torchrun --nproc-per-node N")
        self.model, self.accelerator = model, accelerator
        mesh = _mesh(accelerator)
        bfloat16 = accelerator.mixed_precision == "bf16"
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if bfloat16 else None, reduce_dtype=torch.float32
        )
        for module, of_blocks in ((model, policy), (ema.module, MixedPrecisionPolicy())):
            for block in blocks_of(module):
                fully_shard(block, mesh=mesh, mp_policy=of_blocks)
            fully_shard(module, mesh=mesh)
        self.network = self._run

    def _run(self, *inputs: Any, **named: Any) -> Tensor:
        with self.accelerator.autocast():
            return self.model(*inputs, **named)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Inside, gradients stay whole on each rank: more micro-batches follow."""
        model = cast(FSDPModule, self.model)
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

    def clip_gradients(self, norm: float) -> Tensor:
        """As for whole weights; the norm is taken over the parts of all ranks."""
        total = torch.nn.utils.clip_grad_norm_(self.model.parameters(), norm)
        return total.full_tensor() if isinstance(total, DTensor) else total

    def whole(self, part: nn.Module | Optimizer) -> dict[str, Any]:
        """Gathered from all ranks onto the CPU of rank 0, that of an optimizer named by parameter."""
        if isinstance(part, Optimizer):
            return distributed.get_optimizer_state_dict(self.model, part, options=WHOLE)
        return cast(dict[str, Any], distributed.get_model_state_dict(part, options=WHOLE))

    def load(self, part: nn.Module | Optimizer, state: dict[str, Any]) -> None:
        """Every rank takes its part."""
        if isinstance(part, Optimizer):
            distributed.set_optimizer_state_dict(self.model, part, state, options=WHOLE)
        else:
            distributed.set_model_state_dict(part, state, options=WHOLE)


def _mesh(accelerator: Accelerator) -> DeviceMesh:
    """Ranks by machine and place there, as torchrun started them; in one row where machines differ in size."""
    world = accelerator.num_processes
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    shape = (world // local, local) if local < world and world % local == 0 else (world,)
    names = ("machines", "ranks")[-len(shape) :]
    return init_device_mesh(accelerator.device.type, shape, mesh_dim_names=names)


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The transformer blocks inside: what is gathered and let go one after another."""
    stacks = [stack for name, stack in module.named_modules() if name.split(".")[-1] == "blocks"]
    return [block for stack in stacks for block in stack.children()]


def compile_blocks(module: nn.Module, *, backend: str = "inductor") -> None:
    """Compile each block in place: equal blocks share one compilation, and names of weights stay as they are."""
    for block in blocks_of(module):
        block.compile(backend=backend)
    for part in module.modules():
        if isinstance(part, Transformer):
            part.fixed_shapes = True
