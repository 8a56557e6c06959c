"""``textok reconstruct``: pictures side by side with what their tokens give back."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from textok.cli.options import Decoder, Json, Model, optional
from textok.cli.output import report
from textok.cli.pictures import PictureNames, PictureOptions
from textok.data import Batch
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.pages.grids import reconstruction_grid, save_picture
from textok.evaluation.reconstruction import Reconstructions, check_budgets
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.writing import check_target, mark_folder

_WORDS = {"right": "with caption", "none": "without"}


def reconstruct(
    pictures: Annotated[PictureOptions, arg(name="")],
    model: Model,
    decoder: Decoder,
    *,
    out: Path,
    budgets: Annotated[tuple[int, ...] | None, optional("K,K", "1/16, 1/4 and all of them")] = None,
    overwrite: bool = False,
    json: Json = False,
) -> None:
    """Lay pictures beside what their tokens give back, at several budgets, with the caption and without.

    Args:
        out: the folder for the grids: one PNG for each picture, its budgets side by side.
        budgets: tokens of each picture, such as 2,8,32.
        overwrite: write into a folder that textok did not make.
    """
    check_target(out, sources=[pictures.data], overwrite=overwrite)
    tokenizer = model.load()
    most = tokenizer.model.config.num_latents
    chosen = check_budgets(budgets or (max(1, most // 16), max(1, most // 4), most), max_tokens=most)
    names, psnr = PictureNames(), defaultdict[tuple[str, int], list[float]](list)
    for batch in pictures.batches(tokenizer, batch_size=model.batch_size, out=out, all_parts=False):
        if not psnr:
            mark_folder(out, "grids of reconstructed pictures")
        outputs = _reconstruct(tokenizer, batch, chosen, **decoder.settings)
        for cell, pixels in outputs.items():
            psnr[cell].extend(psnr_per_image(batch.images, pixels).tolist())
        for place, (key, caption) in enumerate(zip(batch.keys, batch.captions, strict=True)):
            rows = slice(place, place + 1)
            one = CaptionedPictures(split=key, images=batch.images[rows], captions=(caption,), keys=(key,))
            grid = reconstruction_grid(one, {cell: pixels[rows] for cell, pixels in outputs.items()})
            save_picture(grid, out / names.of(key))
    results: list[dict[str, Any]] = [
        {"captions": caption, "budget": k, "pictures": len(values), "psnr": sum(values) / len(values)}
        for (caption, k), values in psnr.items()
    ]
    lines = [f"  {_WORDS[r['captions']]:<13}{r['budget']:>4} tokens  {r['psnr']:6.2f}" for r in results]
    head = f"{out}: grids of {results[0]['pictures']} pictures; mean PSNR in dB"
    report(results, head, *lines, json=json)


def _reconstruct(
    tokenizer: ImageTokenizer, batch: Batch, budgets: Sequence[int], **decoding: Any
) -> Reconstructions:
    """The batch decoded from each budget, with its captions (if it has any) and without."""
    captions = {"right": batch.captions, "none": None} if any(batch.captions) else {"none": None}
    outputs: dict[Any, Any] = {}
    for condition, texts in captions.items():
        tokens = tokenizer.encode(batch.images, texts, keep_size=True, batch_size=len(batch))
        for k in budgets:
            decoded = tokenizer.decode(tokens.first(k), output="uint8", batch_size=len(batch), **decoding)
            outputs[condition, k] = decoded
    return outputs
