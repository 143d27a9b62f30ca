"""The call page before and around a call: names, permissions, photos of oneself."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, expect
from skimage import data

from tests.browser.conftest import Server, launch, open_context, shot


@pytest.fixture
def page(plain_browser: Browser, server: Server):
    context = open_context(plain_browser)
    page = context.new_page()
    page.goto(server.url)
    yield page
    context.close()


def test_odd_names_are_refused_in_words(page: Page) -> None:
    page.get_by_label("Room", exact=True).fill("a b/c")
    page.get_by_label("Your name", exact=True).fill("ann")
    page.get_by_role("button", name="Join").click()
    expect(page.locator("#join-message")).to_contain_text("not a space, “/”")
    expect(page.locator("#call")).to_be_hidden()
    shot(page, "lobby-desktop")


def test_refused_permission_is_explained(playwright: Playwright, server: Server) -> None:
    browser = launch(playwright, "--use-fake-device-for-media-stream", "--deny-permission-prompts")
    context = browser.new_context()
    # the flags of all browsers here grant every permission
    context.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError') }"
    )
    page = context.new_page()
    page.goto(f"{server.url}/?room=r&name=n&autojoin=1")
    page.get_by_role("button", name="Join r as n").click()
    expect(page.locator("#preview-note")).to_contain_text("may not use the camera")
    expect(page.locator("#call")).to_be_hidden()
    browser.close()


def test_photos_are_registered_shown_and_deleted(page: Page, tmp_path: Path) -> None:
    portrait = tmp_path / "portrait.jpg"
    Image.fromarray(data.astronaut()).save(portrait, quality=95)
    nobody = tmp_path / "nobody.jpg"
    Image.fromarray(data.coffee()).save(nobody)

    page.get_by_role("button", name="Your face").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Photos are kept under").fill("ann-of-tests")
    dialog.get_by_label("Add photos").set_input_files([portrait, nobody])
    expect(dialog.get_by_role("status")).to_contain_text("only with your consent")

    dialog.get_by_label("These photos show me").check()  # and what was chosen is sent
    expect(dialog.get_by_role("status")).to_contain_text("1 of 2 photos registered", timeout=60_000)
    expect(dialog.get_by_role("status")).to_contain_text("nobody.jpg:")
    photo = dialog.get_by_role("img", name="A registered photo of you")
    expect(photo).to_have_count(1)
    page.wait_for_function("() => document.querySelector('.photos img')?.naturalWidth > 0")
    assert page.evaluate("() => localStorage['hime.person']") == "ann-of-tests"
    shot(page, "photos")

    drop = """
      async (bytes) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], 'dropped.jpg', { type: 'image/jpeg' }));
        document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true }));
      }
    """
    page.evaluate(drop, list(nobody.read_bytes()))
    trial = dialog.get_by_role("img", name="dropped.jpg")
    expect(trial).to_be_visible()  # at once
    expect(dialog.get_by_role("status")).to_contain_text("dropped.jpg:", timeout=60_000)
    item = dialog.locator("li").filter(has=page.get_by_alt_text("dropped.jpg"))
    expect(item).to_contain_text("no face was found")
    expect(dialog.locator(".hint").filter(has_text="1 photo, stored until")).to_be_visible()
    shot(page, "photos-dropped")

    page.on("dialog", lambda question: question.accept())
    dialog.get_by_role("button", name="Delete everything").click()
    expect(photo).to_have_count(0, timeout=20_000)
    assert page.evaluate("() => localStorage['hime.person']") is None


def test_a_photo_is_taken_with_the_camera(portrait_browser: Browser, server: Server) -> None:
    """The close portrait, which the relay accepts or not, but tells at once."""
    context = open_context(portrait_browser)
    page = context.new_page()
    page.goto(f"{server.url}/?room=r&name=snap-of-tests")
    page.get_by_role("button", name="Your face").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("These photos show me").check()
    dialog.get_by_role("button", name="Take a photo").click()
    expect(dialog.get_by_role("status")).to_contain_text("The camera is off")
    dialog.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Turn on camera").click()
    expect(page.locator("#preview-note")).to_be_hidden(timeout=30_000)
    page.get_by_role("button", name="Your face").click()
    consent = dialog.get_by_label("These photos show me")
    expect(consent).not_to_be_checked()  # it is asked for each time
    consent.check()
    dialog.get_by_role("button", name="Take a photo").click()
    expect(dialog.get_by_role("status")).to_contain_text("of 1 photos registered", timeout=60_000)
    shot(page, "photo-taken")
    context.close()


def test_the_scripts_of_the_pages_are_small(client_build: Path) -> None:
    """Less than 100 kB over all as they are sent, compressed; the build prints the same."""
    scripts = list((client_build / "assets").glob("*.js"))
    size = sum(len(gzip.compress(script.read_bytes())) for script in scripts)
    print(f"{len(scripts)} scripts, {size} bytes compressed")
    assert scripts and size < 100_000
