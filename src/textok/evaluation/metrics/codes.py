"""Statistics of latents: use of the codes of a discrete tokenizer, statistics of continuous latents."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
        raise ValueError(f"codes: got {tuple(codes.shape)} of them; expected some, from 0 to {num_codes - 1}")
    counts = torch.bincount(codes.flatten(), minlength=num_codes).double()
    entropy = torch.special.entr(counts / counts.sum()).sum()
    return {
        "code_usage": float((counts > 0).double().mean()),
        "code_perplexity": float(entropy.exp()),
        "bits_per_image": codes.shape[1] * math.log2(num_codes),
    }


def latent_statistics(
    latents: Float[Tensor, "n k c"], log_variance: Float[Tensor, "n k c"] | None
) -> dict[str, float]:
    """How continuous latents are spread over n pictures of k tokens with c channels.

    Args:
        latents: on the unit scale that ``TexTok.encode`` gives.
        log_variance: of a ``kl`` tokenizer, on the same scale; None for others.

    Returns:
        ``latent_mean_abs_max``, ``latent_std_min`` and ``latent_std_max``, the extremes over channels of the
        mean and the standard deviation, near 0, 1 and 1 when the stored normalization fits these pictures;
        with a log-variance also ``kl_nats_per_token``, the divergence of N(latent, variance) from N(0, 1),
        summed over channels and averaged over tokens.
    """
    values, channels = latents.double(), channel_statistics(latents)
    row = {
        "latent_mean_abs_max": max(map(abs, channels["mean"])),
        "latent_std_min": min(channels["std"]),
        "latent_std_max": max(channels["std"]),
    }
    if log_variance is not None:
        logs = log_variance.double()
        nats = 0.5 * (values.square() + logs.exp() - 1 - logs)
        row["kl_nats_per_token"] = float(nats.sum(dim=2).mean())
    return row


def channel_statistics(latents: Float[Tensor, "n k c"]) -> dict[str, list[float]]:
    """``mean`` and ``std`` of each of the c channels over n pictures of k tokens, on the scale of the latents."""
    std, mean = torch.std_mean(latents.double().flatten(0, 1), dim=0, correction=0)
    return {"mean": mean.tolist(), "std": std.tolist()}
