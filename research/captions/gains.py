"""What text on both sides gains over none: the paper's mean gain, tokens saved, and intervals over pictures."""

import math
import statistics
from collections.abc import Mapping, Sequence

from research.captions.scored import (
    AGREEMENT,
    LOWER_IS_BETTER,
    RETRIEVALS,
    SETS,
    Scored,
    chance,
    measured,
    metrics_of,
)
from research.captions.token_saving import Saving, token_saving
from research.tables import Curve, markdown, mean_curve, relative_gain
from textok.evaluation.comparison import Compared, compare
from textok.evaluation.results import Result, Row

NEAR_CHANCE = 10.0
"""A retrieval below this many times chance says too little for a relative gain."""

LITTLE_AGREEMENT = 0.03
"""An agreement of posteriors below this says too little for a relative gain."""


def gains(groups: Mapping[str, Sequence[Scored]]) -> str:
    """Mean relative gain of "both" over "none", and tokens saved at each budget, over the seeds that have both."""
    pairs = _pairs(groups)
    if not pairs:
        return ""
    rows, saved, budgets = [], [], []
    for split in SETS:
        for metric in measured(groups, split=split):
            curves = [tuple(arm.curve(metric, split=split) for arm in pair) for pair in pairs]
            both, none = (mean_curve(side) for side in zip(*curves, strict=True))
            budgets = sorted(both)
            where = f"{split}, {metric}"
            if statistics.mean(none.values()) < _least(metric, pairs[0][1], split=split):
                rows.append([where, "not told"])
                continue
            rows.append([where, _gain_cell(metric, curves)])
            saved.append([where, *_saving_cells(metric, curves, both, none)])
    heads = ["set and metric", *map(str, budgets)]
    return (
        f"**Mean relative gain of both over none, over all budgets** (mean ± standard deviation over "
        f"{len(pairs)} {'seed' if len(pairs) == 1 else 'seeds'}; not told where, without text, retrieval is below "
        f"{NEAR_CHANCE:g} times chance or agreement below {LITTLE_AGREEMENT:g})\n\n"
        + markdown(["set and metric", "gain"], rows)
        + "\n\n**How many times as many tokens it takes without text**, for the quality of k tokens with text: "
        "above 1 text saves tokens. `> 4` says that no budget without text reaches that quality, not even the "
        "largest, which is 4 times as many; `< 0.5` that the smallest budget without text, half as many, is "
        "better already. The first figure is that of the mean curves, brackets hold the least and the most over "
        "seeds.\n\n" + markdown(heads, saved)
    )


def _least(metric: str, scored: Scored, *, split: str) -> float:
    """What a metric without text must reach for a relative gain to mean something."""
    if metric in RETRIEVALS:
        return NEAR_CHANCE * chance(scored, split=split)
    return LITTLE_AGREEMENT if metric == AGREEMENT else 0.0


def _pairs(groups: Mapping[str, Sequence[Scored]]) -> list[tuple[Scored, Scored]]:
    none_by_seed = {s.arm.seed: s for s in groups.get("none", ())}
    return [(s, none_by_seed[s.arm.seed]) for s in groups.get("both", ()) if s.arm.seed in none_by_seed]


def _gain_cell(metric: str, curves: Sequence[tuple[Curve, ...]]) -> str:
    lower = metric in LOWER_IS_BETTER
    found = [relative_gain(both, none, lower_is_better=lower) for both, none in curves]
    found = [100 * gain for gain in found if not math.isnan(gain)]
    if not found:
        return "none to relate to"
    spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):+.1f}{spread} %"


def _saving_cells(metric: str, curves: Sequence[tuple[Curve, ...]], both: Curve, none: Curve) -> list[str]:
    lower = metric in LOWER_IS_BETTER
    of_mean = token_saving(both, none, lower_is_better=lower)
    by_seed = [token_saving(a, b, lower_is_better=lower) for a, b in curves]
    if len(by_seed) < 2:
        return [str(saving) for saving in of_mean.values()]
    return [f"{saving} ({_range([found[k] for found in by_seed])})" for k, saving in of_mean.items()]


def _range(savings: Sequence[Saving]) -> str:
    """The least and the most; a bound counts as beyond its number."""
    by_size = sorted(savings, key=lambda s: (s.factor, {"<": -1, "": 0, ">": 1}[s.bound]))
    least, most = by_size[0], by_size[-1]
    return str(least) if least == most else f"{least} to {most}"


def interval_rows(scored: Sequence[Scored]) -> list[Row]:
    """Paired bootstrap over pictures of both against none, for every seed whose single pictures are there."""
    groups = {
        label: [s for s in scored if s.arm.table == "placement" and s.arm.label == label]
        for label in ("both", "none")
    }
    rows: list[Row] = []
    for both, none in _pairs(groups):
        if not (both.result.per_image and none.result.per_image):
            continue
        found = compare(_as_condition(none.result, "none"), _as_condition(both.result, "right"))
        rows += [_interval_row(both.arm.seed, one) for one in found if _is_told(one)]
    return rows


def _is_told(found: Compared) -> bool:
    return found.interval is not None and found.metric in metrics_of(str(found.cell[0]))


def _interval_row(seed: int, found: Compared) -> Row:
    assert found.interval is not None
    low, high = found.interval.difference
    split, _, budget, _ = found.cell
    where: Row = {"seed": seed, "split": str(split), "metric": found.metric, "budget": int(budget or 0)}
    return where | {"difference": found.b - found.a, "low": low, "high": high}


def with_kept(rows: Sequence[Row], kept: Sequence[Row]) -> list[Row]:
    """New rows, and those of seeds that only a record has."""
    seeds = {row["seed"] for row in rows}
    return sorted(
        [*rows, *(row for row in kept if row["seed"] not in seeds)], key=lambda row: str(row["seed"])
    )


def intervals(rows: Sequence[Row]) -> str:
    """The rows of the bootstraps, folded away."""
    if not rows:
        return ""
    told = [
        [
            f"seed {row['seed']}, {row['split']}, {row['metric']}",
            str(row["budget"]),
            f"{row['difference']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
        ]
        for row in rows
    ]
    return (
        "**both minus none, with bootstrap 95 % intervals over pictures** (of one pair of trainings each: where the "
        "seeds' intervals lie apart, the trainings differ by more than the captions do)\n\n<details><summary>all cells"
        "</summary>\n\n"
        + markdown(["seed, set, metric", "tokens", "difference", "95 %"], told)
        + "\n\n</details>"
    )


def _as_condition(result: Result, captions: str) -> Result:
    """Only the rows of one caption condition, under the name "own", so that two arms have the same cells."""
    rows = [row | {"captions": "own"} for row in result.rows if row["captions"] == captions]
    pictures = [row | {"captions": "own"} for row in result.per_image if row["captions"] == captions]
    return Result(settings=result.settings, rows=rows, per_image=pictures, made_by=result.made_by)
