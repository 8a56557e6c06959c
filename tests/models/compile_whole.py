"""Compiles the tokenizer in one graph; a program of its own, since dynamo cannot look through run-time types."""

import torch
from torch.testing import assert_close

from textok.models.bottleneck import AEConfig, BottleneckConfig, FSQConfig, KLConfig, VQConfig
from textok.models.text import TextCondition
from textok.models.tokenizer import TexTok, TexTokConfig

IMAGES = torch.rand(3, 3, 16, 24) * 2 - 1
TEXT = TextCondition.pad([torch.randn(5, 12), torch.randn(0, 12), torch.randn(9, 12)])
LENGTHS = torch.tensor([2, 4, 3])


def make_model(bottleneck: BottleneckConfig) -> TexTok:
    config = TexTokConfig(
        image_size=16,
        patch_size=8,
        dim=16,
        encoder_depth=1,
        decoder_depth=1,
        num_heads=2,
        num_latents=4,
        text_dim=12,
        bottleneck=bottleneck,
    )
    return TexTok(config)


def compile_use(bottleneck: BottleneckConfig) -> None:
    model = make_model(bottleneck).eval()
    encode, decode = (torch.compile(f, fullgraph=True, backend="eager") for f in (model.encode, model.decode))
    with torch.no_grad():
        plain = model.encode(IMAGES, TEXT, num_tokens=4)
        assert_close(encode(IMAGES, TEXT, num_tokens=4).latents, plain.latents)
        tokens = plain.latents if plain.codes is None else plain.codes
        expected = model.decode(tokens, TEXT, grid=(2, 3), lengths=LENGTHS)
        assert_close(decode(tokens, TEXT, grid=(2, 3), lengths=LENGTHS), expected)


def compile_training() -> None:
    model = make_model(AEConfig(latent_dim=4)).train()
    made = torch.compile(model, fullgraph=True, backend="eager")(IMAGES, TEXT, lengths=LENGTHS)
    assert_close(made.images, model(IMAGES, TEXT, lengths=LENGTHS).images)
    made.images.square().mean().backward()
    assert model.encoder.text.project.weight.grad.abs().max() > 0


if __name__ == "__main__":
    torch.manual_seed(0)
    for form in (
        KLConfig(latent_dim=4),
        FSQConfig(levels=(8, 5, 5)),
        VQConfig(codebook_size=16, latent_dim=4),
    ):
        compile_use(form)
    compile_training()
    print("compiled")
