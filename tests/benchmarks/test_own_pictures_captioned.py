"""Two commands of README on pictures without words: the recorded run, rehearsed."""

import json
from pathlib import Path

import pytest

import own_pictures_captioned as benchmark


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_rehearsal_captions_and_encodes_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [command.split()[1] for command in benchmark.typed()] == ["caption", "encode"]
    monkeypatch.setattr(
        "sys.argv", ["own_pictures_captioned.py", "--count", "3", "--out", str(tmp_path / "x.json")]
    )
    benchmark.main()
    record = json.loads((tmp_path / "x.json").read_text())
    captioned, encoded = record["rows"]
    assert captioned["captions"] == encoded["pictures"] == record["settings"]["pictures"] == 3
    assert captioned["words"] > 3 and encoded["bytes_per_picture"] > 10
