"""The example that captions by Ray's vLLM stage: its configuration, what goes into the stages, and what is written."""

import base64
import importlib.util
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from textok.captioning import CaptionConfig, load_prompt
from textok.captioning.journal import CAPTIONS, REJECTED, Journal, read_rows
from textok.data import DataConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own classes
EXAMPLE = Path(__file__).parents[2] / "examples/caption_by_ray_vllm.py"
CONFIG = CaptionConfig(writer="openai", model="seeing", prompt="short", asks=2, max_tokens=50, side=40)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a Ray that is never started."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    spec = importlib.util.spec_from_file_location("caption_by_ray_vllm", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("ray.init", lambda **_: None)
    return module


@pytest.fixture
def question(example: ModuleType, tmp_path: Path) -> Any:
    (tmp_path / "set").mkdir()
    Image.new("RGB", (80, 60), "red").save(tmp_path / "set" / "a.png")
    data = DataConfig(source=str(tmp_path / "set"))
    return example.Question(data=data, config=CONFIG, prompt=load_prompt("short"), ask=1)


def test_picture_and_prompt_go_in_as_the_stages_expect_them(
    example: ModuleType, question: Any, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    config = CaptionConfig(writer="openai", model=str(tmp_path / "model"), prompt="short")
    local = example.Question(data=question.data, config=config, prompt=question.prompt, ask=1)
    stages = example.processor(local, engines=3)
    assert stages.list_stage_names() == ["PrepareMultimodalStage", "ChatTemplateStage", "vLLMEngineStage"]
    assert stages.config.get_concurrency() == {"min_size": 1, "max_size": 3}
    row = stages.preprocess({"place": 0})[stages.DATA_COLUMN]
    needed = {name for stage in stages.stages.values() for name in stage.get_required_input_keys()}
    assert needed == {"messages", "sampling_params"} <= row.keys()
    ((image, text),) = [message["content"] for message in row["messages"]]
    assert text == {"type": "text", "text": load_prompt("short").render()}
    head, _, data = image["image_url"]["url"].partition(",")
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert head == "data:image/jpeg;base64" and sent.size == (80, 60)
    assert row["sampling_params"] == {"temperature": 0.4, "max_tokens": 250, "seed": 1}
    answered = row | dict.fromkeys(example.ANSWER[3:], 7)
    assert set(stages.postprocess({stages.DATA_COLUMN: answered})) == {*example.ANSWER, example.ERROR}


def test_answers_are_judged_and_written_as_textok_caption_writes_them(
    example: ModuleType, question: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = question({"place": 0}) | {"place": 0, "num_input_tokens": 90, "num_generated_tokens": 6}
    good = row | {"generated_text": "The image shows a red square on the wall."}
    cut = row | {"generated_text": "A red square and", "num_generated_tokens": 50}

    class Rows:
        def __init__(self, rows: list[dict[str, Any]]) -> None:
            self.iter_rows = lambda: iter(rows)

    monkeypatch.setattr("ray.data.from_items", lambda items: items)
    for ask, answer in ((1, cut), (2, cut), (1, row | {example.ERROR: "out of memory"}), (1, good)):
        asked = example.Question(data=question.data, config=CONFIG, prompt=question.prompt, ask=ask)
        monkeypatch.setattr(example, "processor", lambda *_, a=answer, **__: lambda _: Rows([a]))
        folder = tmp_path / f"out-{answer is good}"
        with Journal(folder, CONFIG, model="seeing", prompt=question.prompt) as journal:
            again = example.ask(asked, [0], journal, engines=1)
        assert again == ([0] if answer is not good and ask == 1 else [])
    (captioned,) = read_rows(tmp_path / "out-True" / CAPTIONS)
    assert captioned["caption"] == "A red square on the wall." and captioned["changes"] == ["preamble"]
    assert (captioned["key"], captioned["tokens_in"], captioned["asks"]) == ("a", 90, 1)
    (rejected,) = read_rows(tmp_path / "out-False" / REJECTED)
    assert rejected["reason"] == "cut off" and rejected["asks"] == 2
