"""The tables of the caption study, in words and numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textok.evaluation.comparison import compare
from textok.evaluation.results import Result
from textok.study.arms import Arm
from textok.study.scoring import FEW_BUDGETS
from textok.study.tables import Curve, cells, curve, markdown, mean_curve, relative_gain, spread
from textok.study.token_saving import token_saving

FD, PERCEPTUAL = "fd_effnet_lite2", "perceptual_effnet_lite2"
RETRIEVAL, AGREEMENT = "retrieval_two_tower_r1", "posterior_agreement_effnet_lite2"
METRICS = {"psnr": "{:.2f}", PERCEPTUAL: "{:.3f}", FD: "{:.0f}", RETRIEVAL: "{:.3f}", AGREEMENT: "{:.3f}"}
LOWER_IS_BETTER = (FD, PERCEPTUAL)
HEADS = {
    "psnr": "PSNR ↑",
    PERCEPTUAL: "perceptual ↓",
    FD: "Fréchet ↓",
    RETRIEVAL: "retrieval ↑",
    AGREEMENT: "agreement ↑",
}
"""Names of the metrics where they stand side by side."""

SETS = ("test-drawing", "test-concept", "photos")

PAPER = (
    "The paper: rFID 1.04 / 1.11 / 1.28 / 1.49 for both / encoder / decoder / none; mean gain over budgets of "
    "29.2 % at 256 px and 48.1 % at 512 px; half the tokens for the same quality."
)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A finished arm with its scores."""

    arm: Arm
    result: Result

    @property
    def captions(self) -> str:
        """The condition an arm is judged under: the right caption where it reads captions."""
        return "none" if self.arm.run.model.placement == "none" else "right"

    def curve(self, metric: str, *, split: str, captions: str | None = None) -> Curve:
        """One metric over budgets."""
        return curve(self.result.rows, metric, split=split, captions=captions or self.captions)


def sections(
    scored: Sequence[Scored], variants: Mapping[str, Result], *, missing: Sequence[str]
) -> dict[str, str]:
    """Markdown by table name."""
    found = {
        "placement": placement_table(scored),
        "explanation": explanation_table(scored),
        "bottleneck": bottleneck_table(scored),
        "quality": quality_table(variants),
        "encoder": encoder_table(scored),
        "budgets": budgets_table(scored),
    }
    run = ", ".join(s.arm.name for s in scored) or "none"
    found["arms"] = f"Run: {run}.\n\nNot run yet: {', '.join(missing) or 'none'}."
    return found


def placement_table(scored: Sequence[Scored]) -> str:
    """Where the caption goes, against no caption: every set and metric, gains and tokens saved."""
    groups: dict[str, list[Scored]] = {}
    for s in scored:
        if s.arm.table == "placement":
            groups.setdefault(s.arm.label, []).append(s)
    if not groups:
        return "Not run yet."
    parts = [PAPER]
    for split in SETS:
        parts += [_metric_table(groups, metric, split=split) for metric in measured(groups, split=split)]
    if {"both", "none"} <= set(groups):
        parts += [gains(groups), intervals(groups)]
    return "\n\n".join(parts)


def measured(groups: Mapping[str, Sequence[Scored]], *, split: str) -> list[str]:
    """The metrics that every arm has for a set: small sets have no Fréchet distance."""
    return [m for m in METRICS if all(arm.curve(m, split=split) for arms in groups.values() for arm in arms)]


def _metric_table(groups: Mapping[str, Sequence[Scored]], metric: str, *, split: str) -> str:
    rows, budgets = [], []
    for label, arms in groups.items():
        curves = [arm.curve(metric, split=split) for arm in arms]
        mean = mean_curve(curves)
        budgets = sorted(mean) or budgets
        rows.append([f"{label} ({len(arms)})", *cells(mean, spread(curves), form=METRICS[metric])])
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    head = f"**{split}, {metric}** ({better} is better; seeds in brackets, ± standard deviation over them)"
    return head + "\n\n" + markdown(["arm", *map(str, budgets)], rows)


