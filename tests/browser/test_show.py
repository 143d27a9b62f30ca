"""What a visitor without a camera sees."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ROOT, Server, open_context, shot

PHONE = {"width": 390, "height": 844}
LINK = re.compile(r"http://localhost:\d+/\S+")


@pytest.fixture(scope="module")
def demo_link() -> Iterator[str]:
    command = [sys.executable, "-m", "server.cli", "demo", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield next(found[0] for line in process.stdout if (found := LINK.search(line)))
        process.terminate()


@pytest.fixture
def visitor(plain_browser: Browser) -> Iterator[Page]:
    """Has neither camera nor microphone."""
    context = open_context(plain_browser)
    context.add_init_script("navigator.mediaDevices.getUserMedia = () => { throw new Error('no camera is needed') }")
    yield context.new_page()
    context.close()


def test_the_demos_link_shows_both_pictures_at_once(visitor: Page, demo_link: str) -> None:
    visitor.goto(demo_link)
    tile = visitor.locator(".tile")
    expect(tile.get_by_role("slider")).to_be_visible(timeout=60_000)
    expect(visitor.locator("#call-count")).to_contain_text("you watch")
    expect(tile.locator(".badge")).to_have_attribute("data-state", re.compile("enhanced|carried"), timeout=90_000)
    visitor.wait_for_function("() => document.querySelector('.tile video')?.videoWidth === 2560")
    shot(visitor, "demo-desktop")
    visitor.set_viewport_size(PHONE)
    assert visitor.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(visitor, "demo-phone")


def test_one_may_just_watch_a_room(visitor: Page, server: Server) -> None:
    visitor.goto(server.url)
    visitor.get_by_role("button", name="Just watch").click()
    expect(visitor.locator("#join-message")).to_contain_text("The room is empty")
    visitor.get_by_label("Room", exact=True).fill("nobody-there")
    visitor.get_by_role("button", name="Just watch").click()
    expect(visitor.locator("#call-count")).to_contain_text("Nobody is here yet")
    assert "watch=1" in visitor.url
