"""The report: self-contained, well-formed, and true to the pictures it shows."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from textok.evaluation import demo
from textok.evaluation.captioned import CONDITIONS, CaptionedPictures
from textok.evaluation.pages.curves import curve_chart, value_ticks
from textok.evaluation.pages.report import Report, Section, render_report, table_rows
from textok.objectives.quality import psnr_per_image
from textok.pipeline.image_tokenizer import ImageTokenizer
from tiny import tiny_model

VOID = {"meta", "img", "br", "line", "circle", "rect", "path", "polyline"}


class Page(HTMLParser):
    """Checks that tags close in order, and keeps pictures, links and the words of every cell."""

    def __init__(self, html):
        super().__init__()
        self.open, self.images, self.links, self.cells = [], [], [], []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [
            attrs[name] for name in ("src", "href", "srcset", "xlink:href", "data", "action") if name in attrs
        ]
        if tag == "img":
            assert attrs.get("alt")
            self.images.append(attrs["src"])
        if tag == "td":
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


def decoded(uri):
    assert uri.startswith("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


@pytest.fixture
def section(network):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (8, 3, 4, 4), generator=generator, dtype=torch.uint8)
    images = coarse.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    captions = ("a <b>bold</b> & “odd” caption", *(f"caption {i}" for i in range(7)))
    pictures = CaptionedPictures(
        split="test-drawing", images=images, captions=captions, keys=tuple(str(i) for i in range(8))
    )
    outputs = {
        (c, k): images.roll((8 * i, 8 * j), dims=(2, 3))  # far enough apart to be told in lossy pictures
        for i, c in enumerate(CONDITIONS)
        for j, k in enumerate((2, 8, 32), start=1)
    }
    scores = demo.score(pictures, outputs, network)
    return Section(title="New drawings", note="A note.", pictures=pictures, outputs=outputs, scores=scores)


@pytest.fixture
def report(section):
    return Report(
        model_id="toy-12345678",
        perceptual="perceptual_tiny",
        sections=[section],
        token_bytes={2: 32, 8: 128, 32: 512},
        file_bytes={"PNG": 4000.0, "WebP, quality 75": 1500.0},
        caption_bytes=60.0,
        speed={"encode": 200.0, "decode": 300.0},
        facts={"Model": "toy <script>alert(1)</script>"},
        details='{"steps": 6000}',
    )


def test_page_is_well_formed_self_contained_and_escaped(report):
    html = render_report(report)
    page = Page(html)
    assert all(link.startswith("data:") for link in page.links)
    assert not re.search(r"url\(|@import|<link|<script|<iframe|https?:", html)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp;" in html and "<b>bold" not in html


def kinds(html):
    """The sections of all pictures, after the few at the top and before what follows."""
    start = html.index('<section class="kind">')
    return html[start : html.index("<h2>Bytes per picture</h2>")].removesuffix("<section>\n")


def test_the_page_opens_with_pictures_then_curves_then_failures(report, section):
    html = render_report(report)
    order = [html.index(f"<h2>{title}") for title in ("See", "How good", "Where it fails", "New drawings")]
    assert order == sorted(order)
    assert html.count('<figure class="look">') == 2 and html.count("over bytes</figcaption>") == 1
    strips = re.findall(r'<figure class="look">.*?<figcaption>(.*?) <span>', html, re.DOTALL)
    psnr = section.scores["right", 32]["psnr"]
    names = [
        section.pictures.captions.index(text) if text in section.pictures.captions else 0 for text in strips
    ]
    assert psnr[names[1]] == min(psnr)


def test_webp_costs_more_bytes_for_better_pictures(section):
    points = demo.through_webp(section.pictures.images)
    assert len(points) > 2 and list(points) == sorted(points)
    assert points[max(points)] > points[min(points)]


def test_pictures_are_those_whose_scores_stand_under_them(report, section):
    page = Page(kinds(render_report(report)))
    per_picture = 1 + 9
    assert len(page.images) == 8 * per_picture
    cells = [cell for cell in page.cells if re.fullmatch(r"[\d.]+ dB[\d.]+", cell)]
    assert len(cells) == 8 * 9
    for place in range(8):
        original, *shown = (
            decoded(uri) for uri in page.images[place * per_picture : (place + 1) * per_picture]
        )
        assert torch.equal(original[0], section.pictures.images[place])
        order = [(c, k) for c in CONDITIONS for k in (2, 8, 32)]
        for image, cell, which in zip(shown, cells[place * 9 : (place + 1) * 9], order, strict=True):
            output = section.outputs[which][place][None]
            assert cell.startswith(f"{psnr_per_image(original, output).item():.1f} dB")
            closest = min(order, key=lambda c: -psnr_per_image(section.outputs[c][place][None], image).item())
            assert closest == which


def test_full_table_holds_the_means(report, section):
    rows = table_rows(report)
    assert [(r["captions"], r["budget"]) for r in rows] == [(c, k) for c in CONDITIONS for k in (2, 8, 32)]
    wrong = next(r for r in rows if (r["captions"], r["budget"]) == ("wrong", 8))
    expected = psnr_per_image(section.pictures.images, section.outputs["wrong", 8]).mean().item()
    assert wrong["psnr"] == pytest.approx(expected)
    assert f"{expected:.4f}" in Page(render_report(report)).cells


def test_the_best_caption_of_each_budget_is_framed(report, section):
    html = render_report(report)
    assert html.count('<td class="best">') == 8 * 3
    first = re.search(r'<table class="matrix">.*?</table>', html, re.DOTALL)[0]
    rows = re.findall(r'<tr class="(\w+)">(.*?)</tr>', first)
    framed = {
        (c, k)
        for c, row in rows
        for k, cell in zip((2, 8, 32), row.split("<td")[1:], strict=True)
        if "best" in cell
    }
    psnr = {cell: values["psnr"][0] for cell, values in section.scores.items()}
    assert framed == {(max(CONDITIONS, key=lambda c: psnr[c, k]), k) for k in (2, 8, 32)}


def test_a_report_of_a_model_without_captions_frames_nothing(report, section):
    only = {cell: value for cell, value in section.outputs.items() if cell[0] == "none"}
    scores = {cell: value for cell, value in section.scores.items() if cell[0] == "none"}
    alone = Section(title="t", note="", pictures=section.pictures, outputs=only, scores=scores)
    html = render_report(Report(**{**vars(report), "sections": [alone]}))
    Page(html)
    assert 'class="best"' not in html and "Wrong caption:" not in html


@pytest.mark.parametrize(
    "values", [[0.311, 0.482], [15.9, 20.7], [-3.0, 120.0], [5.0, 5.0], [0.0011, 0.0012]]
)
def test_ticks_are_few_even_and_hold_the_values(values):
    ticks = value_ticks(values)
    assert ticks[0] <= min(values) and ticks[-1] >= max(values) and 2 <= len(ticks) <= 8
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_chart_places_better_values_higher_and_names_lines_apart():
    lines = {"right": {2: 17.0, 32: 20.0}, "none": {2: 16.0, 32: 19.95}, "wrong": {2: 14.0, 32: 19.94}}
    svg = curve_chart(lines, title="PSNR", unit="dB")
    Page(svg)
    first = {c: float(re.search(rf'<g class="{c}"><polyline points="[\d.]+,([\d.]+)', svg)[1]) for c in lines}
    assert first["right"] < first["none"] < first["wrong"]
    names = sorted(float(y) for y in re.findall(r'class="name \w+" x="\d+" y="([\d.]+)"', svg))
    assert len(names) == 3 and min(np.diff(names)) >= 15.9 and names[-1] < 280


@pytest.mark.slow
def test_demo_of_a_small_model_on_the_shipped_pictures(tmp_path, monkeypatch, network):
    monkeypatch.setattr(demo, "EffNetLite2", lambda: network)
    monkeypatch.setattr(demo, "_TIMED_SECONDS", 0.0)
    tiny_model(num_latents=8).save_pretrained(tmp_path / "model", name="toy", made_by={"run": {"steps": 3}})
    kinds = demo.load_pictures(None, split=None, limit=24, side=32, out=tmp_path / "out")
    path = demo.write_demo(tmp_path / "out", ImageTokenizer.from_pretrained(tmp_path / "model"), kinds)
    page = Page(path.read_text())
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert len(page.images) == 32 * (1 + 3 * 3) + 2 * 3 * (1 + 3)  # ... and two strips of each kind
    assert "&#34;steps&#34;: 3" in path.read_text() and all(link.startswith("data:") for link in page.links)
