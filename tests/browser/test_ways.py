"""A page's ways to the relay, with a real TURN server between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Server, open_context, until
from tests.browser.watched import Watched
from tests.coturn import SECRET, Coturn, coturn

# As in a network that lets nothing reach the relay itself.
RELAYED_ONLY = """
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(options) { super({ ...options, iceTransportPolicy: 'relay' }); }
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


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    with coturn(tmp_path_factory.mktemp("turn"), "--allow-loopback-peers") as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, client_build: Path, turn: Coturn) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("ways"))
    server.environment |= {"HIME_ICE_SERVERS": ",".join(turn.urls[:2]), "HIME_TURN_SECRET": SECRET}
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_the_first_connection_goes_over_turn_where_nothing_else_does(server: Server, plain_browser: Browser) -> None:
    context = open_context(plain_browser, quality="low")
    context.add_init_script(RELAYED_ONLY)
    watched = Watched(context)
    try:
        page = watched.page
        page.goto(f"{server.url}/?room=den&name=ann")
        page.get_by_role("button", name="Join", exact=True).click()
        expect(page.locator(".tile video").first).to_be_visible(timeout=60_000)
        assert [request.method for request in watched.sent("/whip/")][:2] == ["OPTIONS", "POST"]
        (published,) = watched.sent("/whip/", "POST")
        assert "typ relay" in (published.post_data or "")
        paths = until(lambda: (got := page.evaluate(PATHS)) and got[0][0] == "connected" and got, 20, "no connection")
        assert isinstance(paths, list) and all(path == ["connected", "relay"] for path in paths[:2]), paths
    finally:
        context.close()
