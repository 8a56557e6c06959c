"""What the recorded damage benchmark says: distances get worse with every strength, as a metric must."""

import json
from pathlib import Path

import pytest

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "metric_damage.json"
SEMANTIC = ("retrieval_", "alignment_")


def test_every_distance_is_monotone_in_the_strength_of_known_damage() -> None:
    checks = json.loads(RECORD.read_text())["checks"]
    broken = {line.split(": ")[1] for line in checks["not_monotone"]}
    assert all(name.startswith(SEMANTIC) for name in broken), broken


@pytest.mark.parametrize(
    "judge", ["test-drawing: alignment_two_tower", "photos-256: alignment_class_posterior"]
)
def test_the_judge_made_for_a_set_is_monotone_too(judge: str) -> None:
    checks = json.loads(RECORD.read_text())["checks"]
    assert not [line for line in checks["not_monotone"] if line.startswith(judge)]


def test_metrics_agree_with_the_references() -> None:
    errors = json.loads(RECORD.read_text())["checks"]["largest_relative_error"]
    assert len(errors) >= 5 and max(errors.values()) < 1e-6
