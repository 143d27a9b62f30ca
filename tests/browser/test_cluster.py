"""The page and a relay of two nodes, by invitation: it finds its room's node, and another when that one is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Server, open_context, until
from tests.browser.test_survival import LightServer
from tests.media.test_cluster import Shared
from tests.ray_head import ray_head

pytest.importorskip("ray")
KEY = {"Authorization": "Bearer admin:a-secret-of-thirty-two-characters"}


@pytest.fixture
def nodes(tmp_path: Path, client_build: Path) -> Iterator[list[LightServer]]:
    with ray_head() as head:
        made = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            made.append(LightServer(tmp_path / name))
            made[-1].environment |= Shared(tmp_path, head).environment
            made[-1].environment["HIME_API_KEYS"] = KEY["Authorization"].removeprefix("Bearer ")
        try:
            for server in made:
                server.start()
            until(lambda: all(len(ask(each, "den/node")["nodes"]) == 2 for each in made), 30, "nodes know no others")
            yield made
        finally:
            for server in made:
                server.stop()


def ask(server: Server, path: str) -> dict[str, Any]:
    """Nothing where the node leads to another one."""
    answer = httpx.get(f"{server.url}/api/rooms/{path}", headers=KEY, follow_redirects=False)
    return dict(answer.json()) if answer.status_code == 200 else {}


@pytest.mark.timeout(240)
def test_the_page_goes_on_at_another_node(
    nodes: list[LightServer], plain_browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    room = next(f"den{n}" for n in range(20) if ask(nodes[0], f"den{n}/node")["node"] == nodes[1].url)
    body = {"room": room, "name": "ann"}
    token = httpx.post(f"{nodes[0].url}/api/tokens", json=body, headers=KEY).json()["token"]
    context = open_context(plain_browser, quality="low")
    page = context.new_page()
    try:
        page.goto(f"{nodes[0].url}/?room={room}&name=ann&autojoin=1#token={token}")
        page.get_by_role("button", name=f"Join {room} as ann").click()
        until(lambda: "ann" in ask(nodes[1], room)["participants"], 30, "the page is not at the node of its room")
        until(lambda: ask(nodes[1], room)["participants"]["ann"]["fps_in"] > 0, 30, "the page sends no picture")
        assert nodes[1].process is not None
        nodes[1].process.kill()
        began = time.monotonic()
        until(lambda: "ann" in ask(nodes[0], room).get("participants", {}), 30, "the page is not back")
        with capsys.disabled():
            print(f"\nlost node: the page is back at another after {time.monotonic() - began:.1f} s")
        until(lambda: ask(nodes[0], room)["participants"]["ann"]["fps_in"] > 0, 30, "the page sends no picture")
    finally:
        context.close()
