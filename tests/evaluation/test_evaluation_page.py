"""The page of a result: self-contained, every score drawn, any caption condition."""

import math
import re
from html.parser import HTMLParser

import pytest

from textok.evaluation.pages.curves import line_styles
from textok.evaluation.pages.evaluation_page import render_evaluation, scores_of, shown_value
from textok.evaluation.pages.generation_page import render_generation
from textok.evaluation.reconstruction import Row
from textok.evaluation.results import Result

CONDITIONS = ("right", "none", "wrong", "class_name_only", "shuffled <words>")


def rows(split: str, *, budgets: tuple[int, ...] = (2, 8, 32)) -> list[Row]:
    return [
        {"split": split, "captions": condition, "budget": k, "count": 7}
        | {
            "psnr": 14 + math.log2(k) - place,
            "fd_x": 300.0 / k,
            "fd_x_unpaired": 400.0 / k,
            "fd_x_floor": 12.0,
        }
        | {"retrieval_two_tower_r1": 0.1 * place, "retrieval_two_tower_r1_original": 0.75}
        | {"fd_x_pca32": 3.0, "latent_std_min": 0.9}
        for place, condition in enumerate(CONDITIONS)
        for k in budgets
    ]


@pytest.fixture
def page() -> str:
    settings = {"model": "icons-<128>", "size": [128, 128], "splits": {"a": {"count": 7}}}
    return render_evaluation(Result(settings=settings, rows=rows("a & b") + rows("photos")))


class Balance(HTMLParser):
    """Checks that elements close in the order they opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert not re.search(r"<script|<link|src=|url\(|https?://", page)
    assert "prefers-color-scheme: dark" in page


def test_every_score_of_every_split_is_drawn(page: str) -> None:
    assert page.count("<svg") == 2 * 4  # psnr, fd, fd unpaired, retrieval; others are in the tables
    assert page.count("<polyline") == 2 * 4 * len(CONDITIONS)
    assert page.count("floor: real pictures") == 2 and page.count(">the originals</text>") == 2
    assert "PSNR: higher is better" in page and "Fréchet distance: lower is better" in page


def test_what_the_originals_score_stands_beside(page: str) -> None:
    assert "<td>0.1000 / 0.7500</td>" in page and page.count("made for drawings, by class posteriors") == 2
    plain = [{name: v for name, v in row.items() if "retrieval" not in name} for row in rows("a")]
    assert "made for drawings" not in render_evaluation(Result(settings={}, rows=plain))


def test_names_from_outside_are_escaped(page: str) -> None:
    assert "<128>" not in page and "icons-&lt;128&gt;" in page
    assert "shuffled <words>" not in page and "a &amp; b" in page


def test_other_conditions_have_colours_of_their_own(page: str) -> None:
    styles = line_styles(CONDITIONS)
    assert list(styles.values()) == ["right", "none", "wrong", "variant-1", "variant-2"]
    for style in styles.values():
        assert f".chart .{style} {{" in page and f'<g class="{style}">' in page
    assert len(set(line_styles([f"v{i}" for i in range(7)]).values())) == 5


def test_all_numbers_are_in_the_page(page: str) -> None:
    assert "latent_std_min" in page and "fd_x_pca32" in page and "0.7500" in page


def test_one_budget_and_missing_values_are_drawn_too() -> None:
    found = rows("a", budgets=(8,))
    found[0]["psnr"] = math.nan
    del found[1]["fd_x"]
    page = render_evaluation(Result(settings={}, rows=found))
    assert page.count("<svg") == 4 and ">nan<" not in page.lower()


def test_a_result_without_budgets_has_no_page() -> None:
    with pytest.raises(ValueError, match="rows without a budget"):
        render_evaluation(Result(settings={}, rows=[{"split": "a", "fd_x": 1.0, "count": 9}]))


def test_scores_stand_before_facts() -> None:
    assert scores_of(rows("a")) == ["psnr", "fd_x", "fd_x_unpaired", "retrieval_two_tower_r1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5678, "1235"),
        (12.3456, "12.35"),
        (0.5, "0.5000"),
        (-0.01234, "-0.0123"),
        (3, "3"),
        (math.nan, "–"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert shown_value(value) == text


def test_the_page_of_generated_pictures() -> None:
    per_image: list[Row] = [
        {"split": "held <out>", "key": f"sample-{i}", "nearest_train_distance": 0.1 * (30 - i)}
        | {"nearest_train_key": f"train-{i}", "alignment_two_tower": math.nan if i == 3 else 0.01 * i}
        for i in range(30)
    ]
    row: Row = {"split": "held <out>", "count": 30, "count_reference": 40, "count_train": 50}
    row |= {
        "fd_x": 120.5,
        "fd_x_beside_floor": 140.5,
        "fd_x_floor": 80.25,
        "kd_x": 0.5,
        "kd_x_standard_error": 0.125,
    }
    row |= {"copied_share": 0.02, "nearest_train_median": 0.3, "nearest_train_median_held_out": 0.4}
    row |= {"alignment_two_tower": 0.2, "count_captioned": 29}
    settings = {"samples": {"data": "made & kept"}, "train": None}
    html = render_generation(Result(settings=settings, rows=[row], per_image=per_image))
    balance = Balance()
    balance.feed(html)
    assert balance.open == [] and "held &lt;out&gt;" in html and "made &amp; kept" in html
    assert not re.search(r"<script|<link|src=|url\(|https?://", html)
    scores, copies, captions, *_ = html.split("<h2>")[1:]
    first, beside, *_ = scores.split("Fréchet distance")[1:]
    assert "120.5" in first and "80.25" not in first, "that floor is of fewer pictures"
    assert re.search(r"as many as the floor.*140.5.*80.25", beside) and re.search(
        r"Kernel.*0.5000.*0.1250", scores
    )
    assert copies.index("train-29") < copies.index("train-28") and "train-9<" not in copies, "the nearest 20"
    assert captions.index("sample-0<") < captions.index("sample-1<") and "sample-3<" not in captions
    bare = render_generation(Result(settings={}, rows=[{"split": "s", "count": 30, "fd_x": 1.0}]))
    assert "Nearest training" not in bare and "fit their captions" not in bare and "left out" not in bare
    told = {"reference": {"data": "r.npz", "left_out": "kernel distance <and more>"}}
    bare = render_generation(Result(settings=told, rows=[{"split": "s", "count": 30, "fd_x": 1.0}]))
    assert "holds mean and covariance only; left out: kernel distance &lt;and more&gt;." in bare
    with pytest.raises(ValueError, match="without a budget"):
        render_generation(Result(settings={}, rows=rows("a")[:1]))
