"""Merging of metrics over the ranks of a torch.distributed job."""

from typing import TypeVar

import torch
import torch.distributed as dist

from textok.evaluation.encodings import EncodingRecord
from textok.evaluation.metrics.frechet import FeatureStatistics, PlacedFeatures, SplitStatistics
from textok.evaluation.metrics.paired import PairedMetrics
from textok.evaluation.metrics.semantics import SemanticMetrics

SumT = TypeVar("SumT", SemanticMetrics, EncodingRecord, FeatureStatistics)


def merge_metrics(metrics: PairedMetrics, *, device: torch.device) -> PairedMetrics:
    """The metrics of all ranks together, on every rank; a collective call.

    Args:
        metrics: this rank's metrics; a rank may have seen no picture.
        device: where the process group reduces tensors (the rank's GPU under NCCL).
    """
    columns: list = [None] * dist.get_world_size()
    dist.all_gather_object(columns, (metrics.indices, metrics.per_image))
    merged = PairedMetrics.empty(metrics.network)
    for indices, per_image in columns:
        merged = merged + PairedMetrics(
            network=metrics.network, statistics=merged.statistics, indices=indices, per_image=per_image
        )
    merged.statistics = merge_statistics(metrics.statistics, device=device)
    return merged


def merge_statistics(statistics: SplitStatistics, *, device: torch.device) -> SplitStatistics:
    """The feature statistics of all ranks together, on every rank; a collective call."""
    placed: list = [None] * dist.get_world_size()
    dist.all_gather_object(placed, (statistics.placed.positions, statistics.placed.vectors))
    positions, vectors = zip(*placed, strict=True)
    return SplitStatistics(
        even=_merged(statistics.even, device=device),
        odd=_merged(statistics.odd, device=device),
        placed=PlacedFeatures(positions=torch.cat(positions), vectors=torch.cat(vectors)),
    )


def merge_sums(metrics: SumT) -> SumT:
    """The sum, by ``+``, of what all ranks hold, on every rank; a collective call."""
    found: list = [None] * dist.get_world_size()
    dist.all_gather_object(found, metrics)
    total, *others = found
    for other in others:
        total = total + other
    return total


def _merged(statistics: FeatureStatistics, *, device: torch.device) -> FeatureStatistics:
    """Vectors are gathered where all ranks together keep them; else sums are added where the tensors are."""
    counts: list = [None] * dist.get_world_size()
    dist.all_gather_object(counts, statistics.count)
    if sum(counts) <= statistics.dim:
        return merge_sums(statistics)
    total, products = statistics.total.to(device, copy=True), statistics.outer.to(device, copy=True)
    for value in (total, products):
        dist.all_reduce(value)
    return FeatureStatistics(count=sum(counts), total=total.cpu(), products=products.cpu())
