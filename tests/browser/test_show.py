"""What a visitor without a camera sees."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ROOT, Server, shot

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
    """Was never here before, and has neither camera nor microphone."""
    context = plain_browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script("navigator.mediaDevices.getUserMedia = () => { throw new Error('no camera is needed') }")
    yield context.new_page()
    context.close()


def test_the_demos_link_shows_both_pictures_at_once(visitor: Page, demo_link: str) -> None:
    visitor.goto(demo_link)
    tile = visitor.locator(".tile")
    expect(tile.get_by_role("slider")).to_be_visible(timeout=60_000)
    expect(visitor.locator("#call-count")).to_contain_text("you watch")
    expect(tile.locator(".badge")).to_contain_text("Sharpened", timeout=90_000)
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
    expect(visitor.locator("#show *")).to_have_count(0)
    visitor.get_by_role("button", name="Leave the call").click()
    expect(visitor.locator("#show").get_by_role("slider")).to_be_visible(timeout=20_000)


def test_the_start_page_shows_what_it_is_about(visitor: Page, server: Server) -> None:
    errors: list[str] = []
    visitor.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    elsewhere: list[str] = []
    visitor.on("request", lambda request: None if request.url.startswith(server.url) else elsewhere.append(request.url))
    visitor.goto(server.url)
    show = visitor.locator("#show")
    slider = show.get_by_role("slider")
    expect(slider).to_be_in_viewport(timeout=20_000)
    visitor.wait_for_function("() => document.querySelector('#show video').currentTime > 5", timeout=60_000)
    loupe = "() => [...document.querySelectorAll('#show .loupe canvas')].map((each) => each.toDataURL())"
    original, enhanced = visitor.evaluate(loupe)
    assert original != enhanced
    shot(visitor, "show-desktop")
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0")
    show.get_by_role("button", name="Pause the video").click()
    assert visitor.evaluate("() => document.querySelector('#show video').paused")
    box = show.locator(".picture").bounding_box()
    assert box is not None
    visitor.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
    first = visitor.evaluate(loupe)[0]
    visitor.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"])
    visitor.wait_for_function(f"(first) => ({loupe})()[0] !== first", arg=first)
    expect(visitor.get_by_role("button", name="Join", exact=True)).to_be_visible()
    assert errors == [] and elsewhere == []


def test_who_wants_nothing_to_move_sees_a_still_picture(plain_browser: Browser, server: Server) -> None:
    context = plain_browser.new_context(viewport=PHONE, reduced_motion="reduce")
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_role("button", name="Play the video")).to_be_visible(timeout=20_000)
    expect(page.locator("#show").get_by_role("slider")).to_be_visible()
    assert page.evaluate("() => document.querySelector('#show video').currentTime") == 7
    assert page.evaluate("() => document.querySelector('#show video').paused")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, "show-phone", full_page=True)
    context.close()


def test_who_comes_by_a_link_joins_first(visitor: Page, server: Server) -> None:
    visitor.goto(f"{server.url}/?room=r")
    expect(visitor.locator("#show.later img")).to_be_visible(timeout=20_000)
    form, show = visitor.locator("#join-form").bounding_box(), visitor.locator("#show").bounding_box()
    assert form is not None and show is not None and form["y"] < show["y"]


def test_the_names_of_both_sides_can_be_read_in_either_look(visitor: Page, server: Server) -> None:
    """They lie on a dark veil over the picture, whatever the page's look; axe does not judge what lies on pictures."""
    visitor.goto(server.url)
    lightest = """(one) => Math.max(...getComputedStyle(one).color.match(/\\d+/g).slice(0, 3).map(Number))"""
    for look in ("light", "dark"):
        visitor.emulate_media(color_scheme=look)  # type: ignore[arg-type]
        for side in visitor.locator(".compare .side").all():
            assert side.evaluate(lightest) > 200, look
