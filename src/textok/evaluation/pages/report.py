"""The report of ``textok demo``: reconstructions to look at, with their scores, as one HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from textok.evaluation.captioned import CONDITIONS, CaptionCondition, CaptionedPictures
from textok.evaluation.pages import render
from textok.evaluation.pages.curves import curve_chart
from textok.evaluation.pages.grids import caption_label
from textok.evaluation.reconstruction import Reconstructions
from textok.evaluation.results import Row

Scores = dict[tuple[CaptionCondition, int], dict[str, list[float]]]
"""By caption condition and budget: metric name -> one value per picture."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Pictures of one kind, their reconstructions, and the scores of these.

    Attributes:
        title: heading.
        note: a sentence on what these pictures test.
        pictures: the originals.
        outputs: their reconstructions.
        scores: the metrics of every reconstruction.
        classic: mean bytes of a file of a classic codec -> mean PSNR of these pictures.
    """

    title: str
    note: str
    pictures: CaptionedPictures
    outputs: Reconstructions
    scores: Scores
    classic: Mapping[int, float] = field(default_factory=dict)

    @property
    def budgets(self) -> list[int]:
        """Token budgets, smallest first."""
        return sorted({k for _, k in self.outputs})

    @property
    def conditions(self) -> list[CaptionCondition]:
        """Caption conditions, the right caption first."""
        present = {condition for condition, _ in self.outputs}
        return [condition for condition in CONDITIONS if condition in present]

    @property
    def ranked(self) -> list[int]:
        """Places of the pictures, the best first: by PSNR with the most tokens."""
        values = self.scores[self.conditions[0], max(self.budgets)]["psnr"]
        return sorted(range(len(values)), key=lambda place: -values[place])

    def over_bytes(self, token_bytes: Mapping[int, int]) -> dict[str, dict[int, float]]:
        """Mean PSNR over mean bytes: of the tokens, and of the classic codec where it was measured."""
        psnr = self.means("psnr")[self.conditions[0]]
        lines = {"tokens": {token_bytes[k]: value for k, value in psnr.items()}}
        return lines | ({"WebP": dict(self.classic)} if self.classic else {})

    def mean(self, condition: CaptionCondition, budget: int, metric: str) -> float:
        """Mean of a metric over the pictures."""
        values = self.scores[condition, budget][metric]
        return sum(values) / len(values)

    def means(self, metric: str) -> dict[CaptionCondition, dict[int, float]]:
        """Means of a metric by caption condition and budget."""
        return {c: {k: self.mean(c, k, metric) for k in self.budgets} for c in self.conditions}

    def best(
        self, budget: int, metric: str, *, lower: bool = False, index: int | None = None
    ) -> list[CaptionCondition]:
        """The conditions with the best mean, or the best value of one picture; none where there is no rival."""
        values = {
            c: self.mean(c, budget, metric) if index is None else self.scores[c, budget][metric][index]
            for c in self.conditions
        }
        best = (min if lower else max)(values.values())
        return [c for c, value in values.items() if value == best] if len(values) > 1 else []


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of the page.

    Attributes:
        model_id: the tokenizer.
        perceptual: name of the perceptual metric in the sections' scores.
        sections: pictures by kind.
        token_bytes: bytes of one picture's tokens by budget.
        file_bytes: mean bytes of one original, by file format.
        caption_bytes: mean bytes of a caption.
        speed: what was timed -> pictures per second.
        facts: about the model and the machine, in order.
        details: what trained the weights, as JSON; may be empty.
        credit: whose pictures these are; "" when not known.
        prompts: what prompts.html shows of a generator over these tokens; None without one.
    """

    model_id: str
    perceptual: str
    sections: Sequence[Section]
    token_bytes: Mapping[int, int]
    file_bytes: Mapping[str, float]
    caption_bytes: float
    speed: Mapping[str, float]
    facts: Mapping[str, str]
    details: str
    credit: str = ""
    prompts: Mapping[str, Any] | None = None


def render_report(report: Report) -> str:
    """The whole page."""
    *most, last = map(str, report.token_bytes)
    rows = table_rows(report)
    return render(
        "report.html",
        title=f"TexTok {report.model_id}: pictures in a few tokens",
        report=report,
        budgets=f"{', '.join(most)} or {last}" if most else last,
        tiles=_tiles(report),
        smallest=min(report.file_bytes.values()),
        heads=list(rows[0]),
        numbers=[[f"{v:.4f}" if isinstance(v, float) else v for v in row.values()] for row in rows],
        label=caption_label,
        curves=curve_chart,
    )


def table_rows(report: Report) -> list[Row]:
    """The means of every section, caption condition and budget: what the full table shows."""
    return [
        {"split": section.pictures.split, "captions": condition, "budget": k, "count": len(section.pictures)}
        | {metric: section.mean(condition, k, metric) for metric in section.scores[condition, k]}
        for section in report.sections
        for condition in section.conditions
        for k in section.budgets
    ]


def _tiles(report: Report) -> list[tuple[str, str]]:
    budget, section = min(report.token_bytes, key=lambda k: abs(k - 8)), report.sections[0]
    size, least = report.token_bytes[budget], min(report.token_bytes)
    ratio = min(report.file_bytes.values()) / size
    tiles = [(f"{size} B", f"a picture in {budget} tokens: 1/{ratio:.0f} of its smallest file")]
    if {"right", "none"} <= set(section.conditions):
        gain = section.mean("right", least, "psnr") - section.mean("none", least, "psnr")
        tiles.append((f"{gain:+.1f} dB", f"from the caption at {least} tokens ({section.title.lower()})"))
    return tiles + [(f"{rate:,.0f}", f"pictures a second to {name}") for name, rate in report.speed.items()]
