"""``textok evaluate reconstruction``: every metric of a tokenizer on any captioned pictures."""

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from textok.cli.checks import check_files, check_folders
from textok.cli.choices import comma_list
from textok.cli.distributed import is_first, process_group
from textok.cli.evaluator import Evaluator, tell_left_out, usable_conditions
from textok.cli.tables import score_table, shown
from textok.cli.tested import DEFAULT_NETWORK, NetworkChoice, TestedPictures

if TYPE_CHECKING:
    from textok.data import Source
    from textok.evaluation.reconstruction import Row
    from textok.evaluation.results import Result

CAPTIONS_HELP = (
    "what is read beside the picture: right (its own caption), none, wrong (another picture's), or its own made worse: "
    "short (first phrase), thing (noun phrase), shuffled (words), near (of a similar thing)"
)

# Headings in the terminal by how a metric's name begins and ends.
_HEADS = {
    "psnr": "psnr",
    "ssim": "ssim",
    "perceptual_": "perceptual",
    "fd_": "fd",
    "fid": "fid",
}
_ENDS = {"_unpaired": " unpaired", "_floor": " floor"}

# What the pictures say, in a table of its own.
_SAID = {
    "retrieval_two_tower_r1": "retrieval",
    "alignment_two_tower": "alignment",
    "retrieval_class_posterior_r1": "retrieval by classes",
    "alignment_class_posterior": "alignment by classes",
}
_AGREED = {"posterior_agreement_": "agreement", "top1_agreement_": "same class"}
_SAID_NOTE = """Does the reconstruction say what its caption says? Value / that of the originals, the most to hope for.
Drawings: read retrieval and alignment (two-tower head). Photographs: read those by classes. Where the originals find
few captions, a judge says nothing of these pictures. Agreement, same class: a classifier, here and on the original."""


def evaluate_reconstruction(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    pictures: Annotated[TestedPictures, arg(name="")],
    network: Annotated[NetworkChoice, arg(name="")] = DEFAULT_NETWORK,
    *,
    budgets: Annotated[
        tuple[str, ...], arg(metavar="K,K", help_behavior_hint="(default: 2,4,8,16,32, up to the model's)")
    ] = (),
    captions: Annotated[tuple[str, ...], arg(metavar="NAME,NAME", help=CAPTIONS_HELP)] = (
        "right,none,wrong",
    ),
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    html: Annotated[Path | None, arg(metavar="FILE.html", help_behavior_hint="")] = None,
    write_samples: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None,
    no_semantics: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    json: bool = False,
) -> None:
    """Score a tokenizer: every metric by split, caption condition and number of tokens.

    Under torchrun the processes share the pictures, and the first one prints and writes.

    Args:
        model: a shipped name, a folder with config.json and model.safetensors, or a hub id.
        budgets: tokens a picture, such as 2,4,8.
        out: result file: settings, rows, and the values of every picture.
        html: a page with curves.
        write_samples: write originals and reconstructions there as .npz for published evaluators.
        no_semantics: leave out whether the reconstruction still says what its caption says.
        batch_size: pictures at a time.
        device: cpu, cuda, cuda:1; auto takes cuda where there is one.
        precision: number type of the tokenizer's forward pass.
        json: print the rows as JSON instead of a table.
    """
    from textok.evaluation.results import Result, write_result
    from textok.training.run_folder import environment

    check_files(out=out, html=html)
    check_folders(write_samples=write_samples)
    sources = pictures.open()
    evaluator = Evaluator.prepare(
        model,
        network,
        budgets=comma_list(budgets, name="budgets"),
        captions=comma_list(captions, name="captions"),
        device=device,
        precision=precision,
        batch_size=batch_size,
        size=pictures.size,
        semantics=not no_semantics,
    )
    result = Result(
        settings=evaluator.settings | pictures.settings, rows=[], per_image=[], made_by=environment()
    )
    with process_group(evaluator.device):
        for name, source in sources.items():
            _evaluate_split(evaluator, pictures, name, source, result=result, samples=write_samples)
    if not is_first():
        return
    if out is not None:
        write_result(out, **vars(result))
    if html is not None:
        _write_page(result, html)
    print(json_format.dumps(result.rows) if json else reconstruction_table(result.rows))


def _evaluate_split(
    evaluator: Evaluator,
    pictures: TestedPictures,
    name: str,
    source: "Source",
    *,
    result: "Result",
    samples: Path | None,
) -> None:
    """Add the scores of a split to the result; the first process writes its pictures."""
    found = evaluator.read(pictures, name, source, settings=result.settings)
    conditions = usable_conditions(found, evaluator.captions)
    tell_left_out(found, evaluator.captions, conditions)
    scores = evaluator.score(found, conditions)
    result.rows.extend(scores.rows)
    result.per_image.extend(scores.per_image)
    result.latents.extend(scores.latents)
    if samples is not None and is_first():
        evaluator.write_samples(samples, found, conditions)


def reconstruction_table(rows: Sequence["Row"]) -> str:
    """The main scores of a reconstruction result, a line a split, caption condition and budget."""
    heads = {"split": "split", "captions": "captions", "budget": "tokens", "count": "count"}
    named = dict.fromkeys(name for row in rows for name in row if "_pca" not in name)
    for name in named:
        for start, head in _HEADS.items():
            if name.startswith(start):
                heads[name] = head + next((short for end, short in _ENDS.items() if name.endswith(end)), "")
                break
    blocks = [score_table(rows, heads), _legend(heads)]
    if any(name.startswith(tuple(_AGREED)) for name in named):
        blocks += [_SAID_NOTE, _said_table(rows)]
    return "\n\n".join(blocks)


def _said_table(rows: Sequence["Row"]) -> str:
    """What the pictures say, reconstructions beside originals."""
    heads = {"split": "split", "captions": "captions", "budget": "tokens"} | _SAID
    named = dict.fromkeys(name for row in rows for name in row)
    for start, head in _AGREED.items():
        heads |= {name: head for name in named if name.startswith(start)}
    return score_table([{name: _beside(row, name) for name in row} for row in rows], heads)


def _beside(row: "Row", name: str) -> str | int | float:
    """A value, with that of the originals where there is one."""
    ceiling = row.get(f"{name}_original")
    return row[name] if ceiling is None else f"{shown(row[name])} / {shown(ceiling)}"


def _legend(heads: dict[str, str]) -> str:
    long = [f"{head} = {name}" for name, head in heads.items() if head != name and "_" in name]
    return "\n".join(long)


def _write_page(result: "Result", path: Path) -> None:
    from textok.evaluation.pages.evaluation_page import render_evaluation
    from textok.writing import write_text

    write_text(path, render_evaluation(result))
