"""The page under the web's own rules: nothing is opened before a click, nothing violates the content security policy,
and invitations go along with every request."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect
from skimage import data

from tests.browser.conftest import Server, open_context, shot, until

# Keeps what the page asks of devices, which blob: URLs are in use, and what the policy forbids it.
WATCH = """
  window.asked = [];
  window.violations = [];
  for (const name of ['getUserMedia', 'getDisplayMedia']) {
    const real = navigator.mediaDevices[name].bind(navigator.mediaDevices);
    navigator.mediaDevices[name] = (wanted) => { window.asked.push(name); return real(wanted); };
  }
  window.blobs = new Set();
  const { createObjectURL, revokeObjectURL } = URL;
  URL.createObjectURL = (blob) => { const url = createObjectURL(blob); window.blobs.add(url); return url; };
  URL.revokeObjectURL = (url) => { window.blobs.delete(url); revokeObjectURL(url); };
  document.addEventListener('securitypolicyviolation', (event) => {
    window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
  });
"""
PHONE = (390, 844)


# A complaint that is none: the relay may notice that a connection is closed before the DELETE comes, which finds no
# session then.
EXPECTED = re.compile(r"404 \(Not Found\) http://[^/]+/(whip|whep)/\w+/\w+/[\w-]+$")


class Watched:
    """A page, and all that its browser complained of."""

    def __init__(self, context: BrowserContext) -> None:
        context.grant_permissions(["camera", "microphone"])  # a permission given before changes nothing
        context.add_init_script(WATCH)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    @property
    def asked(self) -> list[str]:
        return self.page.evaluate("() => window.asked")

    def sent(self, part: str, method: str | None = None) -> list[Request]:
        """The requests so far to addresses that hold the part."""
        self.page.evaluate("() => 0")  # lets the events come in
        return [one for one in self.requests if part in one.url and method in (None, one.method)]

    def assert_clean(self) -> None:
        assert [text for text in self.complaints if not EXPECTED.search(text)] == []
        assert self.page.evaluate("() => window.violations") == []


@pytest.fixture
def opened(plain_browser: Browser) -> Iterator[Callable[..., Watched]]:
    contexts: list[BrowserContext] = []

    def open_page(width: int = 1280, height: int = 800) -> Watched:
        contexts.append(open_context(plain_browser, width, height))
        watched = Watched(contexts[-1])
        asks(watched.page)
        return watched

    yield open_page
    for context in contexts:
        context.close()


def token(name: str = "ann", room: str = "den", **video: Any) -> str:
    """As the page reads it; whether it counts is the relay's business."""
    claims = {
        "iss": "key",
        "sub": name,
        "exp": int(time.time()) + 3600,
        "video": {"room": room, "roomJoin": True, **video},
    }
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "HS256"}, claims)
    ]
    return ".".join([*parts, "signature"])


def asks(page: Page, tokens: bool = False, open_to_all: bool = False) -> None:
    page.route("**/api/access", lambda route: route.fulfill(json={"tokens": tokens, "open_to_all": open_to_all}))


def refuses(page: Page, pattern: str, status: int, detail: str) -> None:
    def answer(route: Route) -> None:
        body = {"type": "about:blank", "title": "", "status": status, "detail": detail}
        route.fulfill(status=status, content_type="application/problem+json", json=body)

    page.route(pattern, answer)


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


def test_a_link_that_joins_waits_for_one_click(server: Server, opened) -> None:
    watched = opened(*PHONE)
    page = watched.page
    page.goto(f"{server.url}/?room=rules&name=zoe&autojoin=1")
    join = page.get_by_role("button", name="Join rules as zoe")
    expect(join).to_be_focused()
    expect(page.get_by_label("Room", exact=True)).to_be_hidden()
    page.wait_for_timeout(1000)
    assert watched.asked == []
    assert not watched.sent("/whip/")
    shot(page, "autojoin-phone")
    page.get_by_role("button", name="Change something first").click()
    expect(page.get_by_label("Your name", exact=True)).to_have_value("zoe")
    page.reload()
    join.click()
    expect(page.locator("#call")).to_be_visible(timeout=30_000)
    until(lambda: watched.sent("/whip/"), 30, "it does not publish")
    assert watched.asked == ["getUserMedia"]
    watched.assert_clean()


