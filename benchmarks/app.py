"""Is the page of ``textok app`` quick, small and free of errors with ten visitors at once?

    python benchmarks/app.py

The page runs in a process of its own; chromium, on the same cores, uses it as people would. Alone: seconds from an
upload to the first reconstruction, and from a key on the slider to the new one. Ten visitors, each in a context of
its own: in every round each starts one action, then all are waited for; resident memory of the page's process,
latencies, and errors: sentences in the page, failed requests, failed scripts. Bars: 1 s, 0.5 s, 1.5 GB, no error in
500 actions.
"""

import argparse
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeout

from textok.app.studio import packaged_pictures
from textok.training.run_folder import environment

OUT = Path(__file__).resolve().parent / "results" / "app.json"
FRESH = ".facts:not([data-old])"
AGE = "document.querySelectorAll('.facts').forEach(one => one.setAttribute('data-old', ''))"


def main() -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--actions", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=10, help="of what is measured alone")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with serving() as (process, address), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        alone = measure_alone(browser, address, repeats=options.repeats)
        crowd = measure_crowd(browser, address, process, visitors=options.visitors, actions=options.actions)
        browser.close()
    bars = {
        "first reconstruction under 1 s": alone["first"]["median"] < 1,
        "slider under 0.5 s": alone["slider"]["median"] < 0.5,
        "memory under 1.5 GB": crowd["peak_memory_gb"] < 1.5,
        "no error": not crowd["errors"],
    }
    settings = {
        "command": " ".join(["python", *sys.argv]),
        "visitors": options.visitors,
        "actions": options.actions,
    }
    record = {"settings": settings, "made_by": environment(), "alone": alone, "crowd": crowd, "bars": bars}
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps({"alone": alone, "crowd": crowd, "bars": bars}, indent=1))


@contextmanager
def serving() -> Iterator[tuple[psutil.Process, str]]:
    """The page in a process of its own: the process and the address."""
    command = [sys.executable, "-m", "textok.cli", "app", "--port", "0"]
    with (
        tempfile.NamedTemporaryFile("r") as log,
        subprocess.Popen(command, stderr=open(log.name, "w")) as process,
    ):
        try:
            yield psutil.Process(process.pid), address_in(log)
        finally:
            process.terminate()
            log.seek(0)
            print(log.read(), file=sys.stderr)


def address_in(log: IO[str]) -> str:
    """The address of the page, once the log has it."""
    while True:
        log.seek(0)
        if addresses := [word for word in log.read().split() if word.startswith("http://")]:
            return addresses[0]
        time.sleep(0.1)


def measure_alone(browser: Browser, address: str, *, repeats: int) -> dict[str, Any]:
    """Seconds to the first reconstruction of a new visitor, and of the slider."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(packaged_pictures()[0][0])).resize((1024, 1024)).save(stream, "png")
    file: Any = {"name": "picture.png", "mimeType": "image/png", "buffer": stream.getvalue()}
    first, slider = list[float](), list[float]()
    for _ in range(repeats + 1):
        page = enter(browser, address)
        chooser = page.locator("input[type=file][accept*=image]").first
        first.append(seconds(page, lambda chooser=chooser: chooser.set_input_files(file)))
        slider += [
            seconds(page, lambda key=key, page=page: slide(page, key)) for key in ("ArrowRight", "ArrowLeft")
        ]
        page.context.close()
    return {"first": spread(first[1:]), "slider": spread(slider[2:])}  # the very first loads the text encoder


def measure_crowd(
    browser: Browser, address: str, process: psutil.Process, *, visitors: int, actions: int
) -> dict[str, Any]:
    """Rounds of one action of every visitor; memory, latencies and errors."""
    pages = [enter(browser, address) for _ in range(visitors)]
    errors = list[str]()
    for page in pages:
        page.on(
            "response", lambda one: errors.append(f"{one.status} {one.url}") if one.status >= 400 else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        seconds(page, page.get_by_role("button", name="butterfly").click)
    kinds = [
        lambda page: slide(page, "ArrowRight"),
        lambda page: page.get_by_role("button", name="Roll the dice").click(),
        lambda page: slide(page, "ArrowLeft"),
        lambda page: page.get_by_role("button", name="Describe it").click(),
        lambda page: page.get_by_role("button", name="red panda").click(),
    ]
    waits, memory = list[float](), [process.memory_info().rss]
    for number in range(-(-actions // visitors)):
        for place, page in enumerate(pages):
            page.evaluate(AGE)
            kinds[(number + place) % len(kinds)](page)
        start = time.perf_counter()
        for page in pages:
            with suppress(PageTimeout):
                page.locator(FRESH).first.wait_for()
            waits.append(time.perf_counter() - start)
            errors += [text for text in page.locator(".notice").all_inner_texts() if text.strip()]
            errors += [] if page.locator(FRESH).count() else ["nothing new in the page"]
        memory.append(process.memory_info().rss)
    return {
        "actions": len(waits),
        "errors": errors,
        "seconds_until_all_see_it": spread(waits),
        "memory_gb": [round(one / 1e9, 3) for one in memory[:: max(1, len(memory) // 10)]],
        "peak_memory_gb": max(memory) / 1e9,
    }


def enter(browser: Browser, address: str) -> Page:
    """The page of a new visitor."""
    page = browser.new_context().new_page()
    page.goto(address)
    page.get_by_label("Its caption").wait_for()
    return page


def slide(page: Page, key: str) -> None:
    """One step of the slider, by the keyboard."""
    page.get_by_role("slider").first.press(key)


def seconds(page: Page, action: Callable[[], object]) -> float:
    """From an action to the new reconstruction in the page."""
    page.evaluate(AGE)
    start = time.perf_counter()
    action()
    page.locator(FRESH).first.wait_for()
    return time.perf_counter() - start


def spread(values: list[float]) -> dict[str, float]:
    """Median, the ninth tenth, and the longest."""
    tenth = statistics.quantiles(values, n=10)[-1] if len(values) > 1 else values[0]
    return {"median": statistics.median(values), "p90": tenth, "longest": max(values), "count": len(values)}


if __name__ == "__main__":
    main()
