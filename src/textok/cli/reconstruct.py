"""``textok reconstruct``: pictures side by side with what their tokens give back."""

import json as json_format
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from textok.cli.choices import DEFAULT_MODEL, ModelChoice, PictureChoice
from textok.cli.pictures import PictureNames

if TYPE_CHECKING:
    from textok.data import Batch
    from textok.evaluation.captioned import Caption, CaptionedPictures
    from textok.evaluation.reconstruction import Reconstructions
    from textok.pipeline.image_tokenizer import ImageTokenizer


def reconstruct(
    pictures: Annotated[PictureChoice, arg(name="")],
    model: Annotated[ModelChoice, arg(name="")] = DEFAULT_MODEL,
    *,
    out: Path,
    budgets: Annotated[
        tuple[int, ...] | None,
        arg(metavar="K [K ...]", help_behavior_hint="(default: 1/16, 1/4 and all of them)"),
    ] = None,
    json: bool = False,
) -> None:
    """Lay pictures beside what their tokens give back, at several budgets, with the caption and without.

    Args:
        out: the folder for the grids: one PNG a picture, its budgets side by side.
        budgets: tokens a picture, such as 2 8 32.
        json: print the mean PSNR of each condition and budget as JSON.
    """
    from textok.evaluation.pages.grids import reconstruction_grid, save_picture
    from textok.objectives.quality import psnr_per_image

    tokenizer = model.load()
    asked = _budgets(budgets, most=tokenizer.model.config.num_latents)
    names, psnr = PictureNames(), defaultdict(list)
    with closing(pictures.batches(tokenizer, batch_size=model.batch_size)) as batches:
        for batch in batches:
            outputs = _reconstruct(tokenizer, batch, asked)
            for cell, pixels in outputs.items():
                psnr[cell].extend(psnr_per_image(batch.images, pixels).tolist())
            for one, its_outputs in _one_by_one(batch, outputs):
                save_picture(reconstruction_grid(one, its_outputs), out / names.of(one.keys[0]))
    results = [
        {"captions": caption, "budget": k, "pictures": len(values), "psnr": sum(values) / len(values)}
        for (caption, k), values in psnr.items()
    ]
    print(json_format.dumps(results) if json else _table(results, out))


def _budgets(budgets: tuple[int, ...] | None, *, most: int) -> list[int]:
    chosen = budgets or (max(1, most // 16), max(1, most // 4), most)
    if not all(1 <= k <= most for k in chosen):
        raise ValueError(f"budgets: got {budgets}; expected numbers from 1 to the model's {most} tokens")
    return sorted(set(chosen))


def _reconstruct(tokenizer: "ImageTokenizer", batch: "Batch", budgets: Sequence[int]) -> "Reconstructions":
    """The batch decoded from each budget, with its captions (if it has any) and without."""
    conditions: list[tuple[Caption, list[str] | None]] = [("none", None)]
    if any(batch.captions):
        conditions.insert(0, ("right", batch.captions))
    outputs: Reconstructions = {}
    for condition, captions in conditions:
        tokens = tokenizer.encode(batch.images, captions, keep_size=True, batch_size=len(batch))
        for k in budgets:
            outputs[condition, k] = tokenizer.decode(tokens.first(k), output="uint8", batch_size=len(batch))
    return outputs


def _one_by_one(
    batch: "Batch", outputs: "Reconstructions"
) -> Iterator[tuple["CaptionedPictures", "Reconstructions"]]:
    from textok.evaluation.captioned import CaptionedPictures

    for place, (key, caption) in enumerate(zip(batch.keys, batch.captions, strict=True)):
        row = slice(place, place + 1)
        picture = CaptionedPictures(split=key, images=batch.images[row], captions=(caption,), keys=(key,))
        yield picture, {cell: pixels[row] for cell, pixels in outputs.items()}


def _table(results: Sequence[dict[str, Any]], out: Path) -> str:
    lines = [f"{out}: grids of {results[0]['pictures']} pictures; mean PSNR in dB"]
    words = {"right": "with caption", "none": "without"}
    lines += [
        f"  {words[row['captions']]:<13}{row['budget']:>4} tokens  {row['psnr']:6.2f}" for row in results
    ]
    return "\n".join(lines)
