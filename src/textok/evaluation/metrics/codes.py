"""Statistics of latents: use of the codes of a discrete tokenizer, statistics of continuous latents."""

import math

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from textok.evaluation.picture_values import VectorSums


def code_statistics(codes: Int[Tensor, "n k"], *, num_codes: int) -> dict[str, float]:
    """How a discrete tokenizer uses its codes over n pictures of k tokens.

    Args:
        codes: integers from 0 to ``num_codes`` - 1.
        num_codes: size of the codebook.

    Returns:
        ``code_usage``, share of the codes that occur at all; ``code_perplexity``, exp of the entropy of their
        frequencies, from 1 to ``num_codes``; ``bits_per_image``, k log2(num_codes): the size of a picture's
        tokens at a fixed length per code, without entropy coding.

    Raises:
        ValueError: for no codes, or codes out of range.
    """
    if not codes.numel() or int(codes.min()) < 0 or int(codes.max()) >= num_codes:
        raise ValueError(f"codes: got {tuple(codes.shape)} of them, expected some, from 0 to {num_codes - 1}")
    counts = torch.bincount(codes.flatten(), minlength=num_codes).double()
    entropy = torch.special.entr(counts / counts.sum()).sum()
    return {
        "code_usage": float((counts > 0).double().mean()),
        "code_perplexity": float(entropy.exp()),
        "bits_per_image": codes.shape[1] * math.log2(num_codes),
    }


def channel_statistics(latents: VectorSums) -> dict[str, list[float]]:
    """``mean`` and ``std`` of each of the c channels, over every token of a set of pictures.

    Args:
        latents: sums of the tokens' latents (c,), on the unit scale that ``TexTok.encode`` gives.
    """
    mean, covariance = latents.moments(correction=0)
    return {"mean": mean.tolist(), "std": covariance.diagonal().clamp(min=0).sqrt().tolist()}


def latent_extremes(channels: dict[str, list[float]]) -> dict[str, float]:
    """How far latents are from a mean of 0 and a standard deviation of 1 in the worst channel.

    Args:
        channels: what ``channel_statistics`` gives.

    Returns:
        ``latent_mean_abs_max``, ``latent_std_min`` and ``latent_std_max``: near 0, 1 and 1 when the stored
        normalization fits these pictures.
    """
    return {
        "latent_mean_abs_max": max(map(abs, channels["mean"])),
        "latent_std_min": min(channels["std"]),
        "latent_std_max": max(channels["std"]),
    }


def nats_per_token(
    latents: Float[Tensor, "n k c"], log_variance: Float[Tensor, "n k c"]
) -> Float64[Tensor, "n"]:
    """Divergence of N(latent, variance) from N(0, 1), summed over channels and averaged over each picture's tokens.

    Args:
        latents: of a ``kl`` tokenizer, on the unit scale that ``TexTok.encode`` gives.
        log_variance: on the same scale.
    """
    values, logs = latents.double(), log_variance.double()
    return 0.5 * (values.square() + logs.exp() - 1 - logs).sum(dim=2).mean(dim=1)
