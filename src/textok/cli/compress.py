"""``textok compress`` and ``textok decompress``: pictures to a .ttk file of a few dozen bytes each, and back."""

import json as json_format
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from textok.cli.caption_file import captions_from
from textok.cli.checks import check_files
from textok.cli.choices import DEFAULT_MODEL, ModelChoice, PictureChoice
from textok.cli.pictures import PictureNames
from textok.cli.soft import SoftChoice
from textok.cli.soft_encoding import budgets_told, picture_encoder

if TYPE_CHECKING:
    from textok.codec import Header, Prior, Record, TtkReader, TtkWriter
    from textok.pipeline.image_tokenizer import ImageTokenizer

DEFAULT_SOFT = SoftChoice()
_NO_CAPTIONS = "textok: the file holds no captions: decoding without (--captions JSON gives them)"
_SORTED = 8  # batches of pictures that wait, so that those of like budgets are decoded together


def compress(
    pictures: Annotated[PictureChoice, arg(name="")],
    model: Annotated[ModelChoice, arg(name="")] = DEFAULT_MODEL,
    soft: Annotated[SoftChoice, arg(name="")] = DEFAULT_SOFT,
    *,
    out: Path,
    step: float = 1.0,
    captions: Literal["keep", "drop"] = "keep",
    append: bool = False,
    json: bool = False,
) -> None:
    """Compress pictures with their captions to a .ttk file: a few dozen bytes each.

    Args:
        out: the file to write (.ttk).
        step: how coarsely continuous tokens are rounded; 1 costs icons-128 less than 0.1 dB. Codes are exact.
        captions: keep them in the file, or drop them (encoding uses them all the same).
        append: add to the file, which the same model and step made, instead of replacing it.
        json: print the result as JSON.
    """
    from textok.codec import coded_sizes, find_prior, header_for
    from textok.codec.entropy import library
    from textok.codec.facts import ttk_facts

    library()  # else what it lacks would be told when the first pictures are encoded
    check_files(out=out)
    tokenizer = model.load()
    prior = find_prior(model.model, model_id=tokenizer.model_id)
    if append:
        _check_appendable(
            out, header_for(tokenizer.model, prior=prior, step=step, captions=captions == "keep")
        )
    sizes = coded_sizes(tokenizer.model, prior=prior, step=step)
    encoder = picture_encoder(soft, tokenizer, pictures, sizes=sizes, batch_size=model.batch_size)
    settings = {"keep": captions == "keep", "step": step, "made": soft.settings() | encoder.calibration()}
    with (
        _writer(tokenizer, prior, out, append=append, **settings) as writer,
        closing(pictures.batches(tokenizer, batch_size=model.batch_size)) as batches,
    ):
        for batch in batches:
            for record in encoder.records(batch):
                writer.add(record)
    facts = ttk_facts(out) | encoder.calibration() | encoder.outcome()
    lines = [_told(facts), *budgets_told(soft, facts)]
    print(json_format.dumps(facts) if json else "\n".join(lines))


def _told(facts: dict[str, Any]) -> str:
    size = f"{facts['bytes_per_image']:.1f} bytes"
    if facts["captions"] == "kept":
        size += f" ({facts['bytes_per_image_without_captions']:.1f} without caption)"
    each = f"on average {facts['mean_tokens']:.1f} tokens, {size} each"
    return f"{facts['file']}: {facts['pictures']} pictures by {facts['model_id']}, {each}"


@contextmanager
def _writer(
    tokenizer: "ImageTokenizer",
    prior: "Prior | None",
    out: Path,
    *,
    append: bool,
    keep: bool,
    step: float,
    made: dict[str, Any],
) -> Iterator["TtkWriter"]:
    from textok.codec import TtkWriter, appending, header_for
    from textok.writing import only_writer, replacing

    header = header_for(tokenizer.model, prior=prior, step=step, captions=keep, settings=made)
    with ExitStack() as stack:
        if append:
            writer = stack.enter_context(appending(out, prior=prior))
            _check_fits(out, writer.header, header)  # again: another process may have written it meanwhile
        else:
            stack.enter_context(only_writer(out))
            stream = stack.enter_context(open(stack.enter_context(replacing(out)), "wb"))
            writer = stack.enter_context(TtkWriter(stream, header, prior=prior))
        yield writer


def _check_appendable(out: Path, header: "Header") -> None:
    """That a file is there and was made alike; told before any picture is encoded."""
    from textok.codec import TtkReader

    with TtkReader(out) as reader:
        _check_fits(out, reader.header, header)


