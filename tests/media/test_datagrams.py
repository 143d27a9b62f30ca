"""RTP past aiortc's queues and tasks, between real connections. A failure here means: aiortc or aioice has changed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable

import pytest
from aioice.ice import Connection, StunProtocol
from aiortc import RTCDtlsTransport, RTCPeerConnection, RTCRtpReceiver
from aiortc.rtp import RtpPacket
from pylibsrtp import Session

from server.media import aiortc_datagrams as seam
from server.media.receive.rtp import Packet

Pair = tuple[RTCPeerConnection, RTCPeerConnection]


@pytest.fixture
async def connected() -> AsyncIterator[Pair]:
    """A sender of video and a receiver of it, without any."""
    one, other = RTCPeerConnection(), RTCPeerConnection()
    one.addTransceiver("video", "sendonly")
    await one.setLocalDescription(await one.createOffer())
    await other.setRemoteDescription(one.localDescription)
    await other.setLocalDescription(await other.createAnswer())
    await one.setRemoteDescription(other.localDescription)
    await until(lambda: one.connectionState == other.connectionState == "connected")
    yield one, other
    await asyncio.gather(one.close(), other.close())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def ends(connected: Pair) -> tuple[RTCDtlsTransport, RTCDtlsTransport, RTCRtpReceiver, int]:
    """Both transports, the receiver, and the payload type of its video."""
    sending, receiving = (pc.getTransceivers()[0] for pc in connected)
    return sending.sender.transport, receiving.receiver.transport, receiving.receiver, sending._codecs[0].payloadType


def rtp(kind: int, number: int, last: bool = True) -> bytes:
    return RtpPacket(kind, int(last), number, 3000, 7, b"\x10\x01").serialize()


async def test_the_transports_have_the_parts_that_are_used(connected: Pair) -> None:
    outgoing, incoming, *_ = ends(connected)
    for transport in (outgoing, incoming):
        assert isinstance(transport._tx_srtp, Session) and isinstance(transport._rx_srtp, Session)
        assert isinstance(transport.transport._connection, Connection)
        assert all(isinstance(one, StunProtocol) for one in transport.transport._connection._protocols)
        assert transport._state == seam.State.CONNECTED
    assert "self.receiver.data_received(data, self.local_candidate.component)" in inspect.getsource(StunProtocol)
    handling = inspect.getsource(RTCDtlsTransport)
    assert "data = self._rx_srtp.unprotect(data)" in handling and "self._rtp_router.route_rtp(packet)" in handling
    assert "data = self._tx_srtp.protect(data)" in handling
    assert "await active_pair.protocol.send_data(data, active_pair.remote_addr)" in inspect.getsource(Connection)
    assert "self.transport.sendto(data, addr)" in inspect.getsource(StunProtocol.send_data)


async def test_packets_arrive_without_a_task_and_are_counted(connected: Pair) -> None:
    outgoing, incoming, receiver, kind = ends(connected)
    before = incoming._get_stats()[incoming._stats_id]
    taken: list[Packet] = []
    noticed: list[bool] = []
    incoming.transport._connection.data_received = lambda *datagram: pytest.fail("through aiortc's queue")
    seam.take_directly(incoming, {receiver: taken.append}, lambda: noticed.append(True))
    seam.send_directly(outgoing, [rtp(kind, number) for number in range(3)])
    await until(lambda: len(taken) == 3)
    assert [packet.sequence_number for packet in taken] == [0, 1, 2]
    assert len(noticed) == 3
    after, sent = incoming._get_stats()[incoming._stats_id], outgoing._get_stats()[outgoing._stats_id]
    assert after.packetsReceived - before.packetsReceived == 3
    assert after.bytesReceived - before.bytesReceived == 3 * (len(rtp(kind, 0)) + 16)  # an AEAD's tag each
    assert sent.packetsSent >= 3 and sent.bytesSent >= 3 * len(rtp(kind, 0))


async def test_packets_are_taken_as_they_come_though_the_end_of_their_frame_is_lost(connected: Pair) -> None:
    """Of a repair that is asked for late, on a long way, nothing comes in time."""
    outgoing, incoming, receiver, kind = ends(connected)
    taken: list[tuple[int, float]] = []
    now = 0.0
    seam.take_directly(
        incoming, {receiver: lambda p: taken.append((p.sequence_number, p.arrived))}, lambda: None, lambda: now
    )
    protocol = incoming.transport._connection._protocols[0]
    for number in (65534, 65535, 0):
        now += 1
        protocol.datagram_received(outgoing._tx_srtp.protect(rtp(kind, number, last=False)), ("127.0.0.1", 9))
        assert taken[-1] == (number, now)


async def test_forged_and_repeated_packets_are_left_out(connected: Pair) -> None:
    outgoing, incoming, receiver, kind = ends(connected)
    taken: list[Packet] = []
    noticed: list[bool] = []
    seam.take_directly(incoming, {receiver: taken.append}, lambda: noticed.append(True))
    protocol = incoming.transport._connection._protocols[0]
    real = outgoing._tx_srtp.protect(rtp(kind, 5))
    for datagram in (real, real, real[:-1] + bytes([real[-1] ^ 1]), real[:14], real[:11], real + bytes(2000), b""):
        protocol.datagram_received(datagram, ("127.0.0.1", 9))
    assert [packet.sequence_number for packet in taken] == [5]
    assert len(noticed) == 1


async def test_everything_else_goes_aiortcs_way(connected: Pair) -> None:
    outgoing, incoming, receiver, kind = ends(connected)
    seam.take_directly(incoming, {receiver: lambda packet: pytest.fail("no RTP")}, lambda: pytest.fail("no RTP"))
    others: list[bytes] = []
    incoming.transport._connection.data_received = lambda data, component: others.append(data)
    await outgoing._send_rtp(b"\x80\xc9\x00\x01\x00\x00\x00\x07")  # a receiver report of nothing
    await until(lambda: len(others) == 1)
    incoming._state = seam.State.CLOSED
    incoming.transport._connection._protocols[0].datagram_received(rtp(kind, 0), ("127.0.0.1", 9))
    assert others[1:] == [rtp(kind, 0)]
    incoming._state = seam.State.CONNECTED


async def test_without_a_connection_nothing_is_sent(connected: Pair) -> None:
    outgoing, *_ = ends(connected)
    outgoing._state = seam.State.CLOSED
    with pytest.raises(ConnectionError):
        seam.send_directly(outgoing, [rtp(97, 0)])
    outgoing._state = seam.State.CONNECTED
    outgoing.transport._connection._nominated.clear()
    with pytest.raises(ConnectionError):
        seam.send_directly(outgoing, [rtp(97, 0)])


async def test_asyncio_reads_into_less_memory(connected: Pair) -> None:
    _, incoming, *_ = ends(connected)
    sockets = [protocol.transport for protocol in incoming.transport._connection._protocols]
    assert {one.max_size for one in sockets} == {256 * 1024}
    seam.take_directly(incoming, {}, lambda: None)
    assert {one.max_size for one in sockets} == {seam.LARGEST}
    assert len(incoming._rx_srtp._buffer) == seam.SRTP_LARGEST
