"""How much each latent token of icons-128 varies over pictures, beside the noise that its kl bottleneck adds.

    python benchmarks/latent_scale.py

Standard deviations over the pictures of icons-128 val and the channels of a token, on the unit scale of latents; right
captions.
"""

from pathlib import Path

import torch

from textok.data import DataConfig, EvalLoader
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.results import Row, write_result
from textok.models.text_encoder import TextEncoder
from textok.models.tokenizer import TexTok
from textok.pixels import to_unit
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "latent_scale.json"
MODEL, SPLIT = "icons-128", "val"


@torch.inference_mode()
def main() -> None:
    """Measure, write, print."""
    model = TexTok.from_pretrained(MODEL)
    side = model.config.image_size
    data = DataConfig(source=str(ROOT / "datasets" / MODEL), split=SPLIT, size=(side, side))
    pictures = CaptionedPictures.collect(SPLIT, EvalLoader(data, batch_size=64))
    text = TextEncoder.from_pretrained(model.config.text_encoder, max_tokens=model.config.max_text_tokens)
    made = model.encode(to_unit(pictures.images), text(pictures.captions))
    assert made.log_variance is not None  # a kl tokenizer
    spread = (made.latents - made.latents.mean(dim=0)).square().mean(dim=(0, 2)).sqrt()  # (k)
    noise = made.log_variance.exp().mean(dim=(0, 2)).sqrt()  # (k)
    rows: list[Row] = [
        {"token": place + 1, "deviation_of_means": float(a), "deviation_of_noise": float(b)}
        for place, (a, b) in enumerate(zip(spread, noise, strict=True))
    ]
    settings = {"model": model.model_id, "split": SPLIT, "count": len(pictures)}
    write_result(OUT, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print("{token:>3}  means {deviation_of_means:.2f}  noise {deviation_of_noise:.2f}".format(**row))


if __name__ == "__main__":
    main()
