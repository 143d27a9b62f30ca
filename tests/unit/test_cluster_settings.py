"""`hime serve --cluster`: what it needs, and that nothing of Ray is there without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from hime_core.errors import InputError
from server.access.access import load_access
from server.app import create_app
from server.cluster import install
from server.cluster.directory import Directory
from server.cluster.node import Node, Origins
from server.serve import application
from server.settings import InvalidSettings, Settings, load_settings
from tests.unit.test_node import Link, Relay

KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
SHARED = {"cluster": True, "database_url": "postgresql+psycopg://h@p/h", "photos_url": "file:///p", "data_key": KEY}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"database_url": ""}, "HIME_DATABASE_URL: needed with --cluster"),
        ({"photos_url": ""}, "HIME_PHOTOS_URL: needed with --cluster"),
        ({"data_key": ""}, "HIME_DATA_KEY: needed with --cluster"),
        ({"host": "0.0.0.0"}, "HIME_PUBLIC_URL: needed with --cluster"),
        ({"public_url": "one.example.org"}, "such as https://one.example.org"),
        ({"public_url": "https://one.example.org/relay"}, "without a path"),
        ({"cluster_address": "ray://head"}, "neither auto, local nor a host and port"),
        ({"cluster_namespace": "a b"}, "--cluster-namespace: .* is no name of 1 to 64"),
    ],
)
def test_what_nodes_need_is_said_in_one_line(changed: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words) as refused:
        load_settings(**{**SHARED, **changed})
    assert "\n" not in str(refused.value) and KEY not in str(refused.value)


def test_without_ray_it_is_said_how_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "find_spec", lambda name: None)
    settings = load_settings(**SHARED, data=tmp_path)
    with pytest.raises(InputError, match=r"pip install 'hime-relay\[cluster\]'"):
        application(settings, load_access(settings), 8080)


def test_ray_is_imported_by_nothing_but_its_own_process() -> None:
    modules = "server.cli, server.serve, server.app, server.workers.front, server.cluster.install, server.cluster.pool"
    code = f"import sys, {modules}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_the_process_that_speaks_to_ray_and_a_front_load_no_networks() -> None:
    pytest.importorskip("ray")
    modules = "server.cluster.agent, server.cluster.actors, server.cluster.install, server.cluster.carried"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def made(tmp_path: Path, node: Node | None) -> FastAPI:
    return create_app(Settings(data=tmp_path, client=tmp_path), node=node)


async def asked(app: FastAPI, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await http.get(path, headers=headers)


async def test_pages_may_talk_to_nodes_that_come_later_and_to_nobody_else(tmp_path: Path) -> None:
    node = Node("http://a", Link(Directory()), Origins(["http://a", "http://*.nodes.example"]))
    node.carry(Relay())
    app = made(tmp_path, node)
    node.origins.learn(["http://b"])
    policy = (await asked(app, "/")).headers["content-security-policy"]
    assert "connect-src 'self' http://a http://*.nodes.example http://b;" in policy
    for other in ("http://b", "http://c.nodes.example"):
        answer = await asked(app, "/openapi.json", Origin=other)
        assert answer.headers["access-control-allow-origin"] == other
    answer = await asked(app, "/openapi.json", Origin="http://c")
    assert "access-control-allow-origin" not in answer.headers


async def test_a_relay_that_is_alone_has_no_nodes(tmp_path: Path) -> None:
    app = made(tmp_path, None)
    assert "connect-src 'self';" in (await asked(app, "/")).headers["content-security-policy"]
    answer = await asked(app, "/openapi.json", Origin="http://b")
    assert "access-control-allow-origin" not in answer.headers
    assert "/api/rooms/{room}/node" not in answer.json()["paths"]