def gains(groups: Mapping[str, Sequence[Scored]]) -> str:
    """Mean relative gain of "both" over "none", and tokens saved at each budget, means over seeds."""
    rows, saved, budgets = [], [], []
    for split in SETS:
        for metric in measured(groups, split=split):
            both, none = (
                mean_curve([arm.curve(metric, split=split) for arm in groups[label]])
                for label in ("both", "none")
            )
            gain = relative_gain(both, none, lower_is_better=metric in LOWER_IS_BETTER)
            saving = token_saving(both, none, lower_is_better=metric in LOWER_IS_BETTER)
            budgets = sorted(both)
            rows.append(
                [f"{split}, {metric}", "none to relate to" if math.isnan(gain) else f"{100 * gain:+.1f} %"]
            )
            saved.append([f"{split}, {metric}", *map(str, saving.values())])
    heads = ["set and metric", *map(str, budgets)]
    return (
        "**Mean relative gain of both over none, over all budgets**\n\n"
        + markdown(["set and metric", "gain"], rows)
        + "\n\n**How many times as many tokens it takes without text**, for the quality of k tokens with text: "
        "above 1 text saves tokens. `> 4` says that no budget without text reaches that quality, not even the "
        "largest, which is 4 times as many; `< 0.5` that the smallest budget without text, half as many, is "
        "better already.\n\n" + markdown(heads, saved)
    )


def intervals(groups: Mapping[str, Sequence[Scored]]) -> str:
    """Paired bootstrap over pictures of both against none, seed by seed."""
    none_by_seed = {s.arm.seed: s for s in groups["none"]}
    rows = []
    for both in groups["both"]:
        if both.arm.seed not in none_by_seed:
            continue
        with_text = _as_condition(both.result, "right")
        without = _as_condition(none_by_seed[both.arm.seed].result, "none")
        for found in compare(without, with_text):
            if found.interval is not None and found.metric in METRICS:
                low, high = found.interval.difference
                split, _, budget, _ = found.cell
                where = [f"seed {both.arm.seed}, {split}, {found.metric}", str(budget)]
                rows.append([*where, f"{found.b - found.a:+.3f}", f"{low:+.3f} to {high:+.3f}"])
    return (
        "**both minus none, with bootstrap 95 % intervals over pictures**\n\n<details><summary>all cells"
        "</summary>\n\n"
        + markdown(["seed, set, metric", "tokens", "difference", "95 %"], rows)
        + "\n\n</details>"
    )


def _as_condition(result: Result, captions: str) -> Result:
    """Only the rows of one caption condition, under the name "own", so that two arms have the same cells."""
    rows = [row | {"captions": "own"} for row in result.rows if row["captions"] == captions]
    pictures = [row | {"captions": "own"} for row in result.per_image if row["captions"] == captions]
    return Result(settings=result.settings, rows=rows, per_image=pictures, made_by=result.made_by)


def explanation_table(scored: Sequence[Scored]) -> str:
    """The pair of the first table beside longer trainings and plain attention, one seed."""
    arms = [s for s in scored if s.arm.table == "explanation"]
    if not arms:
        return "Not run yet."
    seed = arms[0].arm.seed
    base = [s for s in scored if s.arm.name in (f"both-seed{seed}", f"none-seed{seed}")]
    named = {s.arm.label: s for s in (*base, *arms)}
    tables = [
        beside(
            {label: {m: s.curve(m, split=split) for m in METRICS} for label, s in named.items()},
            title=split,
            first="arm",
        )
        for split in SETS
    ]
    return "\n\n".join(filter(None, tables))


def bottleneck_table(scored: Sequence[Scored]) -> str:
    """kl, ae, fsq and vq at equal budgets, with the size and use of discrete codes."""
    arms = [s for s in scored if s.arm.table == "bottleneck"]
    if not arms:
        return "Not run yet."
    base = [s for s in scored if s.arm.name == f"both-seed{arms[0].arm.seed}"]
    named = {("kl" if s in base else s.arm.label): [s] for s in (*base, *arms)}
    parts = [
        _metric_table(named, metric, split="test-drawing") for metric in measured(named, split="test-drawing")
    ]
    use = [row for label, (s,) in named.items() for row in _code_use(label, s)]
    codes = markdown(["arm", "bits a picture", "share of codes used", "perplexity"], use)
    return "\n\n".join([*parts, *_other_sets(named), codes])


