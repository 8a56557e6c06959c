"""``textok encode`` and ``textok decode``: pictures to a token file, and a token file to pictures."""

import json as json_format
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from textok.cli.caption_file import captions_from
from textok.cli.choices import DEFAULT_MODEL, ModelChoice, PictureChoice
from textok.cli.pictures import PictureNames

if TYPE_CHECKING:
    from textok.pipeline.tokens import Tokens


def encode(
    pictures: Annotated[PictureChoice, arg(name="")],
    model: Annotated[ModelChoice, arg(name="")] = DEFAULT_MODEL,
    *,
    out: Path,
    num_tokens: Annotated[int | None, arg(metavar="K", help_behavior_hint="(default: all)")] = None,
    no_captions: bool = False,
    stored: Literal["float16", "float32"] = "float16",
    json: bool = False,
) -> None:
    """Encode pictures with their captions into a token file.

    Args:
        out: the token file to write (.safetensors).
        num_tokens: tokens a picture.
        no_captions: leave the captions out of the file (encoding uses them all the same).
        stored: number type of continuous tokens in the file; codes take the smallest that fits.
        json: print the result as JSON.
    """
    from textok.pipeline.token_file import load_tokens, save_tokens
    from textok.pipeline.tokens import Tokens

    tokenizer = model.load()
    with closing(pictures.batches(tokenizer, batch_size=model.batch_size)) as batches:
        parts = [
            tokenizer.encode(
                batch.images,
                batch.captions,
                num_tokens=num_tokens,
                keys=batch.keys,
                keep_size=True,
                batch_size=model.batch_size,
            )
            for batch in batches
        ]
    save_tokens(Tokens.concat(parts), out, captions=not no_captions, precision=stored)
    tokens = load_tokens(out)
    result = {
        "file": str(out),
        "pictures": len(tokens),
        "tokens_per_image": tokens.num_tokens,
        "bytes_per_image": tokens.bytes_per_image,
        "model_id": tokens.model_id,
    }
    size = f"{tokens.num_tokens} tokens = {tokens.bytes_per_image} bytes each"
    plain = f"{out}: {len(tokens)} pictures, {size}, by {tokens.model_id}"
    print(json_format.dumps(result) if json else plain)


def decode(
    tokens: Annotated[Positional[Path], arg(metavar="TOKENS")],
    model: Annotated[ModelChoice, arg(name="")] = DEFAULT_MODEL,
    *,
    out: Path,
    num_tokens: Annotated[int | None, arg(metavar="K", help_behavior_hint="(default: all)")] = None,
    captions: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None,
    no_captions: bool = False,
    json: bool = False,
) -> None:
    """Decode a token file to PNG pictures, named by their keys.

    Args:
        tokens: a token file that textok encode wrote, with this very model.
        out: the folder for the pictures.
        num_tokens: decode from the first so many tokens only.
        captions: a JSON file {key: caption} to decode with, instead of the captions in the token file.
        no_captions: decode without captions.
        json: print the result as JSON.
    """
    from tqdm import tqdm

    from textok.evaluation.pages.grids import save_picture
    from textok.pipeline.token_file import load_tokens

    loaded = load_tokens(tokens)
    loaded = loaded if num_tokens is None else loaded.first(num_tokens)
    loaded = replace(loaded, captions=_captions(loaded, captions, no_captions=no_captions))
    tokenizer = model.load()
    tokenizer.check_made_here(loaded)
    out.mkdir(parents=True, exist_ok=True)
    names = PictureNames()
    with tqdm(total=len(loaded), unit="image") as bar:
        at_once = tokenizer.at_once(loaded.grid, model.batch_size)
        for start in range(0, len(loaded), at_once):
            part = loaded[start : start + at_once]
            found = tokenizer.decode(part, batch_size=model.batch_size)
            for key, picture in zip(part.keys, found, strict=True):
                save_picture(picture, out / names.of(key))
            bar.update(len(part))
    result = {"folder": str(out), "pictures": len(loaded), "tokens_per_image": loaded.num_tokens}
    plain = f"{out}: {len(loaded)} pictures from {loaded.num_tokens} tokens each"
    print(json_format.dumps(result) if json else plain)


def _captions(tokens: "Tokens", file: Path | None, *, no_captions: bool) -> tuple[str, ...]:
    if file is not None and no_captions:
        raise ValueError("captions: got both --captions and --no-captions; expected one of them")
    if no_captions:
        return ("",) * len(tokens)
    if file is not None:
        return captions_from(file, tokens.keys)
    if tokens.captions is None:
        print(
            "textok: the file holds no captions: decoding without (--captions FILE gives them)",
            file=sys.stderr,
        )
        return ("",) * len(tokens)
    return tokens.captions
