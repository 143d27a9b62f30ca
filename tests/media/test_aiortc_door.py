"""A transport of the relay's and a peer connection of aiortc's, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aioice import Candidate
from aioice.ice import StunProtocol
from aioice.turn import TurnClientUdpProtocol, TurnTransport
from aiortc import RTCCertificate, RTCConfiguration, RTCDtlsTransport, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcdtlstransport import generate_certificate
from aiortc.rtp import RtpPacket
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.shared.peers import until
from server.media import aiortc_door, ice_connection, sockets
from server.media.aiortc_door import PeerTransport
from server.media.ice_connection import Network
from server.media.negotiation import Offer, common_sections, write_answer

REPORT = b"\x80\xc9\x00\x01\x00\x00\x00\x07"  # a receiver report of nothing


@dataclass
class Ends:
    """The relay's end, and what came there; and the other's."""

    ours: PeerTransport
    theirs: RTCDtlsTransport
    rtp: list[bytes]
    rtcp: list[bytes]
    over: list[bool]

    def receive(self, datagram: bytes) -> None:
        self.ours._ice.connection._protocols[0].datagram_received(datagram, ("127.0.0.1", 9))

    @property
    def address(self) -> tuple[str, int]:
        """Where everybody can send to."""
        candidate = next(one for one in self.ours.candidates if ":" not in one.ip)
        return candidate.ip, candidate.port


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async with connected() as made:
        yield made


@asynccontextmanager
async def connected(certificate: RTCCertificate | None = None) -> AsyncIterator[Ends]:
    """certificate: the peer's; one of aiortc's where none is given."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if certificate is not None:
        peer._RTCPeerConnection__certificates = [certificate]
    peer.addTransceiver("video", "sendonly")
    await peer.setLocalDescription(await peer.createOffer())
    offer = Offer.parse(peer.localDescription.sdp)
    rtp: list[bytes] = []
    rtcp: list[bytes] = []
    over: list[bool] = []
    ours = PeerTransport(Network(), rtp.append, rtcp.append, lambda: over.append(True))
    for candidate in offer.description.media[0].ice_candidates:
        await ours.add_candidate(candidate)
    await ours.gather()
    (video,) = sections = common_sections(offer, 1_000_000)
    await peer.setRemoteDescription(RTCSessionDescription(write_answer(offer, sections, {"video"}, {}, ours), "answer"))
    await ours.connect(video.ice, video.dtls, video.dtls_role)
    assert ours.state == "connected"
    await until(lambda: peer.connectionState == "connected")
    yield Ends(ours, peer.getTransceivers()[0].sender.transport, rtp, rtcp, over)
    await asyncio.gather(peer.close(), ours.close())


class RsaCertificate(RTCCertificate):
    """As GStreamer's webrtcbin has it."""

    def _create_ssl_context(self, srtp_profiles: Any) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
        return context


async def test_a_peer_with_an_rsa_certificate_connects() -> None:
    key = rsa.generate_private_key(65537, 2048)
    async with connected(RsaCertificate(key, generate_certificate(key))) as ends:
        ends.receive(ends.theirs._tx_srtp.protect(rtp(1)))
        assert ends.rtp == [rtp(1)]


def rtp(number: int, last: bool = True) -> bytes:
    return RtpPacket(97, int(last), number, 3000, 7, b"\x10\x01").serialize()


async def test_packets_arrive_in_the_call_that_reads_them(ends: Ends) -> None:
    """Past aiortc's queue and tasks, each as it comes, though the end of its frame is lost."""
    for number in (65534, 65535, 0):
        sent = rtp(number, last=False)
        ends.receive(ends.theirs._tx_srtp.protect(sent))
        assert ends.rtp[-1] == sent
    ends.receive(ends.theirs._tx_srtp.protect_rtcp(REPORT))
    assert ends.rtcp == [REPORT] and len(ends.rtp) == 3
    assert ends.ours._ice.connection._queue.empty()


async def test_packets_come_and_go_over_the_network(ends: Ends) -> None:
    got: list[bytes] = []
    ends.theirs._handle_rtcp_data = lambda data: _noted(got, data)
    ends.theirs._handle_rtp_data = lambda data, arrival_time_ms: _noted(got, data)
    ends.ours.send_rtp([rtp(1), rtp(2)])
    ends.ours.send_rtcp(REPORT)
    await until(lambda: len(got) == 3)
    assert got == [rtp(1), rtp(2), REPORT]
    before = ends.ours.last_heard
    await ends.theirs._send_rtp(rtp(3))
    await ends.theirs._send_rtp(REPORT)
    await until(lambda: ends.rtp and ends.rtcp)
    assert (ends.rtp, ends.rtcp) == ([rtp(3)], [REPORT])
    assert ends.ours.last_heard > before
    assert not ends.ours.congested


async def _noted(got: list[bytes], data: bytes) -> None:
    got.append(data)