def test_an_invitation_is_needed(server: Server, opened) -> None:
    for size, name in ((1280, 800), "desktop"), (PHONE, "phone"):
        watched = opened(*size)
        asks(watched.page, tokens=True)
        watched.page.goto(f"{server.url}/?room=den")
        expect(watched.page.get_by_role("alert")).to_contain_text("by invitation only")
        for label in ("Join", "Turn on camera", "Photos of you"):
            expect(watched.page.get_by_role("button", name=label)).to_be_hidden()
        shot(watched.page, f"token-missing-{name}")
        watched.assert_clean()


def test_a_damaged_invitation_is_told(server: Server, opened) -> None:
    watched = opened()
    watched.page.goto(f"{server.url}/?room=den#token=abc")
    expect(watched.page.get_by_role("alert")).to_contain_text("damaged")
    assert watched.page.evaluate("() => location.href") == f"{server.url}/?room=den"


def test_the_invitation_goes_with_every_request_and_shows_nowhere(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    asks(page, tokens=True)
    invited = token()
    page.goto(f"{server.url}/?room=den&person=ben&autojoin=0#token={invited}")
    assert page.evaluate("() => location.hash") == ""
    for label, value in (("Room", "den"), ("Your name", "ann")):
        field = page.get_by_label(label, exact=True)
        expect(field).to_have_value(value)
        assert field.get_attribute("readonly") is not None
    page.get_by_role("button", name="Photos of you").click()
    name = page.get_by_role("dialog").get_by_label("Your name for photos")
    expect(name).to_have_value("ann")
    assert name.get_attribute("readonly") is not None
    page.get_by_role("dialog").get_by_role("button", name="Close", exact=True).click()
    shot(page, "lobby-invited")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator(".tile video").first).to_be_visible(timeout=60_000)
    until(lambda: watched.sent("/ann/bank"), 30, "the own bank is not asked for")
    dashboard = page.get_by_role("link", name="Latency dashboard").get_attribute("href")
    assert dashboard == f"/dashboard#token={invited}"
    page.get_by_role("button", name="Leave the call").click()
    until(lambda: watched.sent("/whip/", "DELETE"), 30, "the session is not ended")
    sent = [one for one in watched.requests if any(part in one.url for part in ("/api/", "/whip/", "/whep/"))]
    kinds = {(one.method, one.url.removeprefix(server.url).split("/")[1]) for one in sent}
    assert {("POST", "whip"), ("POST", "whep"), ("DELETE", "whip"), ("GET", "api")} <= kinds
    assert any(one.url.endswith("/events") for one in sent)
    assert [one.url for one in sent if one.headers.get("authorization") != f"Bearer {invited}"] == []
    assert not any("person=" in one.url for one in sent), "only one's own photos may be used"
    assert not any(invited in one.url for one in watched.requests)
    page.reload()
    expect(page.get_by_label("Your name", exact=True)).to_have_value("ann")  # the tab keeps it
    watched.assert_clean()


def test_what_is_refused_is_told_where_one_is(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    refuses(page, "**/whip/den/ann*", 409, "The name is held by another subject.")
    page.goto(f"{server.url}/?room=den&name=ann")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator("#join-message")).to_contain_text("Somebody else in this room has this name.", timeout=30_000)
    expect(page.locator("#call")).to_be_hidden()
    expect(page.get_by_label("Your name", exact=True)).to_be_focused()
    shot(page, "name-taken-desktop")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    shot(page, "name-taken-phone")

    asks(page, tokens=True)
    refuses(page, "**/api/rooms/den/events", 401, "The token has expired.")
    page.goto(f"{server.url}/?room=den#token={token()}")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.locator("#banner")).to_contain_text("Your invitation has expired", timeout=30_000)
    shot(page, "token-expired-phone")
    page.locator("#banner").get_by_role("button", name="Leave").click()
    expect(page.locator("#join-message")).to_contain_text("Your invitation has expired")


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


