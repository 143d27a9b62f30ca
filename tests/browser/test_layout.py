"""The call page fits into every window, whoever is there and whatever the bank holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Server, open_context, shot
from tests.browser.staged import staged, statistics

WIDTHS = (320, 390, 768, 1280, 1920)
NAMES = ["ann", "ben", "cleo", "dan", "eve", "finn", "gil", "hana", "a_rather_long_name_of_somebody_who_likes_that"]
# What lies beyond the window's sides, or is cut off by what it lies in.
OUTSIDE = """
  () => [...document.querySelectorAll('#call button, #call a, #call h2, #call .tile')]
    .filter((one) => one.checkVisibility() && !one.closest('.known, [popover]'))
    .filter((one) => { const { left, right } = one.getBoundingClientRect(); return left < 0 || right > innerWidth; })
    .map((one) => one.getAttribute('aria-label') ?? one.outerHTML)
"""
# Until what follows the window's size has followed.
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))"
SET = "([people, exemplars]) => { window.staged.people = people; window.staged.exemplars = exemplars; }"


@pytest.fixture(scope="module")
def page(plain_browser: Browser, server: Server) -> Iterator[Page]:
    context = open_context(plain_browser)
    yield staged(context, server.url, {"ann": statistics()}, open_to_all=True)
    context.close()


@pytest.mark.parametrize("exemplars", [0, 3, 16])
@pytest.mark.parametrize("people", range(1, 10))
def test_no_window_is_too_narrow(page: Page, people: int, exemplars: int) -> None:
    there = {name: statistics() for name in NAMES[-people:]} | {"ann": statistics()}
    page.evaluate(SET, [there, exemplars])
    expect(page.locator(".tile")).to_have_count(max(1, len(there) - 1))
    if page.locator(".bank .note").is_visible():
        expect(page.locator(".bank .note")).to_contain_text(str(exemplars or "None"), timeout=10_000)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 844 if width < 700 else 800})
        page.evaluate(DRAWN)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate(OUTSIDE) == [], width
        for control in (page.get_by_role("button", name="Leave the call"), page.locator("#to-dashboard")):
            box = control.bounding_box()
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= 844
        if width in (390, 1280) and (people, exemplars) in ((1, 3), (3, 16), (9, 16)):
            shot(page, f"layout-{width}-{people}-people-{exemplars}-exemplars")
