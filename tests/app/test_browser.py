"""The page of ``textok app`` in Debian's chromium, used as a person would, with the shipped weights.

A machine without chromium skips these tests, and says so; one with it runs them all.
"""

import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from PIL import Image

from textok.app.serve import opened
from textok.app.studio import Studio, packaged_pictures
from textok.evaluation import pages
from textok.pipeline.generation import Pipeline

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),  # Gradio's own
]
LOOK = (Path(pages.__file__).parent / "look.css").read_text()
PHONE, DESK = {"width": 380, "height": 800}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the page; when it closes, nothing of it is left on the disk."""
    with opened(Studio(Pipeline.from_pretrained("icons-128"), source="icons-128"), port=0) as page:
        yield page.local_url
        folder = Path(page.GRADIO_CACHE)
    assert not folder.exists()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened_browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened_browser
        opened_browser.close()


@pytest.fixture
def page(browser, site) -> Iterator[object]:
    """The page as a new visitor has it, of which no request may leave this machine and no script may fail."""
    context = browser.new_context(viewport=DESK)
    context.set_default_timeout(15_000)
    tab = context.new_page()
    outside, failures, refused = [], [], []
    tab.on(
        "request",
        lambda one: None if one.url.startswith((site, "data:", "blob:")) else outside.append(one.url),
    )
    tab.on("response", lambda one: refused.append(one.url) if one.status >= 400 else None)
    tab.on("pageerror", lambda error: failures.append(str(error)))
    tab.goto(site)
    tab.get_by_label("Its caption").wait_for()
    assert not refused
    yield tab
    context.close()
    assert not outside and not failures


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pictures") / "butterfly.png"
    Image.open(io.BytesIO(packaged_pictures()[0][0])).save(path)
    return str(path)


def upload(page, path) -> None:
    page.locator("input[type=file][accept*=image]").first.set_input_files(path)


def violations(page) -> list[str]:
    """The names of serious findings of axe-core."""
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(page).response["violations"]
    serious = [one for one in results if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html']}" for one in serious for node in one["nodes"]]


def colours(name: str) -> list[str]:
    """A colour of the report and the site, in light and in dark, as a browser names it."""
    found = re.findall(rf"--{name}: #(\w\w)(\w\w)(\w\w)", LOOK)
    return [f"rgb({', '.join(str(int(part, 16)) for part in parts)})" for parts in found]


def style(page, selector: str, name: str) -> str:
    return page.locator(selector).first.evaluate(f"one => getComputedStyle(one).{name}")


def sentence(page, words: str) -> None:
    page.get_by_text(words).first.wait_for()


def test_a_picture_goes_to_tokens_and_back(page, picture, tmp_path) -> None:
    upload(page, picture)
    page.get_by_text("Without a caption:").wait_for()
    page.get_by_label("Its caption").fill("a flat vector emoji of a butterfly")
    page.keyboard.press("Enter")
    page.get_by_text("With its caption:").wait_for()
    page.get_by_label("Another caption").fill("a photo of a blue car")
    page.keyboard.press("Enter")
    page.get_by_text("With the other caption:").wait_for()
    page.get_by_role("slider").first.press("ArrowRight")  # by the keyboard
    sentence(page, "9 tokens, 144 bytes")
    assert page.locator(".figures img").count() == 3
    assert all(one.get_attribute("alt") for one in page.locator(".figures img").all())
    assert not violations(page)
    with page.expect_download() as download:
        page.get_by_text("Download picture.ttk").click()
    download.value.save_as(tmp_path / "picture.ttk")
    page.locator("input[type=file][accept*=ttk]").set_input_files(tmp_path / "picture.ttk")
    page.wait_for_function(
        "document.querySelectorAll('.figures img').length == 2"
    )  # no original, no other caption
    assert page.get_by_label("Its caption").input_value() == "a flat vector emoji of a butterfly"
    page.get_by_role("tab", name="Budget").click()
    page.get_by_role("button", name="Draw the curve").click()
    sentence(page, "picture: got tokens alone")


def test_a_point_of_the_curve_shows_its_picture(page) -> None:
    page.get_by_role("button", name="butterfly").click()
    page.get_by_text("With its caption:").wait_for()
    page.get_by_role("tab", name="Budget").click()
    page.get_by_role("button", name="Draw the curve").click()
    chart = page.locator("svg.chart")
    chart.wait_for()
    assert style(page, ".chart .right polyline", "stroke") == colours("right")[0]
    last = page.locator(".buttons button[data-choice='32']")
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * 0.7, "y": box["height"] / 2})
    page.locator("img[alt^='With its caption: what 32 tokens']").wait_for()
    assert last.get_attribute("aria-pressed") == "true"
    page.locator(".buttons button[data-choice='1']").press("Enter")
    page.locator("img[alt^='With its caption: what 1 token ']").wait_for()
    assert not violations(page)


def test_words_become_pictures_and_a_seed_the_same_ones(page) -> None:
    page.get_by_role("tab", name="Words").click()
    page.get_by_role("button", name="Draw", exact=True).click()
    sentence(page, "prompt: got an empty one")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("number input for Pictures").fill("1")
    page.get_by_label("number input for Steps").fill("4")
    page.get_by_text("a green cat wearing a crown").click()
    drawn = []
    for _ in range(2):
        page.get_by_role("button", name="Draw", exact=True).click()
        page.locator("img[alt='a green cat wearing a crown (1)']").first.wait_for()
        drawn.append(page.locator("img[alt='a green cat wearing a crown (1)']").first.get_attribute("src"))
    assert drawn[0] == drawn[1]  # a file is named by what is in it
    assert not violations(page)


def test_dice_and_descriptions_write_a_caption(page) -> None:
    page.get_by_role("button", name="Describe it").click()
    sentence(page, "picture: got none")
    page.get_by_role("button", name="Roll the dice").click()
    page.get_by_text("With its caption:").wait_for()
    scene = page.get_by_label("Its caption").input_value()
    page.get_by_role("button", name="Describe it").click()
    page.wait_for_function("words => document.querySelector('textarea').value != words", arg=scene)


def test_a_wrong_file_and_a_giant_one_get_a_sentence(page, tmp_path) -> None:
    upload(page, {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
    sentence(page, "unreadable picture")
    (tmp_path / "giant.png").write_bytes(bytes(21 << 20))
    upload(page, tmp_path / "giant.png")
    sentence(page, "exceed the maximum allowed size")
    page.locator("input[type=file][accept*=ttk]").set_input_files(
        {"name": "x.ttk", "mimeType": "application/octet-stream", "buffer": b"nothing"}
    )
    sentence(page, "x.ttk:")
    assert "textok-app-" not in page.content().split("x.ttk:")[0][-200:]


def test_two_tabs_do_not_see_each_other_and_leave_nothing(browser, site, page, picture) -> None:
    upload(page, picture)
    page.get_by_text("Without a caption:").wait_for()
    other = browser.new_context(viewport=PHONE, color_scheme="dark")
    tab = other.new_page()
    tab.goto(site)
    tab.get_by_role("button", name="red panda").click()
    tab.get_by_text("With its caption:").wait_for()
    assert page.get_by_text("With its caption:").count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not violations(tab)
    papers = [style(one, "body", "backgroundColor") for one in (page, tab)]
    assert papers == colours("paper") and style(tab, "h1", "color") == colours("ink")[1]
    address = tab.locator("img[src*='/gradio_api/file=']").first.get_attribute("src")
    status = "url => fetch(url).then(answer => answer.status)"
    assert (tab.evaluate(status, address), page.evaluate(status, address)) == (200, 403)
    with pytest.raises(OSError, match="403"):
        urlopen(Request(address))
    file = Path(address.split("/gradio_api/file=")[1])
    assert file.exists()
    other.close()
    deadline = time.monotonic() + 20
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not file.exists()
