"""``textok encode`` and ``textok compress``: pictures to token files, in parts from which a killed run goes on."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import arg

from textok.budgets.encoder import SoftEncoder
from textok.budgets.search import Calibration
from textok.cli import checks
from textok.cli.addresses import is_staged, shown_place, to_address
from textok.cli.budget import BudgetChoice, budget_lines, calibrate_on_sample, encode_batch, threshold_facts
from textok.cli.encoded_parts import Parts
from textok.cli.options import Engine, EngineOptions, Json, Model, Precision, optional
from textok.cli.output import report
from textok.cli.pictures import PictureOptions, counted
from textok.codec import Header, Prior, TtkWriter, coded_sizes, find_prior, header_for
from textok.codec.coding import library
from textok.data import EvalLoader
from textok.data.samples import BadSample, BadSampleError, SourceSubset, write_bad
from textok.display import Progress
from textok.pipeline.token_tables import card, save_table
from textok.pipeline.tokens import StoredDtype, Tokens, save_parts
from textok.writing import check_target, mark_folder, replacing, write_json, write_text

SUFFIXES = (".safetensors", ".ttk", ".parquet")
PART_PICTURES = 1024
"""Pictures of a part: what a killed run loses at most."""


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """What is encoded, and how: all that a process needs to encode a part."""

    pictures: Annotated[PictureOptions, arg(name="")]
    model: Model
    budget: Annotated[BudgetChoice, arg(name="")]
    shard_pictures: Annotated[int | None, optional("N", "one file")] = None
    """make OUT a folder with a file for each so many pictures (whole batches of them) and an index"""
    no_captions: bool = False
    """leave the captions out of the file (encoding uses them all the same)"""
    stored: StoredDtype = "float16"
    """dtype of continuous tokens in a .safetensors or .parquet file; codes are integers"""
    quantization: float = 1.0
    """how coarsely a .ttk file rounds continuous tokens; 1 costs icons-128 less than 0.1 dB. Codes are exact"""

    def __post_init__(self) -> None:
        checks.at_least(1, shard_pictures=self.shard_pictures)

    def open(self, out: Path) -> tuple[SoftEncoder, Prior | None]:
        """The encoder, not calibrated, and for a .ttk file the probability model."""
        tokenizer, is_ttk = self.model.load(), out.suffix == ".ttk"
        prior = find_prior(self.model.model, model_id=tokenizer.model_id) if is_ttk else None
        sizes = coded_sizes(tokenizer.model, prior=prior, quantization=self.quantization)
        return self.budget.encoder(tokenizer, sizes=sizes, batch_size=self.model.batch_size), prior

    def settings(self, encoder: SoftEncoder) -> dict[str, Any]:
        """What must be the same for a finished part to be used."""
        tokenizer = encoder.tokenizer
        model = {"model_id": tokenizer.model_id, "precision": str(tokenizer.dtype)}
        model |= {
            "batch": self.model.batch_size,
            "dtype": self.stored,
            "part": self.shard_pictures or PART_PICTURES,
        }
        names = ("split", "size", "limit", "caption")
        return model | {name: getattr(self.pictures, name) for name in names}


@to_address
def encode(
    options: Annotated[EncodeOptions, arg(name="")],
    engine: Engine,
    *,
    out: Path,
    overwrite: bool = False,
    json: Json = False,
) -> None:
    """Encode pictures with their captions into a token file. The same command goes on after an interruption.

    Args:
        out: the file to write, here or at an address such as s3://: .safetensors for exact tokens, .ttk for \
