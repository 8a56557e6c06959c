"""``textok train alignment``: the head that says how well a caption fits a picture."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from textok.cli.checks import check_folders, check_seed
from textok.cli.output import report
from textok.training.heads.alignment import AlignmentRun, train_alignment

_RUN = AlignmentRun()


def train_alignment_head(
    run: Annotated[AlignmentRun, arg(name="")] = _RUN, *, out: Path, json: bool = False
) -> None:
    """Train the two-tower head, which says how well a caption fits a picture; minutes on a CPU.

    Args:
        out: the folder for the head; Semantics.from_pretrained(OUT) judges with it.
        json: print the scores as JSON.
    """
    check_seed(run.seed)
    check_folders(out=out)
    rows = train_alignment(run, out)
    lines = [
        f"  {row['split']:<13} {row['size']:>4} px  {row['r1']:6.1%} first, {row['r5']:6.1%} among the first 5, "
        f"of {row['captions']} captions"
        for row in rows
    ]
    report(rows, f"{out}: two-tower head; pictures whose own caption is found", *lines, json=json)
