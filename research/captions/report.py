"""The tables of the caption study, in words and numbers."""

from collections.abc import Mapping, Sequence

from research.captions.gains import gains, intervals
from research.captions.scored import (
    AGREEMENT,
    HEADS,
    LOWER_IS_BETTER,
    METRICS,
    RETRIEVALS,
    SETS,
    Scored,
    measured,
    metrics_of,
    of_originals,
)
from research.captions.scoring import FEW_BUDGETS
from research.tables import Curve, cells, curve, markdown, mean_curve, spread
from textok.evaluation.results import Result, Row

NOT_RUN = "Not run yet."

PAPER = (
    "The paper: rFID 1.04 / 1.11 / 1.28 / 1.49 for both / encoder / decoder / none; mean gain over budgets of "
    "29.2 % at 256 px and 48.1 % at 512 px; half the tokens for the same quality."
)


def sections(
    scored: Sequence[Scored],
    variants: Mapping[str, Result],
    *,
    bootstraps: Sequence[Row],
    missing: Sequence[str],
) -> dict[str, str]:
    """Markdown by table name.

    Args:
        scored: finished arms.
        variants: scores under failing captions, by model.
        bootstraps: rows of the intervals of both against none.
        missing: names of arms that are not run yet.
    """
    found = {
        "placement": placement_table(scored, bootstraps),
        "explanation": explanation_table(scored),
        "bottleneck": bottleneck_table(scored),
        "quality": quality_table(variants),
        "encoder": encoder_table(scored),
        "budgets": budgets_table(scored),
    }
    run = ", ".join(s.arm.name for s in scored) or "none"
    found["arms"] = f"Run: {run}.\n\nNot run yet: {', '.join(missing) or 'none'}."
    return found


def placement_table(scored: Sequence[Scored], bootstraps: Sequence[Row] = ()) -> str:
    """Where the caption goes, against no caption: every set and metric, gains and tokens saved."""
    groups: dict[str, list[Scored]] = {}
    for s in scored:
        if s.arm.table == "placement":
            groups.setdefault(s.arm.label, []).append(s)
    if not groups:
        return NOT_RUN
    parts = [PAPER]
    for split in SETS:
        parts += [_metric_table(groups, metric, split=split) for metric in measured(groups, split=split)]
    parts += [gains(groups), intervals(bootstraps)]
    return "\n\n".join(filter(None, parts))


def _metric_table(groups: Mapping[str, Sequence[Scored]], metric: str, *, split: str) -> str:
    rows, budgets = [], []
    for label, arms in groups.items():
        curves = [arm.curve(metric, split=split) for arm in arms]
        mean = mean_curve(curves)
        budgets = sorted(mean) or budgets
        rows.append([f"{label} ({len(arms)})", *cells(mean, spread(curves), form=METRICS[metric])])
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    best = _originals([arm.result for arms in groups.values() for arm in arms], split=split, metrics=[metric])
    head = (
        f"**{split}, {metric}** ({better} is better; seeds in brackets, ± standard deviation over them{best})"
    )
    return head + "\n\n" + markdown(["arm", *map(str, budgets)], rows)


def explanation_table(scored: Sequence[Scored]) -> str:
    """The pair of the first table beside longer trainings and plain attention, one seed."""
    arms = [s for s in scored if s.arm.table == "explanation"]
    if not arms:
        return NOT_RUN
    seed = arms[0].arm.seed
    base = [s for s in scored if s.arm.name in (f"both-seed{seed}", f"none-seed{seed}")]
    named = {s.arm.label: s for s in (*base, *arms)}
    return "\n\n".join(filter(None, (_arms_beside(named, split=split) for split in SETS)))


def bottleneck_table(scored: Sequence[Scored]) -> str:
    """kl, ae, fsq and vq at equal budgets, with the size and use of discrete codes."""
    arms = [s for s in scored if s.arm.table == "bottleneck"]
    if not arms:
        return NOT_RUN
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
            told = [m for m in metrics_of(split) if m != AGREEMENT]
            lines = {
                captions: {m: curve(result.rows, m, split=split, captions=captions) for m in told}
                for captions in conditions
            }
            best = _originals([result], split=split, metrics=told)
            parts.append(beside(lines, title=f"{name}, {split}", first="caption", note=best))
    return "\n\n".join(filter(None, parts)) or NOT_RUN


def encoder_table(scored: Sequence[Scored]) -> str:
    """Text encoders and numbers of text tokens."""
    arms = [s for s in scored if s.arm.table == "encoder"]
    if not arms:
        return NOT_RUN
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
        return NOT_RUN
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
    arms = {label: arm for label, (arm,) in named.items()}
    return [table for split in SETS[1:] if (table := _arms_beside(arms, split=split))]


def _arms_beside(named: Mapping[str, Scored], *, split: str) -> str:
    told = metrics_of(split)
    return beside(
        {label: {m: s.curve(m, split=split) for m in told} for label, s in named.items()},
        title=split,
        first="arm",
        note=_originals([s.result for s in named.values()], split=split, metrics=told),
    )


def _originals(results: Sequence[Result], *, split: str, metrics: Sequence[str]) -> str:
    """What retrieval the original pictures reach, in words; "" where none of the metrics is a retrieval."""
    for metric in set(metrics) & set(RETRIEVALS):
        for result in results:
            if (best := of_originals(result, metric, split=split)) is not None:
                return f"; the originals' own retrieval is {best:.3f}"
    return ""


def beside(lines: Mapping[str, Mapping[str, Curve]], *, title: str, first: str, note: str = "") -> str:
    """Metrics side by side, each at a few budgets; "" where the lines share no metric.

    Args:
        lines: label of a line -> metric -> curve.
        title: what the table is of.
        first: heading of the labels.
        note: more words for the title's bracket.
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
    head = f"**{title}**, at {' / '.join(map(str, budgets))} tokens (↑ higher is better, ↓ lower{note})"
    return head + "\n\n" + markdown([first, *(HEADS[m] for m in metrics)], rows)
