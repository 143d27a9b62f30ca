"""Ports of a range, one port for all sessions, announced addresses: on real sockets of this machine."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import aioice
import pytest
from aioice.stun import Class, Message, Method
from aiortc import RTCIceServer

from server.media.aiortc_door import PeerTransport
from server.media.ice_connection import Network
from server.media.sockets import NoPort, OwnPorts, SharedPort, sockets_for

PORTS = itertools.count(39000 + (hash("sockets") % 1000))


def _peer(network: Network) -> PeerTransport:
    return PeerTransport(network, lambda data: None, lambda data: None, lambda: None)


@pytest.fixture
async def peers() -> AsyncIterator[Callable[[Network], PeerTransport]]:
    made: list[PeerTransport] = []

    def make(network: Network) -> PeerTransport:
        made.append(_peer(network))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def _gathered(peer: PeerTransport) -> PeerTransport:
    await peer.gather()
    return peer


async def test_ports_come_from_the_range_and_are_given_back(peers) -> None:
    first = next(PORTS)
    network = Network(OwnPorts(first, first + 1))
    one, two = [await _gathered(peers(network)) for _ in range(2)]
    places = [{(candidate.ip, candidate.port) for candidate in peer.candidates} for peer in (one, two)]
    assert {port for _, port in set.union(*places)} == {first, first + 1} and not places[0] & places[1]
    with pytest.raises(NoPort, match=f"{first} to {first + 1}"):
        await peers(network).gather()
    await two.close()
    again = await _gathered(peers(network))
    assert {(candidate.ip, candidate.port) for candidate in again.candidates} == places[1]


async def test_announced_addresses_come_first_on_the_same_ports(peers) -> None:
    peer = await _gathered(peers(Network(announced=("203.0.113.7",))))
    first, *others = peer.candidates
    own = [one for one in others if "." in one.ip]
    assert first.ip == "203.0.113.7" and first.port in {one.port for one in own}
    assert first.priority > max(one.priority for one in own)
    assert all(one.ip != "203.0.113.7" for one in own)


class _Server(asyncio.DatagramProtocol):
    """Counts what it is asked, and says nothing."""

    asked = 0

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1


@pytest.mark.parametrize(("announced", "asked"), [((), True), (("203.0.113.7",), False)])
async def test_with_announced_addresses_no_server_is_asked(peers, announced, asked) -> None:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(_Server, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    servers = (RTCIceServer(f"stun:127.0.0.1:{port}"), RTCIceServer(f"turn:127.0.0.1:{port}", "anna", "secret"))
    await _gathered(peers(Network(announced=announced, servers=servers)))
    transport.close()
    assert (server.asked > 0) is asked


def _check(password: str, username: str) -> Message:
    request = Message(Method.BINDING, Class.REQUEST)
    request.attributes["USERNAME"] = username
    request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLING"] = 7
    request.add_message_integrity(password.encode())
    return request


async def test_all_sessions_share_one_port_and_connect_over_it(peers) -> None:
    port = next(PORTS)
    network = Network(SharedPort(port))
    clients = []
    for _ in range(3):
        ours = await _gathered(peers(network))
        assert {candidate.port for candidate in ours.candidates} == {port}
        client = aioice.Connection(ice_controlling=True)
        await client.gather_candidates()
        client.remote_username = ours.ice_parameters.usernameFragment
        client.remote_password = ours.ice_parameters.password
        connection = ours._ice.connection
        connection.remote_username, connection.remote_password = client.local_username, client.local_password
        for candidate in client.local_candidates:
            await connection.add_remote_candidate(candidate)
        for candidate in connection.local_candidates:
            await client.add_remote_candidate(candidate)
        await connection.add_remote_candidate(None)
        await client.add_remote_candidate(None)
        clients.append((client, connection))
    await asyncio.gather(*(end.connect() for pair in clients for end in pair))
    heard = []
    for number, (_, connection) in enumerate(clients):
        connection.on_media = lambda data, number=number: heard.append((number, data))
    for number, (client, _) in enumerate(clients):
        await client.send(b"\x80 from %d" % number)
    for _ in range(100):
        await asyncio.sleep(0.01)
        if len(heard) == 3:
            break
    assert sorted(heard) == [(number, b"\x80 from %d" % number) for number in range(3)]
    for client, _ in clients:
        await client.close()


async def test_a_source_belongs_to_who_knows_the_password(peers) -> None:
    shared = SharedPort(next(PORTS))
    ann, bob = [await _gathered(peers(Network(shared))) for _ in range(2)]
    door = next(iter(shared._doors.values()))
    heard: dict[str, list[bytes]] = {"ann": [], "bob": []}
    ann._ice.connection.on_media, bob._ice.connection.on_media = heard["ann"].append, heard["bob"].append
    address = ("192.0.2.9", 9)
    names = {peer: f"{peer.ice_parameters.usernameFragment}:them" for peer in (ann, bob)}

    door.datagram_received(bytes(_check("not the password", names[ann])), address)
    door.datagram_received(b"\x80 before", address)
    assert heard["ann"] == []

    door.datagram_received(bytes(_check(ann.ice_parameters.password, names[ann])), address)
    door.datagram_received(b"\x80 mine", address)
    assert heard["ann"] == [b"\x80 mine"]

    # Bob knows his own password only, and forges Ann's source.
    door.datagram_received(bytes(_check(bob.ice_parameters.password, names[bob])), address)
    door.datagram_received(b"\x80 still mine", address)
    assert heard == {"ann": [b"\x80 mine", b"\x80 still mine"], "bob": []}

    await ann.close()
    door.datagram_received(bytes(_check(bob.ice_parameters.password, names[bob])), address)
    door.datagram_received(b"\x80 free now", address)
    assert heard["bob"] == [b"\x80 free now"]


async def test_nonsense_reaches_nobody_and_sources_are_bounded(peers) -> None:
    shared = SharedPort(next(PORTS))
    ann = await _gathered(peers(Network(shared)))
    door = next(iter(shared._doors.values()))
    for data in (b"", b"\x00", b"\x00\x01\x00\x00" * 5, b"\x16\xfe\xfd", b"\x80", b"\xff" * 1500):
        door.datagram_received(data, ("192.0.2.1", 1))
    assert not door._by_source
    name = f"{ann.ice_parameters.usernameFragment}:them"
    for port in range(1, 100):
        door.datagram_received(bytes(_check(ann.ice_parameters.password, name)), ("192.0.2.1", port))
    assert len(door._by_source) == 32


def test_a_range_of_one_is_shared() -> None:
    assert isinstance(sockets_for(50000, 50000), SharedPort)
    assert isinstance(sockets_for(50000, 50001), OwnPorts)
    assert isinstance(sockets_for(0, 0), OwnPorts)