def _check_fits(out: Path, found: "Header", header: "Header") -> None:
    if not found.fits(header):
        raise ValueError(f"{out}: made with another model, step or choice of captions; write a new file")


def decompress(
    file: Annotated[Positional[Path], arg(metavar="FILE")],
    model: Annotated[ModelChoice, arg(name="")] = DEFAULT_MODEL,
    *,
    out: Path,
    key: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]],
        arg(metavar="KEY [KEY ...]", help_behavior_hint="(default: all)"),
    ] = (),
    captions: Annotated[Path | None, arg(metavar="JSON", help_behavior_hint="")] = None,
    no_captions: bool = False,
    recover: bool = False,
    json: bool = False,
) -> None:
    """Decompress a .ttk file to PNG pictures, named by their keys.

    Args:
        file: a .ttk file that textok compress wrote, with this very model.
        out: the folder for the pictures.
        key: decode only the pictures of these names.
        captions: a JSON file {key: caption} to decode with, instead of the captions in the file.
        no_captions: decode without captions.
        recover: read what is left of a damaged file, and tell what is not.
        json: print the result as JSON.
    """
    from tqdm import tqdm

    from textok.codec import TtkReader, check_model, find_prior
    from textok.evaluation.pages.grids import save_picture

    if captions is not None and no_captions:
        raise ValueError("captions: got both --captions and --no-captions; expected one of them")
    keys = tuple(dict.fromkeys(chain.from_iterable(key)))
    tokenizer, names, count = model.load(), PictureNames(), 0
    prior = find_prior(model.model, model_id=tokenizer.model_id)
    with TtkReader(file, prior=prior, recover=recover) as reader, tqdm(unit="image") as bar:
        check_model(reader.header, tokenizer.model)
        if not reader.header.captions and captions is None and not no_captions:
            print(_NO_CAPTIONS, file=sys.stderr)
        chosen, bar.total = _chosen(reader, keys), len(keys) or reader.pictures
        out.mkdir(parents=True, exist_ok=True)
        for part in _parts(chosen, tokenizer, most=model.batch_size):
            texts = _texts(part, captions, no_captions=no_captions)
            for record, picture in zip(part, _decoded(tokenizer, part, texts, model.batch_size), strict=True):
                save_picture(picture, out / names.of(record.key))
            bar.update(len(part))
            count += len(part)
        lost = reader.lost
    for one in lost:
        print(f"textok: {file}: {one}", file=sys.stderr)
    if lost and not count:
        raise ValueError(f"{file}: no picture of it could be recovered")
    result = {"folder": str(out), "pictures": count, "model_id": tokenizer.model_id}
    result |= {"lost": [asdict(one) for one in lost]} if recover else {}
    print(json_format.dumps(result) if json else f"{out}: {count} pictures from {file}")


def _chosen(reader: "TtkReader", keys: tuple[str, ...]) -> Iterator["Record"]:
    missing = [key for key in keys if key not in reader]
    if missing:
        lost = "".join(f"; {one}" for one in reader.lost[:3])
        raise ValueError(f"{reader.path}: holds no picture named {missing[0]!r}{lost}")
    return reader.select(keys) if keys else iter(reader)


def _parts(
    records: Iterator["Record"], tokenizer: "ImageTokenizer", *, most: int
) -> Iterator[list["Record"]]:
    """Records of one grid that are decoded together."""
    for grid, group in groupby(records, key=lambda record: record.grid):
        while part := list(islice(group, _SORTED * tokenizer.at_once(grid, most))):
            yield part


def _texts(records: list["Record"], file: Path | None, *, no_captions: bool) -> tuple[str, ...]:
    if file is not None:
        return captions_from(file, [record.key for record in records])
    return tuple("" if no_captions else record.caption or "" for record in records)


def _decoded(
    tokenizer: "ImageTokenizer", records: list["Record"], captions: tuple[str, ...], batch_size: int
) -> Any:
    from torch.nn.utils.rnn import pad_sequence

    from textok.pipeline.tokens import Tokens

    values = [record.values for record in records]
    tokens = Tokens(
        values=pad_sequence(values, batch_first=True),
        model_id=tokenizer.model_id,
        grid=records[0].grid,
        keys=tuple(record.key for record in records),
        captions=captions,
    )
    return tokenizer.decode(tokens, lengths=[len(rows) for rows in values], batch_size=batch_size)
