"""Compiles the blocks of two toy tokenizers; a program of its own, since dynamo cannot look through run-time types."""

import shutil

import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.testing import assert_close

from textok.models.attention import KeyMask
from textok.models.decoder import DecoderConfig, DirectConfig, FlowDecoderConfig
from textok.models.layers import Block
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig
from textok.training.parallel import compile_blocks

SIZES = {"image_size": 32, "patch_size": 8, "dim": 32, "encoder_depth": 3, "decoder_depth": 3, "num_heads": 2}


def check(decoder: DecoderConfig, *, backend: str) -> None:
    """The same pictures and gradients, the same names of weights, and fewer graphs than blocks."""
    torch.manual_seed(0)
    model = TexTok(TexTokConfig(**SIZES, num_latents=4, text_dim=12, decoder=decoder))
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    text = TextCondition.pad([torch.randn(5, 12), torch.randn(0, 12), torch.randn(9, 12)])

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        made = model(images, text, generator=torch.Generator().manual_seed(0))
        made.images.square().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    names, expected = list(model.state_dict()), gradients()
    counters.clear()
    compile_blocks(model, backend=backend)
    made = gradients()
    assert made.keys() == expected.keys() and list(model.state_dict()) == names
    for name, value in expected.items():
        assert_close(made[name], value, atol=1e-5, rtol=1e-3, msg=name)
    graphs = counters["stats"]["unique_graphs"]
    assert 1 <= graphs <= 4, graphs  # of six blocks: the last on each side computes fewer positions


def run_whole() -> None:
    """One block through the compiler that a training uses."""
    blocks = nn.ModuleDict({"blocks": nn.ModuleList([Block(32, 2, mlp_ratio=2.0, text_bias=None)])})
    block, x = blocks["blocks"][0], torch.randn(2, 8, 32)
    with torch.no_grad():
        expected = block(x, KeyMask())
        compile_blocks(blocks)
        assert_close(block(x, KeyMask()), expected, atol=1e-5, rtol=1e-3)


if __name__ == "__main__":
    for decoder in (DirectConfig(), FlowDecoderConfig()):
        check(decoder, backend="aot_eager")
    if shutil.which("c++"):
        run_whole()
    print("compiled")
