"""What `hime doctor` says of the network, with real sockets and a real coturn on loopback."""

import socket
from contextlib import closing

import pytest
from aiortc import RTCIceServer

from hime_core.errors import InputError
from server.checkup import ports as ports_module
from server.checkup import remote as remote_module
from server.checkup.check import Check, Fault, attempt, attempted
from server.checkup.network import _address, _https, _turn_secret, network
from server.checkup.ports import own_addresses, ports
from server.checkup.servers import Mapped, ask_stun, ask_turn
from server.client.link import Link
from server.client.peer import Connection
from server.media.ice_servers import IceServers
from server.settings import IceServer, Settings
from tests.coturn import RELAYED, SECRET, coturn

LOOPBACK = "127.0.0.1"


@pytest.fixture
def turn(tmp_path):
    with coturn(tmp_path, "--allow-loopback-peers") as running:
        yield running


def credentials(url="turn:t.example", secret=SECRET):
    (server,) = IceServers([IceServer(urls=[url])], secret).issue()
    return server.username, server.credential


async def fault(probe):
    with pytest.raises(Fault) as caught:
        await probe
    return caught.value


# --- lines


async def test_a_line_says_how_grave_it_is_and_what_to_change():
    def bad():
        raise Fault("it is\nbroken", "mend it")

    async def lesser():
        raise Fault("it could be better", required=False)

    assert attempt("x", bad) == Check("x", False, "it is broken", True, "mend it")
    assert (attempt("x", bad).mark, attempt("x", bad, required=False).mark) == ("FAIL", "WARN")
    assert (await attempted("x", lesser())).mark == "WARN"
    assert attempt("x", lambda: "fine").mark == "OK"
    assert attempt("x", lambda: 1 / 0).detail == "division by zero"


# --- ports


async def test_ports_that_are_free_let_datagrams_through():
    assert "any UDP port is free; datagrams come through at 127.0.0.1, " in await ports(0, 0, ["127.0.0.2"])
    told = await ports(39960, 39964, ["127.0.0.2"])
    assert told.startswith("5 of 5 UDP ports 39960-39964 are free")


async def test_ports_that_are_taken_may_be_the_running_relays():
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        found = await fault(ports(port, port, [LOOPBACK]))
    assert found.required is False and f"UDP port {port} is in use at 127.0.0.1" in str(found)
    assert "HIME_UDP_PORTS" in found.advice


async def test_an_address_that_cannot_be_bound_is_named():
    found = await fault(ports(39970, 39970, ["192.0.2.99"]))
    assert found.required is None and "39970" in str(found) and "192.0.2.99" in str(found)


async def test_a_firewall_that_drops_datagrams_is_noticed(monkeypatch):
    real = ports_module._comes_through

    async def dropped(address, port):
        return address == LOOPBACK and await real(address, port)

    monkeypatch.setattr(ports_module, "_comes_through", dropped)
    found = await fault(ports(0, 0, ["127.0.0.2"]))
    assert str(found) == "datagrams to 127.0.0.2 do not come through" and "firewall" in found.advice


def test_own_addresses_are_without_loopback():
    assert not {LOOPBACK, "::1"} & set(own_addresses())


# --- servers


async def test_stun_tells_the_address(turn):
    found = await ask_stun(f"stun:{LOOPBACK}:{turn.port}")
    assert found.host == LOOPBACK and found.round_trip > 0


async def test_stun_that_does_not_answer_or_is_not_found():
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind((LOOPBACK, 0))
        found = await fault(ask_stun(f"stun:{LOOPBACK}:{silent.getsockname()[1]}"))
    assert "does not answer" in str(found) and found.required is False
    assert "cannot be found" in str(await fault(ask_stun("stun:nowhere.invalid")))
    assert "not checked" in str(await fault(ask_stun("stuns:localhost")))


async def test_turn_allocates_and_relays_over_udp_tcp_and_tls(turn, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(turn.authority))
    for url, how in zip(turn.urls, ("UDP", "TCP", "TLS"), strict=True):
        told = await ask_turn(url, *credentials(), [LOOPBACK])
        assert f"over {how}" in told and told.endswith("and relays to 127.0.0.1")
        assert int(told.split("allocates 127.0.0.1:")[1].split()[0]) in RELAYED


