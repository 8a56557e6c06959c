"""What an installation gets: tested versions, no torchvision, and the files that travel in the wheel."""

import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_pins() -> dict[str, str]:
    """Package -> the one version that constraints.txt allows."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def declared() -> list[Requirement]:
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for names in lists for line in names]


def test_every_dependency_has_a_tested_version_within_its_range() -> None:
    pins = read_pins()
    for requirement in declared():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_nothing_brings_torchvision() -> None:
    pins = read_pins()
    assert "torchvision" not in pins
    extras = PROJECT["project"]["optional-dependencies"]
    # An extra that make does not install may bring what it likes to those who ask for it.
    asked = {Requirement(line).name for extra, lines in extras.items() if extra != "dev" for line in lines}
    for name in pins.keys() - {canonicalize_name(name) for name in asked}:
        needed = [Requirement(line) for line in requires(name) or []]
        mandatory = [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
        assert "torchvision" not in mandatory, name


def test_what_the_wheel_carries_is_in_the_repository() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert {"weights", "datasets/demo-pictures", "datasets/licences"} <= included.keys()
    for path, target in included.items():
        assert (ROOT / path).exists(), path
        assert target.startswith("textok/_shipped")
