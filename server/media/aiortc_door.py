"""The one door to aiortc: a peer's ICE, DTLS and SRTP, with its RTP and RTCP past aiortc's queues and tasks.

What aiortc and aioice keep private is used here, in `ice_session.py` and in `ice_connection.py` only, and of aiortc's
own peers, which the relay has none of, in `server/client/load/light.py`; `tests/media/test_aiortc_contract.py` says of
each attribute what breaks without it. Nothing is patched: the ICE connection is a subclass, handed in as it is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal

import pylibsrtp
from aioice.stun import TransactionError
from aiortc import RTCCertificate, RTCDtlsParameters, RTCDtlsTransport, RTCIceCandidate, RTCIceParameters

from server.media.ice_connection import Network
from server.media.ice_session import IceSession

MAX_UNSENT = 256 * 1024  # bytes that may wait in a socket's buffer: half a second at 4 Mbit/s
# With forward secrecy (RFC 8827, section 6.5); the first is the one that all of WebRTC has.
CIPHERS = b":".join(
    b"ECDHE-%s-%s" % (signed, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
    for signed in (b"ECDSA", b"RSA")
)

State = Literal["new", "connected", "over"]
Role = Literal["client", "server"]  # in DTLS


class PeerTransport:
    """ICE and DTLS with one peer. Its packets come decrypted, in the order of arrival, by two function calls each."""

    def __init__(
        self,
        network: Network,
        on_rtp: Callable[[bytes], None],
        on_rtcp: Callable[[bytes], None],
        on_over: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """on_over: called when the connection fails, or is closed by the peer; refused: counts what is left out of what
        comes. To be made in the event loop."""
        self.state: State = "new"
        self.last_heard: float | None = None  # when media or a check of the peer's came, or it answered one
        self.said_goodbye = False  # whether the peer has closed the connection
        self._on_rtp, self._on_rtcp, self._on_over, self._clock = on_rtp, on_rtcp, on_over, clock
        self._closed = False
        self._incoming: pylibsrtp.Session | None = None  # while connected, as the other
        self._outgoing: pylibsrtp.Session | None = None
        self._new_ice: Callable[[], IceSession] = lambda: IceSession(
            network, self._received_media, self._heard, refused
        )
        self._ice = self._newest = self._new_ice()  # the one in use; the one that is to follow it, or that too
        self._dtls = RTCDtlsTransport(self._ice.transport, [_Certificate.generateCertificate()])
        self._ice.transport.on("statechange", self._changed)
        self._dtls.on("statechange", self._changed)

    # --- connecting

    async def gather(self) -> None:
        """Opens the sockets and finds the local candidates. Raises NoPort."""
        ice = self._newest
        await ice.gather()
        if self._closed:  # meanwhile
            await ice.connection.close()

    @property
    def candidates(self) -> list[RTCIceCandidate]:
        """The relay's, of the newest ICE session. Those that are announced come first, and are preferred."""
        return self._newest.candidates

    @property
    def ice_parameters(self) -> RTCIceParameters:
        """The relay's, of the newest ICE session."""
        return self._newest.parameters

    def dtls_parameters(self, role: Role) -> RTCDtlsParameters:
        parameters = self._dtls.getLocalParameters()
        parameters.role = role
        return parameters

    async def add_candidate(self, candidate: RTCIceCandidate | None) -> None:
        """A remote one, for the newest ICE session; None: that was all."""
        await self._newest.transport.addRemoteCandidate(candidate)

    async def connect(self, ice: RTCIceParameters, dtls: RTCDtlsParameters, role: Role) -> None:
        """Once candidates are gathered; afterwards `state` tells how it went.

        ice, dtls: the remote ones; role: the local one.
        """
        self._dtls._set_role(role)
        if await self._ice.start(ice):
            await self._dtls.start(dtls)

    async def restart(self) -> None:
        """A new ICE session with sockets of its own, in place of one that was still to follow. Raises NoPort, and then
        all is as before.

        Candidates and parameters are the new one's from here on; packets go by the old one until reconnect() is done.
        """
        self._heard()  # whoever asks for it is there
        fresh = self._new_ice()
        fresh.follow(self._ice)
        try:
            await fresh.gather()
        except BaseException:
            await fresh.discard()
            raise
        replaced, self._newest = self._newest, fresh
        if replaced is not self._ice:
            await replaced.discard()
        if self._closed:  # meanwhile
            await fresh.discard()

    async def reconnect(self, ice: RTCIceParameters, seconds: float) -> bool:
        """Checks the pairs of the new ICE session, and goes over to it. ice: the peer's new ones.

        False where no pair is found in so many seconds, or another restart has come between: the old one stays in use.
        """
        fresh, old, found = self._newest, self._ice, False
        with suppress(TimeoutError):
            found = await asyncio.wait_for(fresh.start(ice), seconds)
        if not found or fresh is not self._newest or self.state != "connected":
            await fresh.discard()
            return False
        self._ice, self._dtls._transport = fresh, fresh.transport
        fresh.transport.on("statechange", self._changed)
        await old.discard()
        return True

    async def close(self) -> None:
        """Says goodbye to the peer and closes the sockets."""
        self._closed, self._on_over = True, lambda: None
        await self._dtls.stop()
        if self._newest is not self._ice:
            await self._newest.discard()
        await self._ice.close()

    # --- packets

    def send_rtp(self, packets: Iterable[bytes]) -> None:
        """Encrypts and sends them. Raises ConnectionError where there is no connection."""
        pair, srtp = self._ice.selected, self._outgoing
        if pair is None or srtp is None:
            raise ConnectionError("not connected")
        protect, send, address = srtp.protect, pair.protocol.transport.sendto, pair.remote_addr
        for data in [protect(packet) for packet in packets]:
            send(data, address)

    def send_rtcp(self, packet: bytes) -> None:
        pair, srtp = self._ice.selected, self._outgoing
        if pair is not None and srtp is not None:
            pair.protocol.transport.sendto(srtp.protect_rtcp(packet), pair.remote_addr)

    @property
    def congested(self) -> bool:
        """Whether what was sent still waits in the socket's buffer. Not known of a TURN relay's."""
        pair = self._ice.selected
        waiting = getattr(pair.protocol.transport, "get_write_buffer_size", None) if pair else None
        return waiting is not None and waiting() > MAX_UNSENT

    async def round_trip(self) -> float | None:
        """Seconds that the peer takes to answer a connectivity check (RFC 7675); None if it does not."""
        pair, connection, started = self._ice.selected, self._ice.connection, self._clock()
        if pair is None:
            return None
        request = connection.build_request(pair, nominate=False)
        key = (connection.remote_password or "").encode()
        with suppress(TransactionError, OSError):
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
            self._heard()
            return self._clock() - started
        return None

    # --- inside

    def _heard(self) -> None:
        self.last_heard = self._clock()

    def _received_media(self, data: bytes) -> None:
        if self._incoming is None:
            return
        rtcp = len(data) > 1 and 192 <= data[1] < 224  # RFC 5761
        try:
            packet = self._incoming.unprotect_rtcp(data) if rtcp else self._incoming.unprotect(data)
        except (pylibsrtp.Error, ValueError):  # forged, repeated or too long
            return
        self._heard()
        (self._on_rtcp if rtcp else self._on_rtp)(packet)

    def _changed(self) -> None:
        if self._dtls.state == "connected" and self._ice.transport.state == "completed":
            self._incoming, self._outgoing = self._dtls._rx_srtp, self._dtls._tx_srtp
            self.state = "connected"
        elif {self._dtls.state, self._ice.transport.state} & {"failed", "closed"} and self.state != "over":
            self._incoming = self._outgoing = None
            # Where ICE has failed, DTLS is closed too, but has no way left by which that could have been asked for.
            self.said_goodbye = self._dtls.state == "closed" and self._ice.selected is not None
            self.state = "over"
            self._on_over()


class _Certificate(RTCCertificate):
    """Also speaks with peers whose certificates are RSA ones, as GStreamer's are; aiortc's speaks with ECDSA alone."""

    def _create_ssl_context(self, srtp_profiles: Any) -> Any:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(CIPHERS)
        return context
