"""``textok decode``: a token file to PNG pictures, going on where a killed run ended; and ``textok reconstruct``."""

import hashlib
import json as json_format
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import Positional, UseAppendAction, arg

from textok.cli.options import Captions, Decoder, Json, Model, ModelOptions, optional
from textok.cli.output import report
from textok.cli.pictures import PictureNames, PictureOptions
from textok.codec import TtkReader, check_model, find_prior, is_ttk
from textok.data import Batch
from textok.data.images import save_png
from textok.data.records import first_captions
from textok.data.samples import BadSample, write_bad
from textok.display import Progress, note
from textok.evaluation.captioned import CaptionedPictures
from textok.evaluation.pages.grids import caption_label, reconstruction_grid, save_picture
from textok.evaluation.reconstruction import Reconstructions, check_budgets
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from textok.pipeline.tokens import Tokens, load_tokens
from textok.writing import MARKER, check_target, mark_folder

_SORTED = 8  # batches of pictures that wait, so that those of like lengths are decoded together


def decode(
    tokens: Annotated[Positional[Path], arg(metavar="TOKENS")],
    model: Model,
    decoder: Decoder,
    *,
    out: Path,
    num_tokens: Annotated[int | None, optional("K", "all")] = None,
    key: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], optional("KEY [KEY ...]", "all")] = (),
    captions: Captions = None,
    no_captions: bool = False,
    seed: Annotated[int | None, optional("INT")] = None,
    recover: bool = False,
    overwrite: bool = False,
    json: Json = False,
) -> None:
    """Decode a token file to PNG pictures, named by their keys. The same command goes on after an interruption.

    Args:
        tokens: a .safetensors or .ttk file that textok encode wrote, with this very model.
        out: the folder for the pictures.
        num_tokens: decode from the first tokens of each picture only, this many.
        key: decode only the pictures of these names.
        no_captions: decode without captions.
        seed: of a decoder that samples.
        recover: read what is left of a damaged .ttk file, and report what is not.
        overwrite: write into a folder that textok did not make.
    """
    if captions is not None and no_captions:
        raise ValueError("captions: got both --captions and --no-captions, expected one of them")
    if not tokens.is_file():
        raise FileNotFoundError(f"{tokens}: no such file")
    check_target(out, sources=[tokens], overwrite=overwrite)
    keys = tuple(dict.fromkeys(chain.from_iterable(key)))
    texts = None if captions is None else first_captions(captions)
    tokenizer, lost = model.load(), list[str]()
    num_tokens = tokenizer.model.budget(num_tokens)
    sampling = decoder.settings | {"seed": seed}
    job = {"model_id": tokenizer.model_id, "precision": str(tokenizer.dtype), "batch": model.batch_size}
    job |= {"num_tokens": num_tokens, "keys": keys, "captions": texts, "no_captions": no_captions} | sampling
    names, count, goes_on = PictureNames(), 0, False
    with Progress(None, unit="image") as progress:
        parts = _parts(
            tokens, model, tokenizer, keys=keys, recover=recover, lost=lost, expect=progress.expect
        )
        for part in parts:
            if not count:
                goes_on = _begin(out, tokens, job)
            part = part.first(min(num_tokens, part.num_tokens))
            part = _captioned(part, texts, no_captions=no_captions, warn=not count)
            files = [out / names.of(name) for name in part.keys]
            if not (goes_on and all(file.is_file() for file in files)):
                _decode_part(part, files, tokenizer, batch_size=model.batch_size, **sampling)
            progress.update(len(part))
            count += len(part)
    write_bad(out, [BadSample(key="", shard=str(tokens), reason=line) for line in lost])
    for line in lost:
        note(f"{tokens}: {line}")
    if lost and not count:
        raise ValueError(f"{tokens}: no picture of it could be recovered")
    result = {"folder": str(out), "pictures": count, "model_id": tokenizer.model_id}
    result |= {"lost": lost} if recover else {}
    report(result, f"{out}: {count} pictures from {tokens}", json=json)


