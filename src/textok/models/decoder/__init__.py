"""How latents become pictures: in one pass (direct), or by a flow from noise (flow).

Every decoder maps latents (b, k, c), with the caption or without, to pictures (b, 3, h, w). In training it returns a
``TrainingPass``, which the objective judges.
"""

from textok.models.decoder.direct import DirectConfig, DirectDecoder
from textok.models.decoder.flow import FlowDecoder, FlowDecoderConfig
from textok.models.decoder.protocol import Decoder

DecoderConfig = DirectConfig | FlowDecoderConfig

__all__ = ["Decoder", "DecoderConfig", "DirectConfig", "DirectDecoder", "FlowDecoder", "FlowDecoderConfig"]
