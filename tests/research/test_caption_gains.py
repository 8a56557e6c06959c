"""What is told of the gain over seeds, and when none is told."""

import pytest

from research.captions.arms import study_arms
from research.captions.gains import gains, interval_rows, with_kept
from research.captions.scored import AGREEMENT, CLASS_POSTERIOR, TWO_TOWER, Scored, metrics_of
from textok.evaluation.results import Result
from textok.recipes.tokenizers import icons_64

ARMS = {arm.name: arm for arm in study_arms(icons_64(), seeds=(0, 1))}


def scored(
    name: str, values: dict[int, float], *, metric: str = "psnr", split: str = "test-drawing"
) -> Scored:
    captions = "none" if name.startswith("none") else "right"
    where = {"split": split, "captions": captions, "count": 100}
    rows = [where | {"budget": k, metric: value} for k, value in values.items()]
    pictures = [row | {"key": str(i), metric: row[metric] + i} for row in rows for i in range(4)]
    return Scored(arm=ARMS[name], result=Result(settings={}, rows=rows, per_image=pictures))


def groups(**curves: dict[int, float]) -> dict[str, list[Scored]]:
    made = [scored(name.replace("_", "-"), values) for name, values in curves.items()]
    return {label: [s for s in made if s.arm.label == label] for label in ("both", "none")}


def test_gains_and_factors_are_told_with_their_spread_over_seeds() -> None:
    text = gains(
        groups(
            both_seed0={2: 11.0, 4: 22.0},
            none_seed0={2: 10.0, 4: 20.0},
            both_seed1={2: 10.0, 4: 20.0},
            none_seed1={2: 10.0, 4: 20.0},
        )
    )
    assert "| test-drawing, psnr | +5.0 ± 7.1 % |" in text, "10 % and none"
    assert "| test-drawing, psnr | 1.04 (1.00 to 1.07) | > 1.00 (1.00 to > 1.00) |" in text
    assert "over 2 seeds" in text


def test_a_single_seed_has_no_spread() -> None:
    text = gains(groups(both_seed0={2: 11.0, 4: 22.0}, none_seed0={2: 10.0, 4: 20.0}))
    assert "| test-drawing, psnr | +10.0 % |" in text and "| 1.07 | > 1.00 |" in text


def test_seeds_without_a_partner_are_left_out() -> None:
    assert gains(groups(both_seed0={2: 11.0}, none_seed1={2: 10.0})) == ""


def test_no_gain_is_told_where_retrieval_is_near_chance() -> None:
    def table(least: float, metric: str = TWO_TOWER) -> str:
        made = {
            "both": [scored("both-seed0", {2: 0.2, 4: 0.2}, metric=metric)],
            "none": [scored("none-seed0", {2: least, 4: least}, metric=metric)],
        }
        return gains(made)

    assert f"| test-drawing, {TWO_TOWER} | not told |" in table(0.05)
    assert f"| test-drawing, {TWO_TOWER} | +100.0 % |" in table(0.1)
    assert f"| test-drawing, {AGREEMENT} | not told |" in table(0.02, AGREEMENT)


def test_photographs_are_judged_by_the_classifier() -> None:
    assert TWO_TOWER in metrics_of("test-drawing") and CLASS_POSTERIOR not in metrics_of("test-drawing")
    assert CLASS_POSTERIOR in metrics_of("photos") and TWO_TOWER not in metrics_of("photos")


def test_intervals_need_single_pictures_and_keep_what_a_record_has() -> None:
    both, none = scored("both-seed0", {2: 11.0}), scored("none-seed0", {2: 10.0})
    rows = interval_rows([both, none])
    assert rows == [
        {"seed": 0, "split": "test-drawing", "metric": "psnr", "budget": 2}
        | {"difference": pytest.approx(1.0), "low": pytest.approx(1.0), "high": pytest.approx(1.0)}
    ]
    bare = Scored(arm=none.arm, result=Result(settings={}, rows=none.result.rows))
    assert interval_rows([both, bare]) == []
    kept = [{"seed": 0, "low": -1.0}, {"seed": 1, "low": -2.0}]
    assert with_kept(rows, kept) == [*rows, kept[1]], "new ones replace those of their seed"
