"""The bottlenecks between encoder and decoder: plain (ae), Gaussian (kl), normalised (norm), finite scalar
(fsq) or vector (vq).

Every bottleneck maps encoder outputs (b, k, ``input_dim``) to latents (b, k, ``latent_dim``) and returns the
loss of doing so. Axes: b batch, k latent tokens, c latent channels, n codebook entries.
"""

from textok.models.bottleneck.continuous import (
    AEConfig,
    AutoencoderBottleneck,
    GaussianBottleneck,
    KLConfig,
    NormBottleneck,
    NormConfig,
)
from textok.models.bottleneck.discrete import FiniteScalarBottleneck, FSQConfig, VectorBottleneck, VQConfig
from textok.models.bottleneck.protocol import Bottleneck, BottleneckOutput

BottleneckConfig = AEConfig | KLConfig | NormConfig | FSQConfig | VQConfig

__all__ = [
    "AEConfig",
    "AutoencoderBottleneck",
    "Bottleneck",
    "BottleneckConfig",
    "BottleneckOutput",
    "FSQConfig",
    "FiniteScalarBottleneck",
    "GaussianBottleneck",
    "KLConfig",
    "NormBottleneck",
    "NormConfig",
    "VQConfig",
    "VectorBottleneck",
]
