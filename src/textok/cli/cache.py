"""``textok cache``: latents of captioned pictures, kept for the training of generators."""

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from textok.cli.choices import ONE_PICTURE, SOURCE_HELP, comma_list
from textok.cli.distributed import place, process_group, rank_device


def cache(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    *,
    data: Annotated[str, arg(metavar="SOURCE", help=SOURCE_HELP.removeprefix(ONE_PICTURE))],
    out: Path,
    split: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None,
    captions: Annotated[tuple[str, ...], arg(metavar="FORM [FORM ...]")] = ("given",),
    flip: bool = False,
    no_text: bool = False,
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None,
    batch_size: int = 64,
    shard_pictures: int = 2048,
    on_bad: Literal["stop", "skip"] = "stop",
    text_cache: Annotated[str | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    json: bool = False,
) -> None:
    """Encode captioned pictures once: latents, text features, labels and keys for textok train generator.

    The same command goes on where it was stopped. Under torchrun the ranks share the work.

    Args:
        model: a tokenizer: a shipped name, a folder or a hub id.
        out: the folder for the shards and manifest.json.
        split: which part of the source, such as train.
        captions: forms of each caption, a row for each: given, scene (no style and keywords), short (first
            phrase), thing (noun phrase).
        flip: also every picture mirrored.
        no_text: leave the text features out, which take most of the space: for generators of classes.
        limit: pictures at most, the first.
        batch_size: pictures at a time.
        shard_pictures: pictures a file; what a killed run loses at most.
        on_bad: what to do with an unreadable picture: stop and name it, or leave it out.
        text_cache: folder of caption features; default the user's cache.
        device: cpu, cuda, cuda:1, mps; auto takes cuda where there is one.
        precision: number type the tokenizer computes in; auto takes bfloat16 where the processor has it.
        json: print the manifest as JSON.
    """
    import dataclasses

    from textok.data import DataConfig
    from textok.data.caption_forms import checked_forms
    from textok.models.tokenizer import TexTok
    from textok.pipeline.cache_latents import CachingRun, cache_latents

    side = TexTok.from_pretrained(model).config.image_size
    run = CachingRun(
        tokenizer=model,
        data=DataConfig(source=data, split=split, size=(side, side), on_bad=on_bad, require_captions=False),
        captions=checked_forms(comma_list(captions, name="captions")),
        flip=flip,
        text=not no_text,
        limit=limit,
        batch_size=batch_size,
        shard_pictures=shard_pictures,
        text_cache=text_cache,
        precision=precision,
    )
    here, at = rank_device(device), place()
    with process_group(here):
        manifest = cache_latents(run, out, device=here, rank=at.rank, world=at.count)
    if manifest is None:
        raise KeyboardInterrupt
    if at.rank:
        return
    if json:
        print(json_format.dumps(dataclasses.asdict(manifest)))
    else:
        bytes_ = sum(file.stat().st_size for file in out.glob("*.safetensors"))
        print(f"{out}: {manifest.rows} rows of {manifest.pictures} pictures, {bytes_ / 1e6:.1f} MB")
