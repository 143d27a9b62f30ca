"""What `aiortc_door.py`, `ice_session.py` and `ice_connection.py` of `server/media`, and `server/client/load/light.py`,
rely on in aiortc and aioice beside what those document, one attribute a test.

A failure here means: the library has changed, and what the test's message says does not work until the door follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aioice
import pylibsrtp
import pytest
from aioice.ice import CandidatePair, StunProtocol
from aioice.stun import Class, Message, Method
from aioice.turn import TurnClientUdpProtocol, TurnTransport
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceServer, RTCIceTransport, RTCPeerConnection
from aiortc.rtcdtlstransport import SRTP_PROFILES
from aiortc.rtcicetransport import connection_kwargs
from aiortc.rtp import RTCP_PSFB_PLI, RtcpPsfbPacket
from OpenSSL import SSL

from server.client.load.light import JITTER_BUFFER, SEND_KEYFRAME


class Listening(aioice.Connection):
    """Overrides what the door overrides."""

    def __init__(self) -> None:
        super().__init__(ice_controlling=False)
        self.data: list[bytes] = []
        self.requests: list[Message] = []

    def data_received(self, data: bytes, component: int) -> None:
        self.data.append(data)

    def request_received(self, message: Message, *where: object) -> None:
        self.requests.append(message)


@pytest.fixture
async def connection() -> AsyncIterator[Listening]:
    made = Listening()
    await made.gather_candidates()
    yield made
    await made.close()


async def test_connection_protocols(connection: Listening) -> None:
    protocols = getattr(connection, "_protocols", None)
    message = "aioice.Connection._protocols: datagrams are read into too much memory"
    assert protocols and all(isinstance(one, StunProtocol) and one.transport for one in protocols), message


async def test_connection_nominated(connection: Listening) -> None:
    message = "aioice.Connection._nominated: no packet can be sent, and no round trip measured"
    assert getattr(connection, "_nominated", None) == {}, message
    own = connection.local_candidates[0]
    await connection.add_remote_candidate(own)
    connection.set_selected_pair(1, own.foundation, own.foundation)
    pair = connection._nominated.get(1)
    assert isinstance(pair, CandidatePair), message
    assert pair.remote_addr == (own.host, own.port), message
    pair.protocol.transport.sendto(b"\x80 a packet to itself", pair.remote_addr)
    for _ in range(100):
        await asyncio.sleep(0.01)
        if connection.data:
            break
    assert connection.data == [b"\x80 a packet to itself"], message


async def test_connection_data_received(connection: Listening) -> None:
    connection._protocols[0].datagram_received(b"\x80 no STUN", ("127.0.0.1", 9))
    assert connection.data == [b"\x80 no STUN"], "aioice.Connection.data_received: no media arrive"


async def test_connection_request_received(connection: Listening) -> None:
    request = Message(Method.BINDING, Class.REQUEST)
    connection._protocols[0].datagram_received(bytes(request), ("127.0.0.1", 9))
    message = "aioice.Connection.request_received: watchers who only answer connectivity checks are taken to be lost"
    assert [one.transaction_id for one in connection.requests] == [request.transaction_id], message


async def test_connection_remote_candidates(connection: Listening) -> None:
    message = "aioice.Connection._remote_candidates: strangers cannot be told from the peer, no handshake comes about"
    assert getattr(connection, "_remote_candidates", None) == [], message
    assert not getattr(connection, "_early_checks", [None]), message
    own = connection.local_candidates[0]
    await connection.add_remote_candidate(own)
    (known,) = connection._remote_candidates
    assert (getattr(known, "_network_host", None), known.port) == (own.host, own.port), message


async def test_connection_queue(connection: Listening) -> None:
    aioice.Connection.data_received(connection, b"DTLS", 1)
    message = "aioice.Connection._queue: what a stranger sends before the handshake is kept without end"
    assert connection._queue.qsize() == 1, message


async def test_turn_transport_inner_protocol() -> None:
    inner = TurnClientUdpProtocol(("127.0.0.1", 3478), "name", "word", 600, 300)
    found = getattr(TurnTransport(inner), "_TurnTransport__inner_protocol", None)
    message = "TurnTransport.__inner_protocol: what comes over TURN is not guarded"
    assert found is inner and hasattr(found, "receiver"), message


async def test_connection_build_request(connection: Listening) -> None:
    own = connection.local_candidates[0]
    connection.remote_username = "them"
    request = connection.build_request(CandidatePair(connection._protocols[0], own), nominate=False)
    message = "aioice.Connection.build_request: the round trip cannot be measured, repair is timed by a guess"
    assert request.message_class == Class.REQUEST and "USERNAME" in request.attributes, message


async def test_connection_check_incoming(connection: Listening) -> None:
    message = "aioice.Connection.check_incoming: a peer is learned of without end, under every port that it sends from"
    protocol = connection._protocols[0]
    request = Message(Method.BINDING, Class.REQUEST)
    request.attributes["PRIORITY"] = 1
    connection.remote_username, connection.remote_password = "them", "word"
    connection.check_incoming(request, ("192.0.2.9", 5000), protocol)
    (learned,) = connection._remote_candidates
    assert (learned.type, learned._network_host, learned.port) == ("prflx", "192.0.2.9", 5000), message


async def test_connection_component_candidates(connection: Listening) -> None:
    message = "aioice.Connection.get_component_candidates: there are as many sockets as the machine has addresses"
    before = len(connection._protocols)
    assert len(await connection.get_component_candidates(1, ["127.0.0.1"] * 3, 5)) == 3, message
    assert len(connection._protocols) == before + 3, message


async def test_gatherer_connection() -> None:
    gatherer, ours = RTCIceGatherer([]), Listening()
    message = "RTCIceGatherer._connection: the ICE connection cannot be ours, and no media arrive"
    assert isinstance(getattr(gatherer, "_connection", None), aioice.Connection), message
    gatherer._connection = ours
    await gatherer.gather()
    assert gatherer.getLocalParameters().usernameFragment == ours.local_username, message
    assert ours.local_candidates and len(gatherer.getLocalCandidates()) == len(ours.local_candidates), message
    ours.ice_controlling = True
    ice = RTCIceTransport(gatherer)
    assert ice.role == "controlling", message  # it is the connection that the transport takes
    await ice.stop()
    assert not ours._protocols, message


async def test_connection_kwargs() -> None:
    servers = [RTCIceServer("stun:stun.example.com"), RTCIceServer("turn:turn.example.com", "name", "word")]
    made = aioice.Connection(ice_controlling=False, **connection_kwargs(servers))
    message = "aiortc.rtcicetransport.connection_kwargs: ICE servers are not used"
    assert (made.stun_server, made.turn_server) == (("stun.example.com", 3478), ("turn.example.com", 3478)), message
    assert (made.turn_username, made.turn_password) == ("name", "word"), message


@pytest.mark.parametrize("role", ["client", "server"])
async def test_dtls_set_role(role: str) -> None:
    dtls = RTCDtlsTransport(RTCIceTransport(RTCIceGatherer([])), [RTCCertificate.generateCertificate()])
    dtls._set_role(role)
    message = "RTCDtlsTransport._set_role: both ends take the same part in DTLS, and no handshake comes about"
    assert dtls._role == role, message


async def test_dtls_transport() -> None:
    """It sends and receives by the ICE transport that it has at that time, and reads from the connection's queue."""
    ices = []
    for _ in range(2):
        ours = Listening()
        ours._nominated[1] = CandidatePair(object(), None)  # type: ignore[arg-type]
        gatherer = RTCIceGatherer([])
        gatherer._connection = ours
        ices.append(RTCIceTransport(gatherer))
    first, second = ices
    second._connection._queue = first._connection._queue
    dtls = RTCDtlsTransport(first, [RTCCertificate.generateCertificate()])
    reading = asyncio.ensure_future(dtls.transport._recv())
    await asyncio.sleep(0)
    aioice.Connection.data_received(second._connection, b"\x16", 1)
    message = "aioice.Connection._queue: after an ICE restart, the peer's goodbye is not heard"
    assert await asyncio.wait_for(reading, 5) == b"\x16", message
    dtls._transport = second
    message = "RTCDtlsTransport._transport: after an ICE restart, the relay's goodbye does not reach the peer"
    assert dtls.transport is second, message


