"""The tables of the study: every metric with and without captions, what captions save, and what changed facts do."""

import re
from collections.abc import Iterator, Mapping, Sequence

from research.captions.token_saving import token_saving
from research.scenes.arms import DECODERS, TEXTS
from research.scenes.scoring import BUDGETS, STEPS
from research.tables import Curve, cells, curve, markdown, mean_curve, spread
from textok.evaluation.results import Row

METRICS = {
    "facts": ("facts right", "{:.3f}", False),
    "fact_thing": ("things right", "{:.3f}", False),
    "fact_colour": ("colours right", "{:.3f}", False),
    "fact_place": ("places right", "{:.3f}", False),
    "fact_count": ("counts right", "{:.3f}", False),
    "fact_background": ("backgrounds right", "{:.3f}", False),
    "perceptual_effnet_lite2": ("feature distance", "{:.3f}", True),
    "fd_effnet_lite2": ("Fréchet distance", "{:.0f}", True),
    "psnr": ("PSNR, dB", "{:.2f}", False),
    "colour_error": ("mean colour error, 255ths", "{:.1f}", True),
}
"""Column of the rows -> its name, form, and whether lower is better."""

Rows = Mapping[str, Sequence[Row]]
"""Name of an arm -> its rows."""


def tables(arms: Rows, *, splits: Sequence[str] = ("test-drawing", "test-concept", "photos")) -> str:
    """All tables as Markdown; an arm that is not there yet has no line."""
    parts = [text for split in splits for text in _of_split(arms, split)]
    return "\n\n".join(parts) + "\n"


def _of_split(arms: Rows, split: str) -> Iterator[str]:
    for decoder in DECODERS:
        for steps in (0, STEPS) if decoder == "flow" else (0,):
            curves = {text: _curves(arms, text, decoder, split, steps) for text in TEXTS}
            found = {text: by_metric for text, by_metric in curves.items() if by_metric}
            if found:
                way = f"{steps} steps" if steps else "one pass"
                yield f"### {split}, {decoder} decoder, {way}"
                yield _metric_table(found)
                if {"none", "both"} <= set(found):
                    yield _saving_table(found["both"], found["none"])
    if changed := list(_changed_lines(arms, split)):
        yield f"### {split}: one fact of the caption changed; how often the picture follows it"
        yield markdown(["arm, decoding, kind", *map(str, BUDGETS)], changed)


def _curves(arms: Rows, text: str, decoder: str, split: str, steps: int) -> dict[str, list[Curve]]:
    """Metric -> one curve per seed, under the captions that the arm was trained on."""
    pattern = re.compile(rf"{text}-{decoder}-seed\d+")
    condition = {"none": "none", "both": "right", "both-name": "right" if split == "photos" else "name"}[text]
    seeds = [
        [row for row in rows if row.get("steps") == steps]
        for name, rows in arms.items()
        if pattern.fullmatch(name)
    ]
    curves = {
        m: [c for rows in seeds if (c := curve(rows, m, split=split, captions=condition))] for m in METRICS
    }
    return {metric: found for metric, found in curves.items() if found}


def _metric_table(found: Mapping[str, Mapping[str, list[Curve]]]) -> str:
    lines = []
    for metric, (name, form, _) in METRICS.items():
        for text, by_metric in found.items():
            if metric in by_metric:
                shown = cells(mean_curve(by_metric[metric]), spread(by_metric[metric]), form=form)
                lines.append([f"{name}, {text}", *shown])
    return markdown(["metric, captions", *(f"{k}" for k in BUDGETS)], lines)


def _saving_table(both: Mapping[str, list[Curve]], none: Mapping[str, list[Curve]]) -> str:
    lines = []
    for metric, (name, _, lower) in METRICS.items():
        if metric in both and metric in none:
            factors = token_saving(mean_curve(both[metric]), mean_curve(none[metric]), lower_is_better=lower)
            lines.append([name, *(str(factor) for _, factor in sorted(factors.items()))])
    return markdown(["tokens without captions for the quality of one with", *map(str, BUDGETS)], lines)


def _changed_lines(arms: Rows, split: str) -> Iterator[list[str]]:
    for name, rows in arms.items():
        chosen = [row for row in rows if row["captions"] == "one fact changed" and row["split"] == split]
        for steps in sorted({int(row["steps"]) for row in chosen}):
            at = [row for row in chosen if row["steps"] == steps]
            for metric in sorted({key for row in at for key in row if key.startswith("follows_")}):
                values = curve(at, metric, split=split, captions="one fact changed")
                way = f"{steps} steps" if steps else "one pass"
                yield [
                    f"{name}, {way}, {metric.removeprefix('follows_')}",
                    *(f"{v:.2f}" for _, v in sorted(values.items())),
                ]
