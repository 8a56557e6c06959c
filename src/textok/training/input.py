"""What training steps read, prepared while the steps before them run."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch

from textok.data.samples import Batch

BatchT = TypeVar("BatchT")
Part = TypeVar("Part")


@runtime_checkable
class Stateful(Protocol):
    """What has a state of plain values and tensors."""

    def state_dict(self) -> dict[str, Any]:
        """The state."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Go on from a saved state."""
        ...


@runtime_checkable
class Loader(Stateful, Protocol[BatchT]):
    """Endless batches, with a position that can be saved."""

    def __next__(self) -> BatchT: ...


@dataclass(frozen=True)
class StepInput(Generic[BatchT, Part]):
    """What one step reads: a batch, and its parts on the device as they go through the network."""

    batch: BatchT
    parts: Iterable[Part]
    state: dict[str, Any]  # of the loader after this batch


class StepInputs(Generic[BatchT, Part]):
    """The inputs of one step after another, from a thread ``ahead`` of the step, or made as they are asked for.

    Every input is a pure function of the loader's position and the step, so the thread changes no value. ``cut`` makes
    the parts of a batch for a step; ``ahead`` of 0 starts no thread.
    """

    def __init__(
        self,
        loader: Loader[BatchT],
        cut: Callable[[BatchT, int], Iterable[Part]],
        *,
        device: torch.device,
        ahead: int,
    ) -> None:
        self._loader, self._cut, self._device, self._ahead = loader, cut, device, ahead
        self._state = loader.state_dict()
        self._step = 0
        self._error: BaseException | None = None
        self._prepared: deque[Future[StepInput[BatchT, Part]]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1)  # starts with the first input that is prepared

    def begin(self, step: int) -> None:
        """The next input is that of this step."""
        self._step = step
        self._prepared.extend(self._thread.submit(self._make) for _ in range(self._ahead))

    def __next__(self) -> StepInput[BatchT, Part]:
        """The input of the next step; raises what the loader raises."""
        if self._ahead:
            made = self._prepared.popleft().result()
            self._prepared.append(self._thread.submit(self._make))
        else:
            made = self._make()
        self._state = made.state
        return made

    def state_dict(self) -> dict[str, Any]:
        """The loader's position after the inputs handed out so far, whatever is prepared already."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position; before ``begin``."""
        self._loader.load_state_dict(state)
        self._state = state

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _make(self) -> StepInput[BatchT, Part]:
        if self._error is not None:  # nothing is read behind it
            raise self._error
        if self._ahead and self._device.type == "cuda":  # which device is current is a matter of each thread
            torch.cuda.set_device(self._device)
        try:
            batch = next(self._loader)
        except BaseException as error:
            self._error = error
            raise
        state = self._loader.state_dict()
        parts = self._cut(on_device(batch, self._device), self._step)
        self._step += 1
        return StepInput(batch, list(parts) if self._ahead else parts, state)


def on_device(batch: BatchT, device: torch.device) -> BatchT:
    """The batch with its pictures on a GPU, through pinned memory, so that the copy and the host run side by side."""
    if device.type != "cuda" or not isinstance(batch, Batch) or batch.images.is_cuda:
        return batch
    return replace(batch, images=batch.images.pin_memory().to(device, non_blocking=True))
