"""How fast a decoder learns to read captions: by how they enter it.

    python benchmarks/caption_reading.py

A small decoder gets no latents, only captions of scenes in all three densities, and learns the pictures at 32 px. Told
is the squared error on held-out scenes with their captions and with those of others: while both are equal, captions
are not read. The arms differ in three settings of ``TexTokConfig``: whether a caption is pooled to 16 tokens first
(``text_pool``), whether attention to it starts behind a bias of -3 (``text_bias``), and whether its tokens are part of
the sequence or keys alone (``text_path``). Same batches of one seed.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from textok.data.held_out import open_train
from textok.evaluation.results import write_result
from textok.models.decoder import DirectDecoder
from textok.models.text import TextCondition
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTokConfig
from textok.recipes.tokenizers import scenes_64_direct
from textok.training.optimizers import OptimizerConfig, build_optimizers, learning_rate, set_learning_rate
from textok.training.run_folder import environment
from textok.training.tokenizer.setup import open_loader

OUT = Path(__file__).resolve().parent / "results" / "caption_reading.json"
SIDE, BATCH, HELD_OUT = 32, 64, 256
ARMS: dict[str, dict[str, Any]] = {
    "every token, plain": {"text_pool": None, "text_bias": None},
    "every token, bias -3": {"text_pool": None, "text_bias": -3.0},
    "pooled to 16, plain": {"text_pool": 16, "text_bias": None},
    "pooled to 16, bias -3": {"text_pool": 16, "text_bias": -3.0},
    "every token as keys, plain": {"text_pool": None, "text_bias": None, "text_path": "keys"},
    "every token as keys, bias -3": {"text_pool": None, "text_bias": -3.0, "text_path": "keys"},
}
OPTIMIZER = OptimizerConfig(kind="muon", lr=1e-3, warmup_steps=20)
Pictures = Float[Tensor, "n 3 h w"]


def main() -> None:
    """Train every arm and write its errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--scenes", type=int, default=4352)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    images, states = scenes(options.scenes)
    rows = []
    for arm, settings in ((arm, ARMS[arm]) for arm in options.only):
        for row in learn(images, states, settings, options):
            rows.append({"arm": arm} | settings | row)
            print(
                {name: round(v, 4) if isinstance(v, float) else v for name, v in rows[-1].items()}, flush=True
            )
    settings = {"steps": options.steps, "batch": BATCH, "scenes": options.scenes, "seed": options.seed}
    write_result(options.out, settings=settings, rows=rows, made_by=environment())


def scenes(count: int) -> tuple[Pictures, list[Float[Tensor, "_ d"]]]:
    """Pictures of SIDE pixels in [-1, 1], and the states of their captions."""
    run = replace(scenes_64_direct(), batch_size=BATCH)
    loader = open_loader(run, open_train(run.data), rank=0, world=1)
    encoder = TextEncoder.from_pretrained("minilm", max_tokens=run.model.max_text_tokens)
    images: list[Tensor] = []
    states: list[Tensor] = []
    while len(states) < count:
        batch = next(loader)
        images.append(nn.functional.interpolate(batch.images.float(), size=(SIDE, SIDE), mode="area"))
        states += encoder.encode_ragged(batch.captions)
    return torch.cat(images)[:count] / 127.5 - 1, states[:count]


def learn(
    images: Pictures, states: list[Tensor], settings: dict[str, Any], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The errors of one arm as it learns."""
    torch.manual_seed(options.seed)
    config = TexTokConfig(
        image_size=SIDE, patch_size=4, dim=128, decoder_depth=4, num_latents=1, max_text_tokens=96, **settings
    )
    decoder = DirectDecoder(config, latent_dim=config.latent_dim)
    optimizers = build_optimizers(decoder, OPTIMIZER)
    draws = torch.Generator().manual_seed(options.seed)
    known, rows = len(images) - HELD_OUT, []

    def error(pictures: list[int], captions: list[int]) -> Tensor:
        text = TextCondition.pad([states[row] for row in captions])
        none = torch.zeros(len(pictures), 1, config.latent_dim)
        side = config.side
        return (decoder.decode(none, text, grid=(side, side)) - images[pictures]).square().mean()

    for step in range(1, options.steps + 1):
        set_learning_rate(optimizers, learning_rate(OPTIMIZER, step=step - 1, steps=options.steps))
        batch = torch.randint(known, (BATCH,), generator=draws).tolist()
        error(batch, batch).backward()
        for optimizer in optimizers:
            optimizer.step()
        decoder.zero_grad(set_to_none=True)
        if step % options.every == 0:
            with torch.no_grad():
                held_out = list(range(known, len(images)))
                others = held_out[HELD_OUT // 2 :] + held_out[: HELD_OUT // 2]
                right, wrong = error(held_out, held_out).item(), error(held_out, others).item()
            rows.append({"pictures": step * BATCH, "right": right, "wrong": wrong, "gain": wrong - right})
    return rows


if __name__ == "__main__":
    main()
