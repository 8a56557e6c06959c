"""``textok encode`` and ``textok compress``: pictures to a token file, in parts from which a killed run goes on."""

import json as json_format
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from textok.budgets.encoder import SoftEncoder
from textok.cli.budget import (
    BudgetChoice,
    budget_facts,
    budget_lines,
    calibrate_on_sample,
    encode_batch,
    open_encoder,
    threshold_facts,
)
from textok.cli.options import DEFAULT_MODEL, ModelOptions
from textok.cli.output import report
from textok.cli.pictures import PictureOptions
from textok.codec import Header, Prior, TtkWriter, coded_sizes, find_prior, header_for
from textok.codec.entropy import library
from textok.data import EvalLoader, Source
from textok.data.contents import shown_changes, stale_parts
from textok.data.files import fingerprint_of
from textok.data.samples import BadSample, BadSampleError, write_bad
from textok.data.subset import SourceSubset
from textok.display import Progress, note
from textok.pipeline.tokens import StoredDtype, Tokens, load_tokens, save_parts
from textok.writing import check_target, replacing, write_json

DEFAULT_BUDGET = BudgetChoice()
SUFFIXES = (".safetensors", ".ttk")
PART_PICTURES = 1024
"""Pictures of a part: what a killed run loses at most."""


def encode(
    pictures: Annotated[PictureOptions, arg(name="")],
    model: Annotated[ModelOptions, arg(name="")] = DEFAULT_MODEL,
    budget: Annotated[BudgetChoice, arg(name="")] = DEFAULT_BUDGET,
    *,
    out: Path,
    no_captions: bool = False,
    stored: StoredDtype = "float16",
    quantization: float = 1.0,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Encode pictures with their captions into a token file. The same command goes on after an interruption.

    Args:
        out: the file to write: .safetensors for exact tokens, .ttk for compressed ones of a few dozen bytes each.
        no_captions: leave the captions out of the file (encoding uses them all the same).
        stored: dtype of continuous tokens in a .safetensors file; codes take the smallest that fits.
        quantization: how coarsely a .ttk file rounds continuous tokens; 1 costs icons-128 less than 0.1 dB. Codes \
are exact.
        overwrite: replace a file that textok did not write.
        json: print the result as JSON.
    """
    if out.suffix not in SUFFIXES:
        raise ValueError(f"out: got {out}, expected a name that ends in {' or '.join(SUFFIXES)}")
    if compressed := out.suffix == ".ttk":
        library()  # a missing package is reported before the pictures are encoded
    check_target(out, sources=[pictures.data], overwrite=overwrite)
    tokenizer = model.load()
    prior = find_prior(model.model, model_id=tokenizer.model_id) if compressed else None
    header = header_for(tokenizer.model, prior=prior, quantization=quantization, captions=not no_captions)
    sizes = coded_sizes(tokenizer.model, prior=prior, quantization=quantization)
    encoder = open_encoder(budget, tokenizer, sizes=sizes, batch_size=model.batch_size)
    if encoder.budget.is_mean:
        sample = pictures.batches(tokenizer, batch_size=model.batch_size, title="sample")
        calibrate_on_sample(encoder, sample)
    settings = budget.settings() | threshold_facts(encoder)
    job = {"model_id": tokenizer.model_id, "precision": str(tokenizer.dtype), "batch": model.batch_size}
    job |= {
        "split": pictures.split,
        "size": pictures.size,
        "limit": pictures.limit,
        "caption": pictures.caption,
    }
    parts = _Parts(out, job | settings | {"dtype": "float32" if compressed else stored})
    counts = _encode_parts(pictures, encoder, parts, out)
    settings |= {"content": parts.content()}
    if compressed:
        facts = _write_ttk(out, parts, replace(header, settings=settings), prior)
    else:
        facts = _write_safetensors(out, parts, settings, captions=not no_captions, dtype=stored)
    facts = {"file": str(out)} | facts | budget_facts(encoder, counts)
    parts.remove()
    report(facts, _line(facts), *budget_lines(encoder.budget, facts), json=json)


class _Parts:
    """The tokens of the first pictures, the next ones, ...: files in a hidden folder beside the file of all.

    Args:
        out: the file of all.
        job: what must be the same for finished parts to be used; others are removed.
    """

    def __init__(self, out: Path, job: Mapping[str, Any]) -> None:
        self.folder, self.dtype = out.with_name(f".{out.name}.parts"), job["dtype"]
        self._job = json_format.loads(json_format.dumps(job))

    def open(self, source: Source, places: Sequence[range]) -> None:
        """Begin, or go on, with the parts of this data; those whose pictures or captions changed are removed."""
        self._job |= {"data": source.fingerprint}
        file = self.folder / "job.json"
        before = json_format.loads(file.read_text()) if file.is_file() else {}
        if before | {"data": source.fingerprint} != self._job:
            self.remove()
        elif before != self._job:
            self._remove_changed(source, places)
            write_json(file, self._job)

    def _remove_changed(self, source: Source, places: Sequence[range]) -> None:
        """Remove the finished parts that are not of these very pictures, and name what changed."""
        files = sorted(self.folder.glob("[0-9]*.json"))
        notes = [json_format.loads(file.read_text())["contents"] for file in files]
        own = [places[int(file.stem)] if int(file.stem) < len(places) else range(0) for file in files]
        contents = [[(key, content) for key, content in note] for note in notes]
        stale, changed = stale_parts(source, list(zip(own, contents, strict=True)))
        for number in stale:
            files[number].unlink()
            files[number].with_suffix(".safetensors").unlink(missing_ok=True)
        if stale and self._job.get("overflow_share"):  # the parts that are left depend on those before them
            self.remove()
        if stale:
            note(f"made anew what changed since the interruption: {shown_changes(changed)}")

    def note(self, number: int) -> dict[str, Any] | None:
        """What was noted of a finished part; None of one that is not finished."""
        file = self.folder / f"{number:06d}.json"
        return json_format.loads(file.read_text()) if file.is_file() else None

    def save(self, number: int, tokens: list[Tokens], record: Mapping[str, Any]) -> None:
        """Keep a finished part."""
        if not (self.folder / "job.json").is_file():
            write_json(self.folder / "job.json", self._job)
        if tokens:
            save_parts(tokens, self.folder / f"{number:06d}.safetensors", dtype=self.dtype)
        write_json(self.folder / f"{number:06d}.json", record)

    def content(self) -> str:
        """A hash of all pictures and captions that the finished parts were made of."""
        notes = (self.note(int(part.stem)) for part in sorted(self.folder.glob("[0-9]*.json")))
        return fingerprint_of(pair for note in notes if note for pair in note["contents"])

    def __iter__(self) -> Iterator[Tokens]:
        """The tokens of all parts; a picture whose name came before gets a number behind it."""
        counts = Counter[str]()
        for file in sorted(self.folder.glob("*.safetensors")):
            tokens = load_tokens(file)
            yield replace(tokens, keys=tuple(_unique(key, counts) for key in tokens.keys))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _unique(key: str, counts: Counter[str]) -> str:
    name = key
    while counts[name]:
        counts[key] += 1
        name = f"{key}-{counts[key]}"
    counts[name] += 1
    return name


def _encode_parts(pictures: PictureOptions, encoder: SoftEncoder, parts: _Parts, out: Path) -> Counter[str]:
    """Encode the parts that are missing; returns counts over all pictures."""
    config, source = pictures.open(encoder.tokenizer)
    count = min(len(source), pictures.limit or len(source))
    size = encoder.batch_size * max(1, PART_PICTURES // encoder.batch_size)
    every = [range(first, min(first + size, count)) for first in range(0, count, size)]
    parts.open(source, every)
    counts, left_out = Counter[str](), list[BadSample]()
    with Progress(count, unit="image") as progress:
        for number, places in enumerate(every):
            record = parts.note(number)
            if record is None:
                encoder.resume(pictures=counts["pictures"], overflow=counts["overflow"])
                loader = EvalLoader(
                    config, batch_size=encoder.batch_size, source=SourceSubset(source, places)
                )
                try:
                    tokens, record = _encoded(loader, pictures, encoder)
                except BadSampleError:
                    write_bad(out, [*left_out, *loader.bad.samples])
                    raise
                parts.save(number, tokens, record)
            counts.update(record["counts"])
            left_out += [BadSample(**bad) for bad in record["left_out"]]
            progress.update(len(places))
    pictures.report(
        left_out, bare=counts["bare"], count=counts["pictures"], tokenizer=encoder.tokenizer, out=out
    )
    return counts


def _encoded(
    loader: EvalLoader, pictures: PictureOptions, encoder: SoftEncoder
) -> tuple[list[Tokens], dict[str, Any]]:
    """The tokens of a part, and what is to be reported of it."""
    parts, counts = [], Counter[str]()
    for batch in loader:
        batch = pictures.captioned(batch)
        tokens, own = encode_batch(encoder, batch)
        parts.append(tokens)
        bare = sum(not caption.strip() for caption in batch.captions)
        counts.update(own | {"pictures": len(batch), "bare": bare})
    left_out = [vars(bad) for bad in loader.bad.samples]
    return parts, {"counts": dict(counts), "left_out": left_out, "contents": loader.contents}


def _write_ttk(out: Path, parts: _Parts, header: Header, prior: Prior | None) -> dict[str, Any]:
    with (
        replacing(out) as temporary,
        open(temporary, "wb") as stream,
        TtkWriter(stream, header, prior=prior) as writer,
    ):
        for tokens in parts:
            writer.add(tokens)
    return writer.facts()


def _write_safetensors(
    out: Path, parts: _Parts, settings: Mapping[str, Any], *, captions: bool, dtype: StoredDtype
) -> dict[str, Any]:
    facts = save_parts(parts, out, captions=captions, dtype=dtype, settings=settings)
    size = out.stat().st_size
    sizes = {"bytes_per_image": size / facts["pictures"], "file_bytes": size}
    return facts | sizes | {"captions": "kept" if captions else "left out", "settings": settings}


def _line(facts: Mapping[str, Any]) -> str:
    size = f"{facts['bytes_per_image']:.1f} bytes in the file, {facts['token_bytes_per_image']:.1f} of them tokens"
    each = f"{facts['mean_tokens']:.1f} tokens and {size} each"
    return f"{facts['file']}: {facts['pictures']} pictures by {facts['model_id']}, on average {each}"
