"""The states of the page and of the dashboard in Firefox; skipped where it is not installed."""

from __future__ import annotations

import pytest

from benchmarks.clients.bidi import Page, firefox, firefox_path
from tests.browser.axe import AXE, SERIOUS
from tests.browser.conftest import ARTIFACTS, Server
from tests.browser.staged import CALL, stage
from tests.browser.test_firefox import SHOWN
from tests.browser.test_states import LAPTOP, PEOPLE, PHONE

DARK, LIGHT = 0, 1  # as Firefox's preference has them
LOOKED_AT = """
  async (serious) => {
    await Promise.allSettled(document.getAnimations().map((one) => one.finished));
    const found = (await axe.run()).violations.filter((one) => serious.includes(one.impact));
    return {
      findings: found.map((one) => [one.id, one.nodes.map((node) => node.target)]),
      tooWide: document.documentElement.scrollWidth > innerWidth,
      size: [innerWidth, innerHeight],
      dark: matchMedia('(prefers-color-scheme: dark)').matches,
      language: document.documentElement.lang,
    };
  }
"""
READY = "() => !document.querySelector('#lobby').hidden && document.querySelector('#join').innerText.includes('ann')"
BADGES = "() => [...document.querySelectorAll('.tile .badge')].filter((badge) => badge.textContent).length"
PRESS = "(where) => document.querySelector(where).click()"
KEY = "(key) => { document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })) }"
OPEN_LIST = "() => !!document.querySelector(':popover-open')"
CLOSE_LIST = "() => document.querySelector(':popover-open').hidePopover()"
CLOSE_DIALOG = "() => document.querySelector('dialog[open]').close()"


async def look_at(page: Page, state: str, expected: dict[str, object]) -> None:
    """Keeps a picture of the state, and finds nothing wrong with it."""
    size = "phone" if expected["size"] == list(PHONE) else "laptop"
    name = f"firefox-{state}-{size}-{'dark' if expected['dark'] else 'light'}-{expected['language']}"
    await page.screenshot(ARTIFACTS / f"{name}.png")
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(f"() => {{ {AXE.read_text()} }}")
    assert await page.evaluate(LOOKED_AT, SERIOUS) == {"findings": [], "tooWide": False, **expected}, name


@pytest.mark.skipif(firefox_path() is None, reason="Firefox is not installed")
@pytest.mark.parametrize(("scheme", "language"), [(DARK, "en"), (LIGHT, "de")], ids=["dark-en", "light-de"])
async def test_states_in_firefox(server: Server, scheme: int, language: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    preferences = {"layout.css.prefers-color-scheme.content-override": scheme, "intl.accept_languages": language}
    async with firefox(**preferences) as page:
        for width, height in (LAPTOP, PHONE):
            await page.resize(width, height)
            expected = {"size": [width, height], "dark": scheme == DARK, "language": language}
            await page.goto(f"{server.url}/?room=den")
            await page.until(SHOWN, "#lobby")
            await look_at(page, "lobby", expected)
            await page.goto(f"{server.url}/dashboard")
            await page.until(r"() => /\d/.test(document.querySelector('#figures').innerText)")
            await look_at(page, "dashboard", expected)
        await page.before_each(stage(PEOPLE))
        for width, height in (LAPTOP, PHONE):
            await page.resize(width, height)
            expected = {"size": [width, height], "dark": scheme == DARK, "language": language}
            await page.goto(server.url + CALL)
            await page.until(READY)
            await page.evaluate(PRESS, "#join")
            await page.until(f"() => ({BADGES})() === {len(PEOPLE) - 1}")  # oneself is not shown
            await look_at(page, "call", expected)
            await page.evaluate(PRESS, ".tile[data-name=ben] .more button")
            await page.until(OPEN_LIST)
            await look_at(page, "more", expected)
            await page.evaluate(CLOSE_LIST)
            await page.evaluate(KEY, "s")
            await page.until("() => !!document.querySelector('.tile.large')")
            await look_at(page, "speaker", expected)
            await page.evaluate(KEY, "?")
            await page.until("() => !!document.querySelector('dialog[open]')")
            await look_at(page, "shortcuts", expected)
            await page.evaluate(CLOSE_DIALOG)
            await page.evaluate(KEY, "s")  # which is remembered
        assert page.complaints == []
