"""What captions still tell once k tokens have been seen: a simple reader of captions beside a tokenizer without text.

    python benchmarks/caption_information.py --tokenizer runs-out/captions/none-seed0/weights

A tokenizer without text gives pictures from k tokens. Kernel ridge regression (RBF, on the mean token state of the
caption) then predicts from the caption what is missing: in pixels, and in features of EfficientNet-lite2, which say
what a picture is of. Fitted on training pictures, chosen on ``val``, judged on ``test-drawing``, with the right
captions and with those of other pictures. It bounds from below what captions are worth to a tokenizer: a network that
reads caption and tokens together can use more.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from research.scoring import Enlarged
from textok.data import DataConfig, EvalLoader
from textok.evaluation.alignment import caption_features
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.networks import EffNetLite2
from textok.evaluation.results import Row, write_result
from textok.models.text_encoder import TextEncoder
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.training.run_folder import environment

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "caption_information.json"
SOURCE, SPLITS = "icons", ("train", "val", "test-drawing")
BUDGETS = (1, 2, 4, 8, 32)
WIDTHS, RIDGES = (0.5, 1.0, 2.0), (1e-2, 1e-1, 1.0, 10.0, 100.0)
BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Side:
    """A set: its captions as vectors, and what is missing of each picture at each budget."""

    captions: Float[Tensor, "n d"]
    missing: dict[tuple[int, str], Float[Tensor, "n f"]]


class Reader:
    """Kernel ridge regression from captions; its width and ridge are the best of a few on held-out pictures."""

    def __init__(self, train: Float[Tensor, "n d"]) -> None:
        self.train = train
        self.unit = torch.cdist(train[:500], train[:500]).median()

    def fit_and_predict(
        self, target: Float[Tensor, "n f"], held_out: tuple[Tensor, Tensor], asked: list[Tensor]
    ) -> list[Tensor]:
        """Predictions for other captions.

        Args:
            target: what the training captions should say.
            held_out: captions and targets to choose by.
            asked: captions of the predictions.
        """
        mean = target.mean(dim=0)
        best: tuple[float, float, Tensor] | None = None
        for width in WIDTHS:
            values, vectors = torch.linalg.eigh(self.kernel(self.train, width))
            turned, seen = vectors.T @ (target - mean), self.kernel(held_out[0], width) @ vectors
            for ridge in RIDGES:
                weights = turned / (values.clamp(min=0) + ridge)[:, None]
                error = float((seen @ weights + mean - held_out[1]).square().mean())
                if best is None or error < best[0]:
                    best = (error, width, vectors @ weights)
        assert best is not None
        _, width, dual = best
        return [self.kernel(captions, width) @ dual + mean for captions in asked]

    def kernel(self, captions: Float[Tensor, "m d"], width: float) -> Float[Tensor, "m n"]:
        """Likeness to the training captions."""
        return (-0.5 * (torch.cdist(captions, self.train) / (width * self.unit)).square()).exp()


@torch.inference_mode()
def side_of(tokenizer: ImageTokenizer, text: TextEncoder, split: str, limit: int) -> Side:
    """Pictures through the tokenizer at every budget."""
    size = tokenizer.model.config.image_size
    config = DataConfig(source=SOURCE, split=split, size=(size, size))
    pictures = CaptionedPictures.collect(split, EvalLoader(config, batch_size=64)).spread(limit)
    network = Enlarged(EffNetLite2(), side=128)
    parts: dict[tuple[int, str], list[Tensor]] = {}
    for first in range(0, len(pictures), BATCH):
        images = pictures.images[first : first + BATCH]
        tokens = tokenizer.encode(images)
        meaning = network(images).pooled
        for k in BUDGETS:
            made = tokenizer.decode(tokens.first(k), output="uint8")
            gap = (images.float() - made.float()).flatten(1) / 255
            parts.setdefault((k, "pixels"), []).append(gap)
            parts.setdefault((k, "features"), []).append(meaning - network(made).pooled)
        if first % 500 == 0:
            print(split, first, "of", len(pictures), flush=True)
    missing = {name: torch.cat(found) for name, found in parts.items()}
    return Side(captions=caption_features(pictures.captions, text=text), missing=missing)


def rows_of(train: Side, held_out: Side, test: Side) -> list[Row]:
    """How much of what is missing captions tell, at every budget."""
    reader, rows = Reader(train.captions), list[Row]()
    wrong = test.captions.roll(len(test.captions) // 2, dims=0)
    for k in BUDGETS:
        row: Row = {"budget": k}
        for kind in ("pixels", "features"):
            target, truth = train.missing[k, kind], test.missing[k, kind]
            seen = (held_out.captions, held_out.missing[k, kind])
            right, other = reader.fit_and_predict(target, seen, [test.captions, wrong])
            mean = target.mean(dim=0)
            left = {"alone": truth - mean, "right": truth - right, "wrong": truth - other}
            total = left["alone"].square().sum()
            row |= {
                f"{kind}_told_by_{name}_captions": float(1 - left[name].square().sum() / total)
                for name in ("right", "wrong")
            }
            if kind == "pixels":
                row |= {f"psnr_{name}": psnr(gap) for name, gap in left.items()}
        rows.append(row)
    return rows


def psnr(gap: Float[Tensor, "n f"]) -> float:
    """Mean over pictures, of gaps on the scale 0 to 1."""
    return float((-10 * gap.square().mean(dim=1).log10()).mean())


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokenizer", required=True, help="weights of a kl tokenizer without text")
    parser.add_argument("--train", type=int, default=4000, help="training pictures, spread over the split")
    parser.add_argument("--limit", type=int, default=700, help="pictures of each other split")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    tokenizer = ImageTokenizer.from_pretrained(options.tokenizer)
    if tokenizer.model.config.placement != "none":
        raise SystemExit(f"--tokenizer: {options.tokenizer} reads captions; expected one of placement none")
    text = TextEncoder.from_pretrained("minilm", max_tokens=40)
    limits = (options.train, options.limit, options.limit)
    sides = [side_of(tokenizer, text, split, limit) for split, limit in zip(SPLITS, limits, strict=True)]
    rows = rows_of(*sides)
    settings = {"tokenizer": tokenizer.model_id, "train": options.train, "limit": options.limit}
    write_result(options.out, settings=settings, rows=rows, made_by=environment())
    for row in rows:
        print({name: round(float(value), 4) for name, value in row.items()})


if __name__ == "__main__":
    main()
