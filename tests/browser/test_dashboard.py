"""The dashboard beside a running stream: now, the last day, single streams, and the table of it."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from server.demo.command import CLIP
from server.observability.kept import KeptMinutes, Row
from tests.browser.conftest import ROOT, Server, shot, until

PAINTED = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
# What web.dev calls good is 0.1.
SHIFTS = """
  window.shifted = 0;
  window.movers = [];
  new PerformanceObserver((list) => {
    for (const each of list.getEntries()) {
      if (each.hadRecentInput) continue;
      window.shifted += each.value;
      for (const { node, previousRect: before, currentRect: after } of each.sources) {
        const name = node?.id || node?.className || node?.nodeName;
        window.movers.push(`${name}: top ${before.top} to ${after.top}, height ${before.height} to ${after.height}`);
      }
    }
  }).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(scope="module")
def streaming(server: Server) -> Iterator[Server]:
    """Somebody sends and watches oneself; and there are figures of three hours, from before a restart."""
    kept = KeptMinutes(server.data / "figures.db")
    now = int(time.time()) // 60 * 60
    quantiles = {"p50": 40.0, "p95": 70.0, "p99": 90.0, "count": 1200}
    counts = {"outcomes": {"enhanced": 900, "carried": 300}, "bypass": {"late": 60}, "demand": {}, "recognition": {}}
    point = {"stages": {"decode": quantiles}, "frame_latency": quantiles, "fps_in": 20.0, "fps_out": 20.0, **counts}
    rest = {"batch_size": 1.0, "bank_exemplars": 3, "reference_gap_s": 4.0, "quantizer_step": 9.0}
    point |= {**rest, "machine": {"cpu_cores": 1.5}, "streams": {"in": 1, "out": 1}}
    # none of the minutes that the relay itself writes
    kept.add([Row(now - 60 * ago, 0, point) for ago in range(190, 10, -1)])
    kept.close()
    command = [sys.executable, "-m", "server.cli", "join", f"{server.url}/?room=team&name=ann", "--loop"]
    with subprocess.Popen([*command, "--publish", str(CLIP), "--watch", "ann"], cwd=ROOT) as process:
        yield server
        process.terminate()


@pytest.fixture
def page(plain_browser: Browser) -> Iterator[Page]:
    context = plain_browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.add_init_script(SHIFTS)
    yield context.new_page()
    context.close()


def test_the_dashboard_beside_a_stream(page: Page, streaming: Server) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{streaming.url}/dashboard")
    streams = page.locator("#streams tbody")
    expect(streams.get_by_role("button", name="ann")).to_be_visible(timeout=60_000)
    expect(streams).to_contain_text("Room team")
    expect(streams).to_contain_text(
        re.compile(r"1: enhanced, upscale · [\d.]+ kbit/s, path [\d.]+ · \d"), timeout=30_000
    )
    expect(page.locator("#latency-chart")).to_contain_text("budget of p95")
    expect(page.locator("#figures")).to_contain_text(re.compile(r"Processor\s*[\d.]+ cores"), timeout=15_000)
    streams.get_by_role("button", name="ann").click()
    expect(page.locator("#stream-note")).to_contain_text("ann")
    expect(streams.get_by_role("button", name="ann")).to_have_attribute("aria-pressed", "true")
    for chart in ("latency-chart", "bypass-chart", "processor-chart", "memory-chart"):
        assert page.locator(f"#{chart} canvas").evaluate(PAINTED), chart
    assert page.evaluate("() => window.shifted") < 0.05, page.evaluate("() => window.movers")
    shot(page, "dashboard-streams", full_page=True)
    assert errors == []


def test_calls_that_are_over_are_not_forgotten(page: Page, server: Server) -> None:
    now, counts = int(time.time()), {"outcomes": {}, "bypass": {}, "demand": {}, "recognition": {}}
    rest = {"batch_size": None, "bank_exemplars": 0, "reference_gap_s": None, "quantizer_step": None, "streams": {}}
    quiet = {"stages": {}, "frame_latency": None, "fps_out": 0.0, **counts, **rest}
    points = [{"t": now - 300, "fps_in": 20.0, **quiet}, {"t": now, "fps_in": 0.0, **quiet}]
    page.route("**/api/stats/events", lambda route: route.fulfill(content_type="text/event-stream", body=""))
    page.route("**/api/stats", lambda route: route.fulfill(json={"points": points}))
    page.goto(f"{server.url}/dashboard")
    expect(page.locator("#empty")).to_be_hidden(timeout=15_000)