async def test_what_light_peers_put_in_place_of_aiortcs_is_used() -> None:
    pc = RTCPeerConnection()
    transceiver = pc.addTransceiver("video", "sendrecv")
    message = f"RTCRtpReceiver.{JITTER_BUFFER}: `hime load` decodes every frame"
    assert callable(getattr(getattr(transceiver.receiver, JITTER_BUFFER, None), "add", None)), message
    message = f"RTCRtpSender.{SEND_KEYFRAME}: publishers of `hime load` do not hear who asks for a keyframe"
    asked: list[bool] = []
    assert callable(getattr(transceiver.sender, SEND_KEYFRAME, None)), message
    setattr(transceiver.sender, SEND_KEYFRAME, lambda: asked.append(True))
    await transceiver.sender._handle_rtcp_packet(RtcpPsfbPacket(RTCP_PSFB_PLI, 1, transceiver.sender._ssrc))
    assert asked == [True], message
    await pc.close()


def test_certificate_create_ssl_context() -> None:
    context = RTCCertificate.generateCertificate()._create_ssl_context(SRTP_PROFILES)
    message = "RTCCertificate._create_ssl_context: peers with RSA certificates, as GStreamer's, cannot connect"
    assert isinstance(context, SSL.Context), message


async def test_dtls_srtp_sessions() -> None:
    """Both are there as soon as the transport says that it is connected, and one reads what the other wrote."""
    one, other = (RTCIceTransport(RTCIceGatherer([])) for _ in range(2))
    one._connection.ice_controlling = True
    for end in (one, other):
        await end.iceGatherer.gather()
    for end, peer in ((one, other), (other, one)):
        for candidate in peer.iceGatherer.getLocalCandidates():
            await end.addRemoteCandidate(candidate)
        await end.addRemoteCandidate(None)
    ends = [RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()]) for ice in (one, other)]
    found: dict[RTCDtlsTransport, tuple[object, object]] = {}
    for end in ends:
        end.on("statechange", lambda end=end: end.state == "connected" and found.update({end: _sessions(end)}))
    ends[0]._set_role("client")  # left to itself, one of its kind would be the server
    ends[1]._set_role("server")
    await asyncio.gather(
        one.start(other.iceGatherer.getLocalParameters()), other.start(one.iceGatherer.getLocalParameters())
    )
    await asyncio.gather(ends[0].start(ends[1].getLocalParameters()), ends[1].start(ends[0].getLocalParameters()))
    for outgoing, incoming in (ends, ends[::-1]):
        sending, receiving = found[outgoing][0], found[incoming][1]
        message = "RTCDtlsTransport._tx_srtp: nothing can be encrypted, and nobody sees anything"
        assert isinstance(sending, pylibsrtp.Session), message
        message = "RTCDtlsTransport._rx_srtp: nothing can be decrypted, and no media arrive"
        assert isinstance(receiving, pylibsrtp.Session), message
        packet = b"\x80\x61" + bytes(20)
        assert receiving.unprotect(sending.protect(packet)) == packet, message
        with pytest.raises(ValueError):  # pylibsrtp's answer to what is larger than its buffer
            receiving.unprotect(bytes(2048))
    for end in ends:
        await end.stop()
        await end.transport.stop()


def _sessions(end: RTCDtlsTransport) -> tuple[object, object]:
    return getattr(end, "_tx_srtp", None), getattr(end, "_rx_srtp", None)
