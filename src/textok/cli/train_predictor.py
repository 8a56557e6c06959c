"""``textok train predictor``: the head that chooses soft budgets without decoding."""

from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from textok.cli.checks import check_folders, check_seed
from textok.cli.output import report
from textok.training.heads.quality_predictor import PredictorRun, train_predictor

_RUN = PredictorRun()


def train_budget_head(
    run: Annotated[PredictorRun, arg(name="")] = _RUN, *, out: Path, json: bool = False
) -> None:
    """Train the head that chooses soft budgets without decoding; minutes on a CPU.

    Args:
        out: the folder for the head.
        json: print the scores as JSON.
    """
    check_seed(run.seed)
    check_folders(out=out)
    scores = train_predictor(run, out)
    lines = [_summary(scores, run)] if scores else []
    report(scores, f"{out}: quality predictor for {run.model}", *lines, json=json)


def _summary(scores: dict[str, Any], run: PredictorRun) -> str:
    unit, before = "dB" if run.measure == "psnr" else "of distance", scores["uncorrected"]
    return (
        f"  {scores['pictures']} pictures of {run.scored}: mean error {scores['bias']:+.3g} {unit} (before "
        f"correction {before['bias']:+.3g}), root mean square {scores['rmse']:.3g} ({before['rmse']:.3g}), "
        f"{scores['explained']:.0%} of the variance explained"
    )
