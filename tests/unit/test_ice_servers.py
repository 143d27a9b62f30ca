"""TURN credentials: the draft's arithmetic, and a real coturn that takes them."""

import asyncio
import base64
import hashlib
import hmac
import time

import aioice
import pytest
from aioice import stun

from server.media.ice_servers import IceServers
from server.observability.metrics import Metrics
from server.settings import IceServer, InvalidSettings, Settings, load_settings
from tests.coturn import RELAYED, SECRET, coturn


def credential_for(username, secret=SECRET):
    """draft-uberti-behave-turn-rest-00, section 2.2."""
    return base64.b64encode(hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()).decode()


def test_credentials_are_as_the_draft_computes_them():
    servers = [IceServer(urls=["turn:t.example:3478?transport=udp", "turns:t.example:5349"])]
    (server,) = IceServers(servers, SECRET, lifetime=600, wall=lambda: 1_700_000_000.9).issue()
    expiry, separator, opaque = server.username.partition(":")
    assert (int(expiry), separator, len(opaque)) == (1_700_000_600, ":", 16)
    assert server.credential == credential_for(server.username)
    assert server.urls == servers[0].urls


def test_each_join_gets_its_own_and_they_end():
    now = 1000.0
    servers = IceServers([IceServer(urls=["turn:t.example"])], SECRET, lifetime=60, wall=lambda: now)
    first, second = servers.issue()[0], servers.issue()[0]
    assert first.username != second.username and first.credential != second.credential
    now = 2000.0
    assert servers.issue()[0].username.startswith("2060:")


def test_only_turn_servers_without_credentials_get_them():
    stun_only = IceServer(urls=["stun:s.example"])
    static = IceServer(urls=["turn:a.example"], username="u", credential="c")
    bare = IceServer(urls=["stun:b.example", "turn:b.example"])
    assert IceServers([stun_only, static, bare]).issue() == (stun_only, static, bare)
    first, second, third = IceServers([stun_only, static, bare], SECRET).issue()
    assert (first, second) == (stun_only, static)
    assert third.credential == credential_for(third.username)


def test_a_join_tells_of_fresh_credentials_and_the_relay_uses_its_own(monkeypatch):
    from types import SimpleNamespace

    from server.rooms import rooms as module
    from server.rooms.rooms import Rooms
    from server.rooms.routes import _created

    settings = Settings(ice_servers="stun:s.example,turn:t.example", turn_secret=SECRET, turn_minutes=1)
    rooms = Rooms(settings=settings, metrics=Metrics())
    state = SimpleNamespace(relay=SimpleNamespace(rooms=rooms))
    request = SimpleNamespace(app=SimpleNamespace(state=state))
    links = [
        _created(request, "/whip/r/ann/s", SimpleNamespace(answer="v=0", ice_tag="1")).headers["link"] for _ in range(2)
    ]
    assert links[0] != links[1]
    assert links[0].startswith('<stun:s.example>; rel="ice-server", <turn:t.example>; rel="ice-server"; username="')
    username, credential = (links[0].split(f'{name}="')[1].split('"')[0] for name in ("username", "credential"))
    assert credential == credential_for(username)
    assert 0 < int(username.split(":")[0]) - time.time() <= 60
    assert SECRET not in links[0]

    made = []
    monkeypatch.setattr(module, "Session", lambda network, *_: made.extend(network.servers))
    rooms._session("ann")
    assert made[1].credential == credential_for(made[1].username)


def test_the_secret_shows_nowhere(monkeypatch):
    monkeypatch.setenv("HIME_TURN_SECRET", SECRET)
    settings = load_settings()
    assert SECRET not in repr(settings) and SECRET not in str(settings.model_dump())
    monkeypatch.setenv("HIME_TURN_MINUTES", "0")
    with pytest.raises(InvalidSettings, match="HIME_TURN_MINUTES"):
        load_settings()


@pytest.fixture
def turn(tmp_path):
    with coturn(tmp_path, "--allow-loopback-peers") as running:
        yield running


async def allocate(port, server):
    """An allocation at the TURN server with these credentials, by what the relay itself uses."""
    transport, _ = await aioice.turn.create_turn_endpoint(
        asyncio.DatagramProtocol, ("127.0.0.1", port), username=server.username, password=server.credential
    )
    address = transport.get_extra_info("sockname")
    transport.close()
    return address


async def test_a_real_coturn_takes_them_while_they_last(turn):
    servers = [IceServer(urls=[turn.urls[0]])]
    host, port = await asyncio.wait_for(allocate(turn.port, IceServers(servers, SECRET).issue()[0]), 10)
    assert host == "127.0.0.1" and port in RELAYED
    wrong = {
        "another secret": IceServers(servers, "not " + SECRET).issue()[0],
        "expired": IceServers(servers, SECRET, lifetime=60, wall=lambda: time.time() - 3600).issue()[0],
    }
    for what, server in wrong.items():
        with pytest.raises(stun.TransactionFailed) as failure:
            await asyncio.wait_for(allocate(turn.port, server), 10)
        assert failure.value.response.attributes["ERROR-CODE"][0] == 401, what
