"""The Inception score, for any classifier's logits; called ``is`` only with the published Inception weights."""

import torch
from jaxtyping import Float
from torch import Tensor


def inception_score(logits: Float[Tensor, "n c"], *, splits: int = 10) -> tuple[float, float]:
    """Exp of the mean divergence of p(class | picture) from p(class) (Salimans et al. 2016, section 4).

    The pictures are cut into ``splits`` runs in their order, as published; the marginal p(class) is that of
    the run. Float64.

    Args:
        logits: a classifier's output per picture, n pictures and c classes.
        splits: number of runs.

    Returns:
        Mean and (population) standard deviation over the runs; the score is from 1 to c.

    Raises:
        ValueError: when there are fewer pictures than runs.
    """
    if not 1 <= splits <= len(logits):
        raise ValueError(
            f"Inception score: got {splits} splits of {len(logits)} pictures; expected 1 to as many"
        )
    scores = []
    for part in torch.tensor_split(logits.double().log_softmax(dim=1), splits):
        marginal = part.logsumexp(dim=0) - torch.tensor(float(len(part)), dtype=torch.float64).log()
        # Of a class that no picture can have, both logarithms are -inf: it adds nothing.
        divergence = torch.where(part.isneginf(), 0.0, part.exp() * (part - marginal))
        scores.append(divergence.sum(dim=1).mean().exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0))