def _code_use(label: str, scored: Scored) -> list[list[str]]:
    """Bits and use of the codes at 8 tokens and at the most."""
    rows = [
        r for r in scored.result.rows if r["split"] == "test-drawing" and r["captions"] == scored.captions
    ]
    longest = max(int(row["budget"]) for row in rows)
    names = ("bits_per_image", "code_usage", "code_perplexity")
    return [
        [f"{label}, {row['budget']} tokens", *(f"{row[name]:.4g}" if name in row else "" for name in names)]
        for row in rows
        if row["budget"] in (8, longest)
    ]


def quality_table(variants: Mapping[str, Result]) -> str:
    """What happens when the caption says less, or something else."""
    parts = []
    for name, result in variants.items():
        conditions = list(dict.fromkeys(str(row["captions"]) for row in result.rows))
        for split in SETS:
            lines = {
                captions: {
                    m: curve(result.rows, m, split=split, captions=captions)
                    for m in METRICS
                    if m != AGREEMENT
                }
                for captions in conditions
            }
            parts.append(beside(lines, title=f"{name}, {split}", first="caption"))
    return "\n\n".join(filter(None, parts)) or "Not run yet."


def encoder_table(scored: Sequence[Scored]) -> str:
    """Text encoders and numbers of text tokens."""
    arms = [s for s in scored if s.arm.table == "encoder"]
    if not arms:
        return "Not run yet."
    base = [s for s in scored if s.arm.name == f"both-seed{arms[0].arm.seed}"]
    named = {("minilm-40" if s in base else s.arm.label): [s] for s in (*base, *arms)}
    parts = [
        _metric_table(named, metric, split="test-drawing") for metric in measured(named, split="test-drawing")
    ]
    return "\n\n".join([*parts, *_other_sets(named)])


def budgets_table(scored: Sequence[Scored]) -> str:
    """Ways to draw training budgets, and models of one length, which have a value at that length only."""
    arms = [s for s in scored if s.arm.table == "budgets"]
    if not arms:
        return "Not run yet."
    base = [s for s in scored if s.arm.name == f"both-seed{arms[0].arm.seed}"]
    named = {("log-uniform, a quarter full (base)" if s in base else s.arm.label): s for s in (*base, *arms)}
    groups = {label: [s] for label, s in named.items()}
    return "\n\n".join(
        _budgets_of(named, metric, split=split)
        for split in SETS[:2]
        for metric in measured(groups, split=split)
    )


def _budgets_of(named: Mapping[str, Scored], metric: str, *, split: str) -> str:
    curves = {label: s.curve(metric, split=split) for label, s in named.items()}
    for label, s in named.items():
        if s.arm.run.budgets.kind == "fixed":
            curves[label] = {s.arm.run.model.num_latents: curves[label][s.arm.run.model.num_latents]}
    budgets = sorted({k for found in curves.values() for k in found})
    rows = [
        [label, *(METRICS[metric].format(found[k]) if k in found else "" for k in budgets)]
        for label, found in curves.items()
    ]
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    return f"**{split}, {metric}** ({better} is better)\n\n" + markdown(["arm", *map(str, budgets)], rows)


def _other_sets(named: Mapping[str, Sequence[Scored]]) -> list[str]:
    """Compact tables of the sets beside test-drawing, where the arms have rows of them; one arm a label."""
    found = [
        beside(
            {label: {m: arm.curve(m, split=split) for m in METRICS} for label, (arm,) in named.items()},
            title=split,
            first="arm",
        )
        for split in SETS[1:]
    ]
    return [table for table in found if table]


def beside(lines: Mapping[str, Mapping[str, Curve]], *, title: str, first: str) -> str:
    """Metrics side by side, each at a few budgets; "" where the lines share no metric.

    Args:
        lines: label of a line -> metric -> curve.
        title: what the table is of.
        first: heading of the labels.
    """
    metrics = [m for m in METRICS if lines and all(line.get(m) for line in lines.values())]
    if not metrics:
        return ""
    shared = set.intersection(*(set(line[m]) for line in lines.values() for m in metrics))
    budgets = [k for k in FEW_BUDGETS if k in shared] or sorted(shared)
    rows = [
        [label, *(" / ".join(METRICS[m].format(line[m][k]) for k in budgets) for m in metrics)]
        for label, line in lines.items()
    ]
    head = f"**{title}**, at {' / '.join(map(str, budgets))} tokens (↑ higher is better, ↓ lower)"
    return head + "\n\n" + markdown([first, *(HEADS[m] for m in metrics)], rows)
