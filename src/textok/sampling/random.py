"""Random numbers of sampling: of one generator, or of one for each picture, which then never depends on its batch."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Random = torch.Generator | Sequence[torch.Generator]


def normal(shape: Sequence[int], random: Random, *, device: torch.device | str) -> Float[Tensor, "..."]:
    """Standard normal numbers, drawn where the generators live and then moved."""
    return _drawn(torch.randn, shape, random).to(device)


def uniform(shape: Sequence[int], random: Random, *, device: torch.device | str) -> Float[Tensor, "..."]:
    """Numbers in [0, 1), drawn likewise."""
    return _drawn(torch.rand, shape, random).to(device)


def _drawn(draw: Callable[..., Tensor], shape: Sequence[int], random: Random) -> Tensor:
    if isinstance(random, torch.Generator):
        return draw(shape, generator=random, device=random.device)
    return torch.stack([draw(shape[1:], generator=one, device=one.device) for one in random])


def seeded(*parts: object) -> torch.Generator:
    """A CPU generator that depends on these parts only, such as a seed and the number of a picture."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