def test_earlier_hours_and_a_table_of_them(page: Page, streaming: Server, tmp_path: Path) -> None:
    page.goto(f"{streaming.url}/dashboard")
    page.get_by_role("radio", name="Day").click()
    expect(page.locator("#bypass-note")).to_have_text("Faces in the last day", timeout=15_000)
    expect(page.locator("#bypass")).to_contain_text("10800")  # 60 a minute for three hours
    shot(page, "dashboard-day")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "day.csv")
    rows = list(csv.DictReader((tmp_path / "day.csv").open()))
    assert len(rows) >= 180 and rows[0]["frame_latency.p95"] == "70.0"
    page.get_by_role("radio", name="Hour").click()
    expect(page.locator("#bypass-note")).to_have_text("Faces in the last hour", timeout=15_000)


@pytest.mark.parametrize("size", [(1280, 900), (390, 844), (320, 640)], ids=["laptop", "phone", "narrow"])
@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize(
    ("locale", "live"), [("en-US", "Live"), ("de-CH", "Laufend"), ("es-MX", "En vivo")], ids=["en", "de", "es"]
)
def test_every_look_language_and_width(
    plain_browser: Browser, streaming: Server, size: tuple[int, int], look: str, locale: str, live: str
) -> None:
    width, height = size
    context = plain_browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="light" if look == "light" else "dark",
        locale=locale,
    )
    context.add_init_script(SHIFTS)
    page = context.new_page()
    try:
        page.goto(f"{streaming.url}/dashboard")
        expect(page.locator("#live")).to_have_text(live, timeout=15_000)
        expect(page.locator("#streams tbody").get_by_role("button", name="ann")).to_be_visible(timeout=60_000)
        expect(page.locator("#latency-chart .u-value").nth(1)).to_have_text(re.compile(r"[\d.,]+ ms"), timeout=15_000)
        assert page.evaluate("() => document.documentElement.lang") == locale[:2]
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate("() => window.shifted") < 0.05, page.evaluate("() => window.movers")
        if locale != "en-US":
            english = re.findall(r"(?i)\b(?:frames?|faces?|stages?|latency|bank|watchers?|streams?)\b", _text(page))
            assert english == []
        shot(page, f"dashboard-{look}-{locale[:2]}-{width}", full_page=True)
    finally:
        context.close()


def test_the_look_is_the_call_pages_own(plain_browser: Browser, streaming: Server) -> None:
    """Chosen on one page it is the other's at once, charts included."""
    context = plain_browser.new_context(color_scheme="dark")
    dashboard, call = context.new_page(), context.new_page()
    dashboard.goto(f"{streaming.url}/dashboard")
    call.goto(streaming.url)
    colours = """() => [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector('#latency-chart .u-series:nth-child(2) .u-marker')).borderColor]"""
    dark = dashboard.evaluate(colours)
    call.get_by_label("Look").select_option("light")
    light = until(lambda: (now := dashboard.evaluate(colours)) != dark and now, 10, "the look does not change")
    assert isinstance(light, list) and all(a != b for a, b in zip(dark, light, strict=True))
    dashboard.get_by_label("Look").select_option("dark")
    assert dashboard.evaluate(colours) == dark
    dashboard.get_by_label("Language").select_option("de")
    expect(dashboard.locator("h1")).to_have_text("Verzögerung")
    call.reload()
    expect(call.locator("#join")).to_have_text("Teilnehmen")
    context.close()


def _text(page: Page) -> str:
    """What is read on the page, without what is chosen from."""
    return page.evaluate("() => [...document.querySelectorAll('header, main')].map((one) => one.innerText).join(' ')")