def test_who_may_invite_makes_links(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write", "camera", "microphone"])
    asks(page, tokens=True)
    minted = token("ben")
    page.route(
        "**/api/tokens", lambda route: route.fulfill(status=201, json={"token": minted, "url": "", "expires_at": ""})
    )
    page.goto(f"{server.url}/?room=den#token={token(roomAdmin=True)}")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("button", name="Invite somebody").click(timeout=30_000)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Whom").fill("ben!")
    dialog.get_by_role("button", name="Copy an invitation link").click()
    expect(dialog.get_by_role("status")).to_contain_text("not “!”")
    dialog.get_by_label("Whom").fill("ben")
    dialog.get_by_role("button", name="Copy an invitation link").click()
    link = dialog.get_by_label("The invitation link")
    expect(link).to_have_value(f"{server.url}/?room=den#token={minted}")
    expect(dialog.get_by_role("status")).to_contain_text("lets in ben for 60 minutes")
    (asked,) = watched.sent("/api/tokens")
    assert asked.post_data_json == {"room": "den", "name": "ben", "publish": True, "watch": True, "minutes": 60}
    shot(page, "invite")
    watched.assert_clean()

    page.goto("about:blank")
    page.goto(f"{server.url}/?room=den#token={token()}")
    page.get_by_role("button", name="Join", exact=True).click()
    page.get_by_role("button", name="Invite somebody").click(timeout=30_000)
    expect(page.get_by_role("dialog")).to_contain_text("Ask whoever invited you")
    shot(page, "invite-not")


def test_the_dashboard_takes_the_invitation_too(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    invited = token()
    page.goto(f"{server.url}/dashboard#token={invited}")
    expect(page.locator("#live")).to_have_text("Live", timeout=15_000)
    assert page.evaluate("() => location.href") == f"{server.url}/dashboard"
    until(
        lambda: (
            {one.url.removeprefix(server.url) for one in watched.sent("/api/")} >= {"/api/stats", "/api/stats/events"}
        ),
        15,
        "no figures",
    )
    assert all(one.headers.get("authorization") == f"Bearer {invited}" for one in watched.sent("/api/"))
    watched.assert_clean()

    refuses(page, "**/api/stats/events", 401, "The token has expired.")
    page.reload()
    expect(page.locator("#live")).to_contain_text("Your invitation has expired")


def test_another_invitation_in_the_same_tab_counts(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    page.goto(f"{server.url}/?room=den#token={token('ann')}")
    expect(page.get_by_label("Your name", exact=True)).to_have_value("ann")
    page.goto(f"{server.url}/?room=den#token={token('ben')}")  # the browser itself would load nothing anew
    expect(page.get_by_label("Your name", exact=True)).to_have_value("ben")
    assert page.evaluate("() => location.hash") == ""


def test_who_only_watches_needs_no_camera(server: Server, opened) -> None:
    watched = opened()
    page = watched.page
    asks(page, tokens=True)
    page.goto(f"{server.url}/?room=den#token={token(canPublish=False)}")
    expect(page.get_by_role("button", name="Turn on camera")).to_be_hidden()
    shot(page, "lobby-watching")
    page.get_by_role("button", name="Join", exact=True).click()
    expect(page.get_by_role("button", name="Leave the call")).to_be_visible()
    expect(page.get_by_role("button", name="Turn the camera off")).to_have_count(0)
    expect(page.get_by_text("Nobody is here yet")).to_be_visible()
    shot(page, "call-watching")
    assert watched.asked == []
    assert not watched.sent("/whip/")
    watched.assert_clean()
