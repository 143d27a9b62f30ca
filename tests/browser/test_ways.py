"""A page's ways to the relay, with a real TURN server between them."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Server, open_context, shot, until
from tests.browser.watched import PHONE, Watched

# As in a network that lets nothing reach the relay itself.
RELAYED_ONLY = """
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(options) { super({ ...options, iceTransportPolicy: 'relay' }); }
  };
"""
# And nothing but TCP reach the TURN server: its others are left out as each connection begins.
ONLY_TCP = """
  const servers = (options) => (options?.iceServers ?? []).filter(({ urls }) => String(urls).endsWith('=tcp'));
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(options) { super({ ...options, iceServers: servers(options) }); }
    setConfiguration(options) { super.setConfiguration({ ...options, iceServers: servers(options) }); }
  };
"""
PATHS = """async () => {
  const paths = [];
  for (const pc of window.testConnections) {
    const stats = [...(await pc.getStats()).values()];
    const transport = stats.find((one) => one.type === 'transport' && one.selectedCandidatePairId);
    const pair = stats.find((one) => one.id === transport?.selectedCandidatePairId);
    const local = stats.find((one) => one.id === pair?.localCandidateId);
    paths.push([pc.connectionState, local?.candidateType ?? null]);
  }
  return paths;
}"""


def test_the_first_connection_goes_over_turn_where_nothing_else_does(
    turn_server: Server, plain_browser: Browser
) -> None:
    context = open_context(plain_browser, quality="low")
    context.add_init_script(RELAYED_ONLY)
    watched = Watched(context)
    try:
        page = watched.page
        page.goto(f"{turn_server.url}/?room=den&name=ann")
        page.get_by_role("button", name="Join", exact=True).click()
        expect(page.locator(".tile video").first).to_be_visible(timeout=60_000)
        assert [request.method for request in watched.sent("/whip/")][:2] == ["OPTIONS", "POST"]
        (published,) = watched.sent("/whip/", "POST")
        assert "typ relay" in (published.post_data or "")
        paths = until(lambda: (got := page.evaluate(PATHS)) and got[0][0] == "connected" and got, 20, "no connection")
        assert isinstance(paths, list) and all(path == ["connected", "relay"] for path in paths[:2]), paths
    finally:
        context.close()


@pytest.mark.parametrize(("name", "size"), [("desktop", (1280, 800)), ("phone", PHONE)])
def test_the_connection_test_tells_what_works(
    turn_server: Server, plain_browser: Browser, name: str, size: tuple[int, int]
) -> None:
    context = open_context(plain_browser, *size)
    watched = Watched(context)
    try:
        page = watched.page
        page.goto(f"{turn_server.url}/?room=den")
        page.get_by_role("button", name="Test the connection").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("status")).to_have_text(re.compile("straight to the relay"), timeout=30_000)
        expect(dialog.locator(".ways li[data-state=works]")).to_have_count(3)
        expect(dialog).to_contain_text("This browser offers")
        shot(page, f"ways-{name}")
        assert watched.asked == [] and not watched.complaints  # neither camera nor microphone is opened
        rooms = json.loads(page.evaluate("async () => (await fetch('/api/rooms/den')).text()"))
        assert rooms["participants"] == {}
        page.get_by_role("button", name="Close").click()
        expect(dialog).to_be_hidden()
    finally:
        context.close()


def test_the_connection_test_says_what_to_change(turn_server: Server, plain_browser: Browser) -> None:
    """In the call, in a browser that gives away no address but the TURN server's, reached by TCP."""
    context = open_context(plain_browser, *PHONE, quality="low")
    context.add_init_script(RELAYED_ONLY)
    context.add_init_script(ONLY_TCP)
    watched = Watched(context)
    try:
        page = watched.page
        page.goto(f"{turn_server.url}/?room=den&name=ann")
        page.get_by_role("button", name="Join", exact=True).click()
        expect(page.locator(".tile video").first).to_be_visible(timeout=60_000)
        page.get_by_role("button", name="Test the connection").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("status")).to_have_text(re.compile("lets no UDP through"), timeout=40_000)
        expect(dialog).to_contain_text("let UDP out")
        assert [row.get_attribute("data-state") for row in dialog.locator(".ways li").all()] == [
            "fails",
            "fails",
            "works",
        ]
        shot(page, "ways-tcp-only")
    finally:
        context.close()
