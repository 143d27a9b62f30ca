"""Of a whole peer connection: which codecs it answers with, and whether the peer is still there.

Touches the inside of aiortc (written against 1.15 and 1.16); `tests/media/test_connection.py` fails when it changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aioice.stun import TransactionError
from aiortc import RTCDtlsTransport, RTCIceTransport, RTCPeerConnection

from server.media.bitrate import Bitrates
from server.media.encoder import Codec


class UnsupportedOffer(ValueError):
    """The offer holds no codec that the relay speaks; the message says which would be right."""


def choose_codecs(pc: RTCPeerConnection, bitrates: Bitrates, preferred: Codec = "VP8") -> None:
    """Between setRemoteDescription and createAnswer: the preferred codec first, and Opus as the only audio.

    A preference set with setCodecPreferences after the offer has no effect. Chromium begins at 300 kbit/s and takes
    20 s and more to reach 720p unless the answer's fmtp tells it where to begin (`x-google-start-bitrate`, kbit/s).
    Raises UnsupportedOffer without a common codec.
    """
    for transceiver in pc.getTransceivers():
        codecs = transceiver._codecs
        if transceiver.kind == "video":
            first = {codec.payloadType for codec in codecs if codec.name.upper() == preferred}
            codecs.sort(key=lambda codec: codec.parameters.get("apt", codec.payloadType) not in first)
            for codec in codecs:
                if codec.name.lower() != "rtx":
                    codec.parameters["x-google-start-bitrate"] = bitrates.start // 1000
        else:
            codecs[:] = [codec for codec in codecs if codec.mimeType.lower() == "audio/opus"]
            for codec in codecs:
                codec.parameters.update({"minptime": 10, "useinbandfec": 1})
            if not codecs:
                raise UnsupportedOffer("The offer's audio has no Opus: offer opus/48000/2.")


def transports(pc: RTCPeerConnection) -> set[RTCDtlsTransport]:
    """After setRemoteDescription, which bundles them."""
    return {transceiver.receiver.transport for transceiver in pc.getTransceivers()}


def remote_ufrag(pc: RTCPeerConnection) -> str | None:
    """The ICE user name fragment of the offer. After setRemoteDescription."""
    return next((ice.usernameFragment for ice in pc._RTCPeerConnection__remoteIce.values()), None)


async def round_trip(transport: RTCIceTransport, clock: Callable[[], float] = time.monotonic) -> float | None:
    """Seconds that the peer takes to answer a connectivity check; None if it does not."""
    connection, taken = transport._connection, None
    for pair in list(connection._nominated.values()):
        request = connection.build_request(pair, nominate=False)
        key = connection.remote_password.encode()
        started = clock()
        with suppress(TransactionError, OSError):
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
            taken = clock() - started
    return taken


class SignsOfLife:
    """When anything at all last came from a peer, connectivity checks included. aiortc waits 30 s before it gives up.

    Made after setRemoteDescription, which bundles the transports.
    """

    def __init__(self, pc: RTCPeerConnection, clock: Callable[[], float] = time.monotonic) -> None:
        self.last: float | None = None
        self._clock = clock
        self._transports = {transport.transport for transport in transports(pc)}
        for connection in (transport._connection for transport in self._transports):
            for name in ("request_received", "data_received"):
                setattr(connection, name, self._noting(getattr(connection, name)))

    def notice(self) -> None:
        """Something has come from the peer by another way."""
        self.last = self._clock()

    async def ask(self) -> None:
        """Sends a connectivity check, which every peer that is still there answers (RFC 7675)."""
        for transport in self._transports:
            if await round_trip(transport, self._clock) is not None:
                self.last = self._clock()

    def _noting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            self.notice()
            return call(*args)

        return noted