compressed ones of a few dozen bytes each, .parquet for other trainers (key, caption, tokens).
        overwrite: replace a file that textok did not write.
    """
    if out.suffix not in SUFFIXES:
        raise ValueError(f"out: got {out}, expected a name that ends in {', '.join(SUFFIXES)}")
    pictures, budget, captions = options.pictures, options.budget, not options.no_captions
    if budget.overflow_share and engine.is_ray:
        raise ValueError(
            f"overflow_share: got {budget.overflow_share} with --engine ray, expected 0: it is counted over "
            "the pictures in order"
        )
    stored = {"captions": captions, "dtype": options.stored}
    if compressed := out.suffix == ".ttk":
        library()  # a missing package is reported before the pictures are encoded
        options = replace(options, stored="float32")
    check_target(out, sources=[pictures.data], overwrite=overwrite)
    encoder, prior = options.open(out)
    tokenizer = encoder.tokenizer
    header = header_for(tokenizer.model, prior=prior, quantization=options.quantization, captions=captions)
    if encoder.budget.is_mean:
        sample = pictures.batches(tokenizer, batch_size=options.model.batch_size, title="sample")
        calibrate_on_sample(encoder, sample)
    settings = budget.settings() | threshold_facts(encoder)
    work = _PartEncoder(options, encoder, out)
    counts, parts = _encode_parts(work, engine, settings), work.parts
    settings |= {"content": parts.content()}
    write: _Write = partial(save_parts, settings=settings, **stored)
    if compressed:
        write = partial(_write_ttk, header=replace(header, settings=settings), prior=prior)
    elif out.suffix == ".parquet":
        write = partial(save_table, settings=settings, **stored)
    facts = (_write if options.shard_pictures is None else _write_shards)(out, parts, write)
    facts = {"file": shown_place(out)} | facts
    facts |= {"captions": "kept" if captions else "left out", "settings": settings}
    if not encoder.budget.is_fixed:
        facts |= threshold_facts(encoder) | {name: counts[name] for name in ("not_reached", "overflow")}
    if not is_staged(out):  # else when it is there
        parts.remove()
    report(facts, _line(facts), *budget_lines(encoder.budget, facts), json=json)


class _PartEncoder:
    """Encodes one part after another, in this process or in one of many."""

    def __init__(self, options: EncodeOptions, encoder: SoftEncoder, out: Path) -> None:
        self.options, self.encoder, self.parts = options, encoder, Parts(out)
        self.config, self.source = options.pictures.open(encoder.tokenizer)
        count = min(len(self.source), options.pictures.limit or len(self.source))
        size = encoder.batch_size * max(1, (options.shard_pictures or PART_PICTURES) // encoder.batch_size)
        self.places = [range(first, min(first + size, count)) for first in range(0, count, size)]

    @classmethod
    def open(cls, options: EncodeOptions, calibration: Calibration | None, out: Path) -> "_PartEncoder":
        encoder, _ = options.open(out)
        encoder.calibration = calibration
        return cls(options, encoder, out)

    def __call__(self, number: int) -> dict[str, Any]:
        """Encode a part and keep it; returns what is noted of it.

        A part is the same whichever came before it: in one process, in one of many, after an interruption.
        """
        self.encoder.tokenizer.remembered_text.forget()
        source = SourceSubset(self.source, self.places[number])
        loader = EvalLoader(self.config, batch_size=self.encoder.batch_size, source=source)
        tokens, counts = list[Tokens](), Counter[str]()
        try:
            for batch in loader:
                batch = self.options.pictures.captioned(batch)
                own, budgets = encode_batch(self.encoder, batch)
                tokens.append(own)
                counts.update(budgets | counted(batch))
        except BadSampleError:
            write_bad(self.parts.out, loader.bad.samples, add=True)
            raise
        left_out = [vars(bad) for bad in loader.bad.samples]
        record = {"counts": dict(counts), "left_out": left_out, "contents": loader.contents}
        self.parts.save(number, tokens, record, dtype=self.options.stored)
        return record


def _encode_parts(work: _PartEncoder, engine: EngineOptions, settings: Mapping[str, Any]) -> Counter[str]:
    options, encoder, parts = work.options, work.encoder, work.parts
    numbers, sizes = range(len(work.places)), [len(place) for place in work.places]
    with parts.open({**options.settings(encoder), **settings}, work.source, work.places):
        notes = {number: record for number in numbers if (record := parts.note(number))}
        missing = [number for number in numbers if number not in notes]
        with Progress(sum(sizes), unit="image") as progress:
            progress.update(sum(sizes[number] for number in notes))
            for number, record in _encoded(work, engine, missing, notes):
                notes[number] = record
                progress.update(sizes[number])
    counts = _counts(notes.values())
    left_out = [BadSample(**bad) for number in numbers for bad in notes[number]["left_out"]]
    options.pictures.report(left_out, counts, encoder.tokenizer, parts.out)
    return counts


def _encoded(
    work: _PartEncoder, engine: EngineOptions, missing: list[int], notes: Mapping[int, dict[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    encoder = work.encoder
    if engine.is_ray and missing:
        dtype: Precision = "float32" if encoder.tokenizer.dtype == torch.float32 else "bfloat16"
        model = replace(work.options.model, dtype=dtype)  # the same on every processor
        options = replace(work.options, model=model)
        make = partial(_PartEncoder.open, options, encoder.calibration, work.parts.out)
        yield from engine.run(make, missing, device=model.device)
        return
    counts, counted = Counter[str](), 0
    for number in missing:
        counts += _counts(notes[earlier] for earlier in range(counted, number))
        counted = number
        encoder.resume(pictures=counts["pictures"], overflow=counts["overflow"])
        yield number, work(number)


def _counts(notes: Iterable[dict[str, Any]]) -> Counter[str]:
    return sum((Counter(note["counts"]) for note in notes), Counter[str]())


_Write = Callable[[Iterable[Tokens], Path], dict[str, Any]]


def _write_ttk(parts: Iterable[Tokens], out: Path, *, header: Header, prior: Prior | None) -> dict[str, Any]:
    with (
        replacing(out) as temporary,
        open(temporary, "wb") as stream,
        TtkWriter(stream, header, prior=prior) as writer,
    ):
        for tokens in parts:
            writer.add(tokens)
    return writer.facts()


def _write(out: Path, parts: Iterable[Tokens], write: _Write) -> dict[str, Any]:
    facts = write(parts, out)
    size = out.stat().st_size
    return facts | {"bytes_per_image": size / facts["pictures"], "file_bytes": size}


def _write_shards(out: Path, parts: Iterable[Tokens], write: _Write) -> dict[str, Any]:
    """A file for each part, and index.json with what is in each and in all; of parquet files a card of the data set."""
    mark_folder(out, "token files")
    shards = list[dict[str, Any]]()
    for number, tokens in enumerate(parts):
        file = out / f"{number:06d}{out.suffix}"
        shards.append({"file": file.name, "first": tokens.keys[0], "last": tokens.keys[-1]})
        shards[-1] |= _write(file, [tokens], write)
    for file in set(out.glob(f"{'[0-9]' * 6}{out.suffix}")) - {out / shard["file"] for shard in shards}:
        file.unlink()  # of an earlier run with more of them
    total = sum(shard["pictures"] for shard in shards)
    means = {
        name: sum(shard[name] * shard["pictures"] for shard in shards) / total
        for name in ("mean_tokens", "bytes_per_image", "token_bytes_per_image")
    }
    same = {name: shards[0][name] for name in ("model_id", "kind")}
    facts = same | {"pictures": total, "shards": len(shards), **means}
    write_json(out / "index.json", {"made_by": "textok", **facts, "files": shards})
    if out.suffix == ".parquet":
        write_text(out / "README.md", card(facts))
    return facts


def _line(facts: Mapping[str, Any]) -> str:
    size = f"{facts['bytes_per_image']:.1f} bytes in the file, {facts['token_bytes_per_image']:.1f} of them tokens"
    each = f"{facts['mean_tokens']:.1f} tokens and {size} each"
    return f"{facts['file']}: {facts['pictures']} pictures by {facts['model_id']}, on average {each}"
