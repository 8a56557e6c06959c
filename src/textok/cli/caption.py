"""``textok caption``: captions for pictures that have none, by a model, by rules, or by measuring."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from textok import scale
from textok.captioning import CaptionConfig, load_prompt
from textok.captioning.journal import Journal
from textok.captioning.outputs import write_beside, write_new_tars, write_preview
from textok.captioning.run import CaptionRun, caption_blocks
from textok.captioning.writers import open_writer
from textok.cli import checks
from textok.cli.addresses import shown_place, to_address
from textok.cli.distributed import open_device
from textok.cli.options import DATA_HELP, Bad, Engine, Json, Limit, Split, optional
from textok.cli.output import report
from textok.data.samples import BadSample, report_bad
from textok.display import note
from textok.pipeline.stopping import polite_stop
from textok.writing import check_target

_ROW_BYTES = 1500  # of a caption in the journal and in the table
_PREVIEWED = 20
_BLOCK = 1000


@partial(to_address, fetch=True)
def caption(
    data: Annotated[Positional[str], arg(metavar="DATA", help=DATA_HELP)],
    config: Annotated[CaptionConfig, arg(name="")],
    bad: Bad,
    engine: Engine,
    *,
    out: Path,
    block_pictures: Annotated[int | None, optional("N", "1000")] = None,
    split: Split = None,
    limit: Limit = None,
    ask_rejected: bool = False,
    accept_changes: bool = False,
    preview: Annotated[Path | None, optional("FILE")] = None,
    estimate: bool = False,
    beside: bool = False,
    write_tars: bool = False,
    json: Json = False,
) -> None:
    """Write captions of pictures into a folder that encode, cache and training read.

    The same command goes on where it was stopped or killed, and asks about no picture that has its answer.

    Args:
        out: the folder for captions.jsonl, captions.parquet, rejected.jsonl and bad.jsonl, here or at an address such \
as s3://.
        block_pictures: with ray, the pictures that a worker captions before it takes the next ones.
        ask_rejected: ask about the rejected pictures again.
        accept_changes: keep the captions of pictures that changed since, instead of naming the first and stopping.
        preview: also an HTML page of the first pictures with their captions.
        estimate: ask nothing, and print what the rest will take, going by the captions that are there.
        beside: also a .txt file beside each picture, one caption per line; files that a person wrote or corrected \
are kept.
        write_tars: also new tars of the captioned pictures, in the folder tars.
    """
    checks.at_least(1, limit=limit, block_pictures=block_pictures)
    checks.needs(absent=not engine.is_ray, by="engine ray", block_pictures=block_pictures)
    if engine.is_ray and config.max_cost is not None:
        raise ValueError(
            f"max_cost: got {config.max_cost:g} with --engine ray, expected none: no worker knows the sum"
        )
    reading = bad.config(data, split=split)
    source = reading.open(all_parts=True)
    count = min(len(source), limit or len(source))
    check_target(out, sources=[data], num_bytes=count * config.captions_per_picture * _ROW_BYTES)
    prompt = load_prompt(config.prompt)
    writer = open_writer(replace(config, device=str(open_device(config.device))))
    with polite_stop() as stop:
        with Journal(out, config, model=writer.model, prompt=prompt, again=ask_rejected) as journal:
            if estimate:
                rest = journal.estimate(pictures=count, in_flight=writer.in_flight)
                return _report(rest, json=json)
            note(writer.notice)
            run = CaptionRun(
                source=source,
                data=reading,
                writer=writer,
                journal=journal,
                stop=stop,
                accept_changes=accept_changes,
            )
            ray = partial(engine.run, device=config.device) if engine.is_ray else None
            unreadable = _run(run, count, size=block_pictures or _BLOCK, ray=ray)
        if preview is not None:
            write_preview(source, out, preview, limit=min(count, limit or _PREVIEWED))
        if stop.asked:
            raise KeyboardInterrupt
        report_bad(unreadable)
        facts = journal.facts() | {"bad": len(unreadable)}
        facts |= {"text_files": write_beside(source, out)} if beside else {}
        facts |= {"tars": write_new_tars(source, out)} if write_tars else {}
        return _report({"folder": shown_place(out), **facts}, json=json)


def _run(run: CaptionRun, count: int, *, size: int, ray: scale.Engine | None) -> list[BadSample]:
    if ray is None:
        return run.run(count)
    return caption_blocks(run, count, size=size, engine=ray)


def _report(facts: dict[str, Any], *, json: bool) -> None:
    texts = []
    for name, value in facts.items():
        counts = value.items() if isinstance(value, dict) else [("", value)]
        words = ", ".join(f"{count} {kind}".strip() for kind, count in counts if count)
        texts += [f"{name.replace('_', ' ')}: {words}"] if words else []
    report(facts, "; ".join(texts), json=json)