async def test_what_is_wrong_with_a_turn_server_is_named(turn, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    refused = await fault(ask_turn(turn.urls[0], *credentials(secret="another")))
    assert "refuses the credentials" in str(refused) and "HIME_TURN_SECRET" in refused.advice
    untrusted = await fault(ask_turn(turn.urls[2], *credentials()))
    assert "not trusted" in str(untrusted) and "SSL_CERT_FILE" in untrusted.advice
    bare = await fault(ask_turn(turn.urls[0], None, None))
    assert "no credentials" in str(bare) and "HIME_TURN_SECRET" in bare.advice
    with socket.create_server((LOOPBACK, 0)) as listener:
        closed = listener.getsockname()[1]
    gone = await fault(ask_turn(f"turn:{LOOPBACK}:{closed}?transport=tcp", *credentials()))
    assert "does not answer over TCP" in str(gone)
    assert "cannot be found" in str(await fault(ask_turn("turn:nowhere.invalid", *credentials())))
    assert (await fault(ask_turn("turns:t.example?transport=udp", *credentials()))).required is False


async def test_a_turn_server_that_relays_nothing_to_the_relay_is_noticed(tmp_path):
    with coturn(tmp_path) as guarded:  # which forbids loopback
        found = await fault(ask_turn(guarded.urls[0], *credentials(), [LOOPBACK]))
    assert "relays nothing to 127.0.0.1" in str(found) and "allowed-peer-ip" in found.advice
    assert found.required is False and "403" in str(found)


# --- settings

SEEN = Mapped("203.0.113.7", 0.01)


@pytest.mark.parametrize(
    ("announced", "seen", "told"),
    [
        ("10.0.0.2", None, "10.0.0.2: this machine's own"),
        ("203.0.113.7", SEEN, "203.0.113.7: the NAT's, as STUN says"),
        ("", Mapped("10.0.0.2", 0.01), "nothing stands between"),
        ("", Mapped(LOOPBACK, 0.01), "nothing stands between"),
    ],
)
async def test_addresses_that_are_right(announced, seen, told):
    assert told in await _address(Settings(announced_address=announced), ["10.0.0.2"], seen)


@pytest.mark.parametrize(
    ("announced", "seen", "told", "advice"),
    [
        ("203.0.113.7", None, "nobody tells", "STUN server in HIME_ICE_SERVERS"),
        ("203.0.113.8", SEEN, "the world sees this machine as 203.0.113.7", "HIME_ANNOUNCED_ADDRESS=203.0.113.7"),
        ("", SEEN, "behind a NAT, as 203.0.113.7", "HIME_ANNOUNCED_ADDRESS=203.0.113.7"),
    ],
)
async def test_addresses_that_lead_nowhere(announced, seen, told, advice):
    found = await fault(_address(Settings(announced_address=announced), ["10.0.0.2"], seen))
    assert told in str(found) and advice in found.advice


async def test_behind_a_nat_turn_will_do():
    settings = Settings(ice_servers="turn:t.example", turn_secret=SECRET)
    assert "over TURN" in await _address(settings, ["10.0.0.2"], SEEN)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "no TURN server"),
        ({"turn_secret": SECRET}, "is for no server"),
        ({"turn_secret": SECRET, "ice_servers": "stun:s.example"}, "is for no server"),
    ],
)
def test_a_secret_without_a_server_and_no_server_at_all(given, told):
    with pytest.raises(Fault, match=told):
        _turn_secret(Settings(**given))
    assert SECRET not in str(attempt("turn secret", lambda: _turn_secret(Settings(**given))))


def test_where_browsers_give_the_camera():
    assert "https" in _https(Settings())
    assert "call.example.org" in _https(Settings(host="0.0.0.0", allowed_hosts="call.example.org"))
    with pytest.raises(Fault, match=r"plain http at 0\.0\.0\.0"):
        _https(Settings(host="0.0.0.0"))


def test_all_of_it_at_once(turn):
    servers = f"stun:{LOOPBACK}:{turn.port},{turn.urls[0]},{turn.urls[1]}"
    checks = list(network(Settings(ice_servers=servers, turn_secret=SECRET), [LOOPBACK]))
    names = ["udp ports", "stun", "address", "turn", "turn", "turn secret", "hidden", "https"]
    assert [check.name for check in checks] == names
    assert all(check.ok for check in checks), checks
    assert SECRET not in str(checks)


# --- from elsewhere

LINK = Link("http://localhost:1", "den", "doctor")


async def never(*_):
    raise TimeoutError


async def test_a_relay_that_no_udp_reaches_is_said_to_be_one(monkeypatch):
    there = []

    async def participants(http, link):
        return there

    monkeypatch.setattr(remote_module, "participants", participants)
    monkeypatch.setattr(Connection, "publish", never)
    monkeypatch.setattr(Connection, "check", never)
    found = await fault(remote_module._call(None, LINK))
    assert "by UDP" in str(found) and "HIME_UDP_PORTS" in found.advice
    relayed = await fault(remote_module._relayed(None, LINK, RTCIceServer("turn:t.example")))
    assert "turn:t.example" in str(relayed) and "allowed-peer-ip" in relayed.advice
    there.append("doctor")  # who is not to be thrown out by a test
    assert (await fault(remote_module._call(None, LINK))).required is False


def test_what_is_no_relay_is_said_to_be_none():
    with socket.create_server((LOOPBACK, 0)) as listener:
        closed = listener.getsockname()[1]
    relay, https = remote_module.remote(f"http://localhost:{closed}")
    assert relay.mark == "FAIL" and "does not answer" in relay.detail and https.ok
    with pytest.raises(InputError, match="not a relay's address"):
        list(remote_module.remote("ftp://localhost"))


async def test_plain_http_from_elsewhere_has_no_camera():
    assert "no camera" in str(await fault(remote_module._https(Link("http://call.example", "r", "n"))))
    assert "camera" in await remote_module._https(Link("https://call.example", "r", "n"))
