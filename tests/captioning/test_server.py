"""The writer for servers, against one that misbehaves and against a real one."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KEY = "sk-secret-of-the-test"
OPTIONS = ("--writer", "openai", "--model", "tiny")


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keys(path: Path) -> list[str]:
    return [row["key"] for row in rows(path)]


@pytest.mark.parametrize(
    "faults", ["429", "429-after,429-date", "500,503", "cut,half", "json,html,null", "empty", "late"]
)
@pytest.mark.slow
def test_each_picture_gets_its_caption_whatever_the_server_does(faults, pictures, serve, caption, tmp_path):
    log = tmp_path / "log"
    url = serve("--faults", faults, "--share", "0.4", "--log", str(log))
    code, out, err = caption(
        pictures(24), *OPTIONS, "--base-url", url, "--retries", "20", "--concurrency", "8"
    )
    assert code == 0, err
    assert sorted(keys(tmp_path / "out" / "captions.jsonl")) == [f"{number:04d}" for number in range(24)]
    assert max(Counter(log.read_text().splitlines()).values()) == 1
    assert "captions: 24" in out


@pytest.mark.slow
def test_requests_that_hang_end_at_the_time_limit_and_are_sent_again(pictures, serve, caption, tmp_path):
    url = serve("--faults", "hang", "--share", "0.3")
    code, _, err = caption(pictures(12), *OPTIONS, "--base-url", url, "--timeout", "0.5", "--retries", "20")
    assert code == 0, err
    assert len(keys(tmp_path / "out" / "captions.jsonl")) == 12


def test_a_megabyte_of_text_is_rejected_and_not_kept(pictures, serve, caption, tmp_path):
    code, _, _ = caption(pictures(3), *OPTIONS, "--base-url", serve("--faults", "long", "--share", "1"))
    rejected = tmp_path / "out" / "rejected.jsonl"
    assert code == 0
    assert {row["reason"] for row in rows(rejected)} == {"too long"}
    assert rejected.stat().st_size < 10_000


def test_what_is_no_caption_is_asked_again_and_rejected_in_the_end(pictures, serve, caption, tmp_path):
    words = "refusal,cut off,repeats,blank,german,leak"
    url = serve("--words", words, "--share", "0.8")
    code, out, _ = caption(pictures(40), *OPTIONS, "--base-url", url, "--json")
    accepted, rejected = rows(tmp_path / "out" / "captions.jsonl"), rows(tmp_path / "out" / "rejected.jsonl")
    assert code == 0
    assert len({row["key"] for row in accepted + rejected}) == len(accepted + rejected) == 40
    assert {row["asks"] for row in rejected} == {3}
    assert {row["reason"] for row in rejected} <= {
        "refusal", "cut off", "repeats", "empty", "wrong language", "leaked prompt",
    }  # fmt: skip
    assert any(row["asks"] > 1 and row["tokens_in"] == 84 * row["asks"] for row in accepted)
    assert json.loads(out)["captions"] == len(accepted)


def test_preambles_are_mended_and_said_so(pictures, serve, caption, tmp_path):
    caption(pictures(4), *OPTIONS, "--base-url", serve("--words", "preamble", "--share", "1"))
    accepted = rows(tmp_path / "out" / "captions.jsonl")
    assert all(
        row["caption"].startswith("A red square") and row["changes"] == ["preamble"] for row in accepted
    )
    assert len(accepted) == 4


def test_rejected_pictures_are_asked_about_again_only_when_that_is_wanted(pictures, serve, caption, tmp_path):
    folder, rejected = pictures(5), tmp_path / "out" / "rejected.jsonl"
    caption(folder, *OPTIONS, "--base-url", serve("--words", "refusal", "--share", "1"))
    assert len(keys(rejected)) == 5
    good = serve()
    caption(folder, *OPTIONS, "--base-url", good)
    assert len(keys(rejected)) == 5
    caption(folder, *OPTIONS, "--base-url", good, "--ask-rejected")
    assert keys(rejected) == []
    assert len(keys(tmp_path / "out" / "captions.jsonl")) == 5


def test_several_captions_per_picture_have_seeds_of_their_own(pictures, serve, caption, tmp_path):
    several = ("--captions-per-picture", "3", "--seed", "7", "--beside")
    caption(pictures(3), *OPTIONS, "--base-url", serve(), *several)
    accepted = rows(tmp_path / "out" / "captions.jsonl")
    assert Counter(row["key"] for row in accepted) == {"0000": 3, "0001": 3, "0002": 3}
    assert len({row["seed"] for row in accepted}) == 9
    assert {row["temperature"] for row in accepted} == {0.4}
    own = [row["caption"] for row in accepted if row["key"] == "0001"]
    assert (tmp_path / "pictures" / "0001.txt").read_text().splitlines() == own


def test_fewer_requests_are_sent_at_a_time_while_the_server_is_overloaded(serve):
    import asyncio

    from textok.captioning.writers.openai import Gate

    async def busiest() -> int:
        gate, active, most = Gate(8), 0, 0

        async def hold() -> None:
            nonlocal active, most
            async with gate:
                active += 1
                most = max(most, active)
                await asyncio.sleep(0.005)
                active -= 1

        gate.slow_down()
        await asyncio.gather(*(hold() for _ in range(24)))
        return most

    assert asyncio.run(busiest()) == 4


def test_a_server_that_asks_to_wait_is_left_alone_so_long(pictures, serve, caption, tmp_path):
    url = serve("--faults", "429-after", "--share", "0.5", "--after", "0.4")
    start = time.monotonic()
    code, _, err = caption(pictures(6), *OPTIONS, "--base-url", url, "--retries", "30", "--concurrency", "1")
    assert code == 0, err
    with urllib.request.urlopen(url.removesuffix("/v1") + "/facts") as facts:
        refused = json.load(facts)["requests"] - 8  # six pictures and two probes
    assert time.monotonic() - start >= 0.4 * refused


@pytest.mark.parametrize(
    ("server", "options", "key"),
    [
        (("--key", KEY), (), "TEXTOK_CAPTION_KEY"),
        ((), ("--model", "other"), "model"),
        (("--textual",), (), "model"),
        (("--blind",), (), "model"),
    ],
)
def test_a_server_that_cannot_do_it_is_named_in_one_line_before_any_work(
    server, options, key, pictures, serve, caption, tmp_path, monkeypatch
):
    monkeypatch.setenv("TEXTOK_CAPTION_KEY", "sk-wrong-key-of-the-test")
    code, _, err = caption(pictures(2), *OPTIONS, "--base-url", serve(*server), *options)
    assert code == 2
    [line] = [line for line in err.splitlines() if "error" in line]
    assert f"error: {key}" in line
    assert "sk-" not in err
    assert keys(tmp_path / "out" / "captions.jsonl") == []


def test_no_server_is_named_in_one_line(pictures, caption):
    code, _, err = caption(pictures(2), *OPTIONS, "--base-url", "http://127.0.0.1:9/v1")
    assert code == 2
    assert "error: base_url: got no answer from 127.0.0.1:9" in err


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a/v1", "http://"])
def test_an_address_that_is_none_is_refused(url, pictures, caption):
    code, _, err = caption(pictures(1), *OPTIONS, "--base-url", url)
    assert code == 2 and "base_url: got" in err


def test_a_server_that_dies_stops_the_run_and_the_rest_is_asked_later(pictures, serve, caption, tmp_path):
    folder = pictures(12)
    options = (
        *OPTIONS,
        "--base-url",
        serve("--faults", "500", "--share", "1"),
        "--retries",
        "0",
        "--no-probe",
    )
    code, _, err = caption(folder, *options, "--concurrency", "2")
    assert code == 2 and "base_url: got no answer" in err
    done = set(keys(tmp_path / "out" / "rejected.jsonl"))
    assert len(done) < 12
    assert caption(folder, *OPTIONS, "--base-url", serve())[0] == 0
    assert set(keys(tmp_path / "out" / "captions.jsonl")) == {f"{i:04d}" for i in range(12)} - done


def test_the_key_is_sent_and_is_in_no_file_and_no_line(pictures, serve, caption, tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTOK_CAPTION_KEY", KEY)
    code, out, err = caption(pictures(2), *OPTIONS, "--base-url", serve("--key", KEY))
    assert code == 0
    assert KEY not in out + err
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files and all(KEY.encode() not in path.read_bytes() for path in files)


def test_the_host_that_gets_the_pictures_is_named_once_without_a_password(pictures, serve, caption):
    url = serve().replace("http://", "http://user:pass-word@")
    _, _, err = caption(pictures(2), *OPTIONS, "--base-url", url)
    assert err.count("the pictures are sent to 127.0.0.1:") == 1
    assert "pass-word" not in err


def test_spending_stops_before_the_limit_and_goes_on_with_a_larger_one(pictures, serve, caption, tmp_path):
    folder, url = pictures(30), serve()
    prices = ("--price-in", "1000", "--price-out", "1600", "--concurrency", "2")  # 0.1 per caption
    code, _, err = caption(folder, *OPTIONS, "--base-url", url, *prices, "--max-cost", "1.05")
    spent = sum(row["cost"] for row in rows(tmp_path / "out" / "captions.jsonl"))
    assert code == 2 and "max_cost: got 1.05" in err
    assert 0.7 < spent <= 1.05
    assert caption(folder, *OPTIONS, "--base-url", url, *prices, "--max-cost", "9")[0] == 0


def test_the_rest_is_estimated_from_a_few_without_asking(pictures, serve, caption):
    folder, url = pictures(30), serve("--latency", "0.05")
    options = (*OPTIONS, "--base-url", url, "--price-in", "1000")
    assert caption(folder, *options, "--estimate")[0] == 2
    caption(folder, *options, "--limit", "6")
    code, out, _ = caption(folder, *options, "--estimate", "--json")
    rest = json.loads(out)
    assert code == 0
    assert (rest["captions"], rest["tokens_in"], rest["cost"]) == (24, 24 * 84, pytest.approx(24 * 0.084))


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_asks_about_no_finished_picture(pictures, serve, tmp_path):
    folder, log, out = pictures(160), tmp_path / "log", tmp_path / "out"
    url = serve("--latency", "0.05", "--faults", "500,cut", "--share", "0.1", "--log", str(log))
    command = [sys.executable, "-m", "textok.cli", "caption", str(folder), "--out", str(out), *OPTIONS,
               "--base-url", url, "--concurrency", "4", "--no-probe"]  # fmt: skip
    for after in (30, 90):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(keys_so_far(out)) < after:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = log.read_text().splitlines()
        recorded = {row["caption"].split()[6] for row in rows_so_far(out)}
        finished = Counter(line.split()[0] for line in before)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    counts = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert sorted(keys(out / "captions.jsonl")) == [f"{number:04d}" for number in range(160)]
    assert all(counts[name] == finished[name] for name in recorded)
    assert sum(counts.values()) <= 160 + 2 * 4  # only what was under way at a kill


def rows_so_far(out: Path) -> list[dict]:
    path = out / "captions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def keys_so_far(out: Path) -> list[str]:
    return [row["key"] for row in rows_so_far(out)]


@pytest.mark.slow
def test_an_interrupt_waits_for_the_answers_under_way(pictures, serve, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    url = serve("--latency", "0.1", "--log", str(log))
    command = [sys.executable, "-m", "textok.cli", "caption", str(pictures(400)), "--out", str(out), *OPTIONS,
               "--base-url", url, "--concurrency", "4"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(keys_so_far(out)) < 8:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert len(keys(out / "captions.jsonl")) == len(log.read_text().splitlines()) < 400
    assert (out / "captions.parquet").exists()


@pytest.mark.slow
def test_a_second_process_on_the_folder_is_refused(pictures, serve, caption, tmp_path):
    folder, url = pictures(200), serve("--latency", "0.2")
    command = [sys.executable, "-m", "textok.cli", "caption", str(folder), "--out", str(tmp_path / "out"), *OPTIONS,
               "--base-url", url, "--concurrency", "2"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ)
    while not keys_so_far(tmp_path / "out"):
        time.sleep(0.01)
    code, _, err = caption(folder, *OPTIONS, "--base-url", url)
    process.kill()
    process.wait()
    assert code == 2 and "another process" in err
