"""Invitations against a relay that has keys: what the page sends is what the relay takes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, expect
from skimage import data

from tests.browser.conftest import Server, open_context, shot, until
from tests.browser.watched import Watched

KEY = "tests:a-secret-of-the-tests-that-is-long-enough"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, client_build: Path) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("keyed"))
    server.environment["HIME_API_KEYS"] = KEY
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def contexts(plain_browser: Browser) -> Iterator[list[BrowserContext]]:
    opened: list[BrowserContext] = []
    yield opened
    for context in opened:
        context.close()


def invitation(server: Server, name: str, **rights: object) -> str:
    body = json.dumps({"room": "den", "name": name, **rights}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{server.url}/api/tokens", body, headers), timeout=10
    ) as answer:
        return json.load(answer)["url"]


def enter(contexts: list[BrowserContext], browser: Browser, link: str) -> Watched:
    contexts.append(open_context(browser, quality="low"))
    watched = Watched(contexts[-1])
    watched.page.goto(link)
    return watched


def test_the_host_invites_and_the_guest_joins(
    keyed: Server, contexts: list[BrowserContext], plain_browser: Browser, tmp_path: Path
) -> None:
    host = enter(contexts, plain_browser, invitation(keyed, "ann", admin=True))
    ann = host.page
    ann.get_by_role("button", name="Your face").click()
    portrait = tmp_path / "portrait.jpg"
    Image.fromarray(data.astronaut()).save(portrait, quality=95)
    dialog = ann.get_by_role("dialog")
    dialog.get_by_label("Add photos").set_input_files([portrait])
    dialog.get_by_label("These photos show me").check()
    expect(dialog.get_by_role("img", name="A registered photo of you")).to_have_count(1, timeout=60_000)
    ann.wait_for_function("() => document.querySelector('.photos img')?.naturalWidth > 0")
    dialog.get_by_role("button", name="Close", exact=True).click()
    ann.get_by_role("button", name="Join", exact=True).click()
    expect(ann.locator(".tile video").first).to_be_visible(timeout=60_000)
    (published,) = host.sent("/whip/", "POST")
    assert published.url.endswith("/whip/den/ann?person=ann")

    ann.get_by_role("button", name="Invite somebody").click()
    dialog.get_by_label("Whom").fill("ben")
    dialog.get_by_role("button", name="Copy an invitation link").click()
    expect(dialog.get_by_label("The invitation link")).to_be_visible()
    link = dialog.get_by_label("The invitation link").input_value()
    dialog.get_by_role("button", name="Close", exact=True).click()

    guest = enter(contexts, plain_browser, link)
    ben = guest.page
    expect(ben.get_by_label("Your name", exact=True)).to_have_value("ben")
    expect(ben.get_by_role("button", name="Your face")).to_be_hidden()
    ben.get_by_role("button", name="Join", exact=True).click()
    expect(ben.locator(".tile[data-name=ann] video")).to_be_visible(timeout=60_000)
    expect(ann.locator(".tile[data-name=ben] video")).to_be_visible(timeout=60_000)
    until(lambda: guest.sent("/ben/bank"), 30, "the own bank is not asked for")
    ben.wait_for_timeout(2500)
    assert not guest.sent("/ann/bank")
    shot(ben, "tokens-guest")
    with ben.context.expect_page() as opening:
        ben.get_by_role("link", name="Latency dashboard").click()
    dashboard = opening.value
    expect(dashboard.locator("#live")).to_have_text("Live", timeout=15_000)
    assert dashboard.evaluate("() => location.href") == f"{keyed.url}/dashboard"
    ben.get_by_role("button", name="Leave the call").click()
    expect(ann.locator(".tile[data-name=ben]")).to_have_count(0, timeout=15_000)
    host.assert_clean()
    guest.assert_clean()


def test_who_may_only_watch_watches(keyed: Server, contexts: list[BrowserContext], plain_browser: Browser) -> None:
    watched = enter(contexts, plain_browser, invitation(keyed, "zoe", publish=False))
    page = watched.page
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator(".tile[data-name=ann] video")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("1 in the call, you watch")).to_be_visible()
    assert watched.asked == []
    page.get_by_role("button", name="Leave the call").click()
    watched.assert_clean()


def test_strangers_are_told_what_they_need(
    keyed: Server, contexts: list[BrowserContext], plain_browser: Browser
) -> None:
    stranger = enter(contexts, plain_browser, f"{keyed.url}/?room=den&name=ann&autojoin=1")
    expect(stranger.page.get_by_role("alert")).to_contain_text("by invitation only")
    stranger.assert_clean()
    stranger.page.goto(f"{keyed.url}/dashboard")
    expect(stranger.page.locator("#live")).to_contain_text("by invitation only")
    forged = invitation(keyed, "ann")[:-4] + "AAAA"
    other = enter(contexts, plain_browser, forged)
    other.page.get_by_role("button", name="Join", exact=True).click()
    expect(other.page.locator("#banner")).to_contain_text("does not count here", timeout=30_000)
