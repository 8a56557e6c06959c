"""Kernel distance between sets of feature vectors, in the form of KID (Bińkowski et al. 2018, section 4)."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor


class KernelDistance(NamedTuple):
    """A kernel distance and how far it can be trusted.

    Attributes:
        value: mean over subsets of the unbiased squared distance: 0 on average for sets of one kind, so it may
            come out below 0.
        standard_error: delete-d jackknife over the subsets (Shao and Wu 1989): their standard deviation times
            sqrt(m / (n - m)), m the subset size and n the smaller set. For sets of one kind it errs on the
            large side.
        subset_std: standard deviation over subsets, which other tools print beside KID.
    """

    value: float
    standard_error: float
    subset_std: float


def kernel_distance(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    *,
    generator: torch.Generator,
    subsets: int = 100,
    subset_size: int = 1000,
) -> KernelDistance:
    """Unbiased squared maximum mean discrepancy under the kernel (x . y / d + 1)^3, in float64.

    Needs no more vectors than dimensions, unlike the Fréchet distance; both are 0 for equal distributions.

    Args:
        a: n vectors of one set.
        b: m vectors of the other.
        generator: draws the subsets, without replacement within one; on the CPU.
        subsets: how many.
        subset_size: vectors of each set in a subset; at most half the smaller set, so that subsets differ.

    Raises:
        ValueError: for fewer than 4 vectors in a set, or other settings out of range.
    """
    smaller = min(len(a), len(b))
    if smaller < 4 or subsets < 2 or subset_size < 2:
        raise ValueError(
            f"kernel distance: got {len(a)} and {len(b)} vectors, {subsets} subsets of {subset_size}, expected "
            "4 vectors, 2 subsets and a subset size of 2, or more"
        )
    size = min(subset_size, smaller // 2)
    draws = [
        tuple(torch.randperm(len(x), generator=generator)[:size].to(x.device) for x in (a, b))
        for _ in range(subsets)
    ]
    if max(len(a), len(b)) <= 2 * subset_size:
        # Small sets share their vectors among the subsets: their kernels are computed once.
        aa, bb, ab = _kernel(a, a), _kernel(b, b), _kernel(a, b)
        distances = [_discrepancy(aa[i][:, i], bb[j][:, j], ab[i][:, j]) for i, j in draws]
    else:
        pairs = ((a[i], b[j]) for i, j in draws)
        distances = [_discrepancy(_kernel(x, x), _kernel(y, y), _kernel(x, y)) for x, y in pairs]
    values = torch.stack(distances)
    spread = float(values.std(correction=0))
    error = spread * math.sqrt(size / (smaller - size))
    return KernelDistance(value=float(values.mean()), standard_error=error, subset_std=spread)


def _kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def _discrepancy(
    aa: Float64[Tensor, "s s"], bb: Float64[Tensor, "s s"], ab: Float64[Tensor, "s s"]
) -> Float64[Tensor, ""]:
    size = len(ab)
    within = aa.sum() - aa.trace() + bb.sum() - bb.trace()
    return within / (size * (size - 1)) - 2 * ab.mean()