async def test_forged_repeated_and_oversized_packets_are_left_out(ends: Ends) -> None:
    real = ends.theirs._tx_srtp.protect(rtp(5))
    heard = ends.ours.last_heard
    for datagram in (real[:-1] + bytes([real[-1] ^ 1]), real[:14], real[:11], real[:1], real + bytes(2000), b""):
        ends.receive(datagram)
    assert not ends.rtp and not ends.rtcp
    ends.receive(real)
    ends.receive(real)
    assert ends.rtp == [rtp(5)] and ends.ours.last_heard >= heard


BAD_STUN = (
    b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"\x00\x24\x00\x00",  # a priority without a value
    b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x80\x28\x00\x02\x00\x00\x00\x00",
    b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),  # nobody's
)
ALERT = b"\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x05\x00\x02\x02\x28"  # DTLS: the handshake has failed


async def test_no_stranger_ends_a_connection_or_keeps_it_alive(ends: Ends) -> None:
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    queue = ends.ours._ice.connection._queue
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in (b"", *BAD_STUN, ALERT, b"\x16" * 40, b"\x05" * 40, b"\x50" * 40, b"\xff", bytes(20)):
            stranger.sendto(datagram, ends.address)
            await asyncio.sleep(0.02)
    assert not failed and queue.empty() and not ends.over
    await ends.theirs._send_rtp(rtp(9))
    await until(lambda: ends.rtp == [rtp(9)])


async def test_a_strangers_check_is_no_sign_of_life() -> None:
    ours = PeerTransport(Network(), lambda data: None, lambda data: None, lambda: None)
    await ours.gather()
    candidate = next(one for one in ours.candidates if ":" not in one.ip)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in (*BAD_STUN, ALERT):
            stranger.sendto(datagram, (candidate.ip, candidate.port))
            await asyncio.sleep(0.02)
    assert ours.last_heard is None
    await ours.close()


async def test_a_flood_of_handshakes_waits_in_a_bounded_queue() -> None:
    refused: list[str] = []
    ours = PeerTransport(Network(), lambda data: None, lambda data: None, lambda: None, refused=refused.append)
    for _ in range(5 * ice_connection.MAX_WAITING):
        ours._ice.connection.data_received(ALERT, 1)
    assert ours._ice.connection._queue.qsize() == ice_connection.MAX_WAITING
    assert refused == ["datagrams"] * 4 * ice_connection.MAX_WAITING
    await ours.close()


async def test_what_a_turn_server_relays_is_guarded_too() -> None:
    ours = PeerTransport(Network(), lambda data: None, lambda data: None, lambda: None)
    connection = ours._ice.connection
    client = TurnClientUdpProtocol(("127.0.0.1", 3478), "name", "word", 600, 300)
    made = StunProtocol(connection)
    made.local_candidate = Candidate("1", 1, "udp", 1, "192.0.2.1", 9, "relay")
    client.receiver = made
    made.connection_made(TurnTransport(client))
    guarded = ice_connection._guarded(made)
    assert guarded.local_candidate is made.local_candidate and guarded.transport is made.transport
    media: list[bytes] = []
    connection.on_media = media.append
    for datagram in (b"", ALERT, *BAD_STUN, b"\x80 media"):
        client.receiver.datagram_received(datagram, ("192.0.2.7", 7))
    assert media == [b"\x80 media"] and connection._queue.empty()
    await ours.close()


async def test_a_way_that_does_not_drain_is_congested(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc_door, "MAX_UNSENT", -1)
    assert ends.ours.congested


async def test_the_round_trip_is_measured(ends: Ends) -> None:
    assert 0 < await ends.ours.round_trip() < 5


async def test_the_peers_goodbye_is_told_once_and_nothing_is_sent_any_more(ends: Ends) -> None:
    await ends.theirs.stop()
    await until(lambda: ends.over)
    assert ends.over == [True] and ends.ours.state == "over"
    with pytest.raises(ConnectionError):
        ends.ours.send_rtp([rtp(0)])
    ends.ours.send_rtcp(REPORT)
    ends.receive(rtp(0))
    assert not ends.rtp


async def test_after_closing_there_is_nobody_to_ask_and_nothing_is_told(ends: Ends) -> None:
    await ends.ours.close()
    assert await ends.ours.round_trip() is None
    assert not ends.ours.congested and not ends.over
    with pytest.raises(ConnectionError):
        ends.ours.send_rtp([rtp(0)])


async def test_asyncio_reads_into_less_memory(ends: Ends) -> None:
    transports = [protocol.transport for protocol in ends.ours._ice.connection._protocols]
    assert transports and {one.max_size for one in transports} == {sockets.LARGEST}


async def test_one_that_is_closed_while_it_gathers_leaves_no_socket_open() -> None:
    ours = PeerTransport(Network(), lambda data: None, lambda data: None, lambda: None)
    gathering = asyncio.create_task(ours.gather())
    await asyncio.sleep(0)
    await ours.close()
    await gathering
    assert not ours._ice.connection._protocols
