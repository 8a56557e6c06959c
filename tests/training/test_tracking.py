"""Services that follow a run get its settings once, and every line of its log."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, register_tracker_class

from textok.training.tokenizer.config import TokenizerRun
from textok.training.tokenizer.train import train_tokenizer


class Service(GeneralTracker):
    """A service of somebody else's, registered with accelerate as its documentation says."""

    name = "service"
    requires_logging_directory = False
    heard: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, run_name: str, **_: Any) -> None:
        super().__init__()
        self.heard.append(("begin", run_name))

    @property
    def tracker(self) -> list[tuple[str, Any]]:
        return self.heard

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.heard.append(("settings", values))

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        self.heard.append(("log", {"step": step, **values}))

    def finish(self) -> None:
        self.heard.append(("finish", None))


@pytest.fixture
def service() -> Iterator[type[Service]]:
    register_tracker_class(Service)
    Service.heard.clear()
    yield Service
    del LOGGER_TYPE_TO_CLASS["service"]


@pytest.mark.slow
def test_a_service_hears_what_the_folder_holds(
    service: type[Service], tiny: TokenizerRun, tmp_path: Path, read_metrics: Callable
) -> None:
    run = replace(tiny, trackers=("service",), steps=6)
    train_tokenizer(run, tmp_path / "run", stop_at=3)
    train_tokenizer(replace(run, trackers=()), tmp_path / "run")  # a service may be left, and the run goes on
    assert [kind for kind, _ in service.heard] == ["begin", "settings", "log", "finish"]
    settings = service.heard[1][1]
    assert (
        service.heard[0][1] == "tiny"
        and settings["model.dim"] == 32
        and settings["trackers"] == "['service']"
    )
    (heard,) = [values for kind, values in service.heard if kind == "log"]
    assert heard.pop("images_per_second") > 0
    assert [heard] == [line for line in read_metrics(tmp_path / "run") if line["step"] <= 3]


@pytest.mark.parametrize(
    ("name", "error"),
    [("wandb", r"trackers: got 'wandb', which is not installed; pip install wandb"),
     ("tensorboard", "trackers: got 'tensorboard', expected some of .*always written"),
     ("wand", "trackers: got 'wand', expected some of aim, .*wandb")],
)  # fmt: skip
def test_a_service_that_cannot_follow_is_named_before_any_work(
    name: str, error: str, tiny: TokenizerRun, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=error):
        train_tokenizer(replace(tiny, trackers=(name,)), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