def _parts(
    file: Path,
    model: ModelOptions,
    tokenizer: ImageTokenizer,
    *,
    keys: tuple[str, ...],
    recover: bool,
    lost: list[str],
    expect: Callable[[int], object],
) -> Iterator[Tokens]:
    """The pictures of a file, as many at a time as are decoded together; ``lost`` gets what cannot be read."""
    if not is_ttk(file):
        tokens = load_tokens(file)
        tokenizer.check_made_here(tokens)
        expect(len(keys) or len(tokens))
        yield from _cut([tokens.select(keys) if keys else tokens], tokenizer, model.batch_size)
        return
    prior = find_prior(model.model, model_id=tokenizer.model_id)
    with TtkReader(file, prior=prior, recover=recover) as reader:
        check_model(reader.header, tokenizer.model)
        missing = [key for key in keys if key not in reader]
        if missing:
            rest = "".join(f"; {line}" for line in reader.lost[:3])
            raise ValueError(f"key: got {missing[0]!r}, which is not in {file}{rest}")
        expect(len(keys or reader.keys()))
        yield from _cut(reader.select(keys) if keys else reader, tokenizer, model.batch_size)
        lost += reader.lost


def _cut(sets: Iterable[Tokens], tokenizer: ImageTokenizer, batch_size: int) -> Iterator[Tokens]:
    for tokens in sets:
        size = _SORTED * tokenizer.at_once(tokens.grid, batch_size)
        for start in range(0, len(tokens), size):
            yield tokens[start : start + size]


def _begin(out: Path, tokens: Path, job: Mapping[str, Any]) -> bool:
    """Mark the folder with what is decoded into it; whether an earlier run began the same."""
    with open(tokens, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    content = hashlib.sha256(json_format.dumps([digest, job]).encode()).hexdigest()
    content, marker = f"pictures of {tokens.name}, {content}", out / MARKER
    if marker.is_file() and json_format.loads(marker.read_text()).get("content") == content:
        return True
    mark_folder(out, content)
    return False


def _decode_part(
    part: Tokens, files: list[Path], tokenizer: ImageTokenizer, *, seed: int | None, **options: Any
) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    pictures = tokenizer.decode(part, generator=generator, **options)
    for key, picture, file in zip(part.keys, pictures, files, strict=True):
        picture.info["textok"] = json_format.dumps({"key": key, "tokenizer": part.model_id})
        save_png(picture, file)


def _captioned(
    tokens: Tokens, captions: Mapping[str, str] | None, *, no_captions: bool, warn: bool
) -> Tokens:
    texts = tokens.captions
    if captions is not None:
        missing = [key for key in tokens.keys if key not in captions]
        if missing:
            raise ValueError(
                f"captions: got none for {len(missing)} of {len(tokens)} keys, the first {missing[0]!r}"
            )
        texts = tuple(captions[key] for key in tokens.keys)
    elif texts is None and not no_captions and warn:
        note("the file holds no captions: decoding without (--captions FILE.json)")
    return replace(tokens, captions=("",) * len(tokens) if no_captions or texts is None else texts)


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
    lines = [
        f"  {caption_label(r['captions']):<13}{r['budget']:>4} tokens  {r['psnr']:6.2f}" for r in results
    ]
    head = f"{out}: grids of {results[0]['pictures']} pictures; mean PSNR in dB"
    report(results, head, *lines, json=json)


def _reconstruct(
    tokenizer: ImageTokenizer, batch: Batch, budgets: Sequence[int], **decoding: Any
) -> Reconstructions:
    captions = {"right": batch.captions, "none": None} if any(batch.captions) else {"none": None}
    outputs: dict[Any, Any] = {}
    for condition, texts in captions.items():
        tokens = tokenizer.encode(batch.images, texts, keep_size=True, batch_size=len(batch))
        for k in budgets:
            decoded = tokenizer.decode(tokens.first(k), output="uint8", batch_size=len(batch), **decoding)
            outputs[condition, k] = decoded
    return outputs
