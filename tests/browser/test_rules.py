"""The page under the web's own rules: nothing is opened before a click, and nothing violates the content security
policy."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect
from skimage import data

from tests.browser.conftest import Server, open_context, shot, until
from tests.browser.watched import PHONE, Watched, asks


def test_no_camera_before_a_click_and_no_complaint_anywhere(server: Server, opened, tmp_path: Path) -> None:
    watched = opened()
    page = watched.page
    page.goto(f"{server.url}/?room=rules&name=zoe")
    expect(page.get_by_text("Camera and microphone are off.")).to_be_visible()
    shot(page, "lobby-off")
    page.wait_for_timeout(1000)
    assert watched.asked == []
    page.get_by_role("button", name="Turn on camera").click()
    expect(page.locator("#preview-note")).to_be_hidden(timeout=30_000)
    expect(page.get_by_label("Camera", exact=True)).to_be_visible()
    assert watched.asked == ["getUserMedia"]
    page.wait_for_function("() => document.querySelector('#preview').readyState >= 2")
    shot(page, "lobby-on")
    page.get_by_role("button", name="Turn off camera").click()
    expect(page.get_by_text("Camera and microphone are off.")).to_be_visible()
    assert page.evaluate("() => document.querySelector('#preview').srcObject") is None

    page.get_by_role("button", name="Join", exact=True).click()  # opens it where it is off
    expect(page.locator(".tile video").first).to_be_visible(timeout=60_000)
    assert watched.asked == ["getUserMedia"] * 2

    page.get_by_role("button", name="Photos of you").click()
    portrait = tmp_path / "portrait.jpg"
    Image.fromarray(data.astronaut()).save(portrait, quality=95)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Photos (1 to 10)").set_input_files([portrait])
    dialog.get_by_label("These photos show me").check()
    dialog.get_by_role("button", name="Register").click()
    photo = dialog.get_by_role("img", name="A registered photo of you")
    expect(photo).to_have_count(1, timeout=60_000)
    page.wait_for_function("() => document.querySelector('.photos img')?.naturalWidth > 0")
    url = photo.get_attribute("src")
    assert page.evaluate("() => [...window.blobs]") == [url]
    dialog.get_by_role("button", name="Close", exact=True).click()
    page.wait_for_function("() => window.blobs.size === 0")  # revoked
    watched.assert_clean()

    page.get_by_role("button", name="Copy the link").click()
    page.get_by_role("button", name="Leave the call").click()
    expect(page.get_by_text("Camera and microphone are off.")).to_be_visible()
    page.wait_for_timeout(500)
    assert watched.asked == ["getUserMedia"] * 2, "back in the lobby the camera stays off"

    page.goto(f"{server.url}/dashboard")
    expect(page.locator("#live")).to_have_text("Live", timeout=15_000)
    expect(page.locator("#latency-chart canvas")).to_be_visible()
    assert page.context.cookies() == []
    watched.assert_clean()

    inline = "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.evil = 1' }))"
    page.evaluate(inline)
    assert page.evaluate("() => window.evil") is None
    assert "script-src-elem: inline" in page.evaluate("() => window.violations")


def test_a_link_that_joins_waits_for_one_click(server: Server, opened) -> None:
    watched = opened(*PHONE)
    page = watched.page
    page.goto(f"{server.url}/?room=rules&name=zoe&autojoin=1")
    join = page.get_by_role("button", name="Join rules as zoe")
    expect(join).to_be_focused()
    expect(page.get_by_label("Room", exact=True)).to_be_hidden()
    page.wait_for_timeout(1000)
    assert watched.asked == []
    assert not watched.sent("/whip/", "POST")
    shot(page, "autojoin-phone")
    page.get_by_role("button", name="Change something first").click()
    expect(page.get_by_label("Your name", exact=True)).to_have_value("zoe")
    page.reload()
    join.click()
    expect(page.locator("#call")).to_be_visible(timeout=30_000)
    until(lambda: watched.sent("/whip/", "POST"), 30, "it does not publish")
    assert watched.asked == ["getUserMedia"]
    watched.assert_clean()


def test_an_open_relay_says_so(server: Server, opened) -> None:
    for size, name in ((1280, 800), "desktop"), (PHONE, "phone"):
        watched = opened(*size)
        page = watched.page
        asks(page, open_to_all=True)
        page.goto(f"{server.url}/?room=open-{name}&name=zoe")
        warning = page.get_by_text("This relay is open: everybody who can reach it")
        expect(warning.first).to_be_visible()
        shot(page, f"open-lobby-{name}")
        page.get_by_role("button", name="Join", exact=True).click()
        expect(warning.last).to_be_visible(timeout=30_000)
        expect(page.locator(".tile video").first).to_be_visible(timeout=60_000)
        shot(page, f"open-call-{name}")
        watched.assert_clean()


def test_one_whose_picture_is_too_large_is_told_and_does_not_come_again(
    tmp_path: Path, client_build: Path, plain_browser: Browser
) -> None:
    relay = Server(tmp_path)
    relay.environment["HIME_MAX_FRAME_PIXELS"] = "10000"
    relay.start()
    context = open_context(plain_browser, quality="low")
    try:
        watched = Watched(context)
        page = watched.page
        page.goto(f"{relay.url}/?room=small&name=zoe&autojoin=1")
        page.get_by_role("button", name="Join small as zoe").click()
        expect(page.get_by_text("publish smaller ones")).to_be_visible(timeout=60_000)
        sent = len(watched.sent("/whip/", "POST"))
        page.wait_for_timeout(5000)
        assert len(watched.sent("/whip/", "POST")) == sent
        shot(page, "refused-picture")
        page.get_by_role("button", name="Try again").click()
        until(lambda: len(watched.sent("/whip/", "POST")) > sent, 30, "it does not publish again")
    finally:
        context.close()
        relay.stop()
