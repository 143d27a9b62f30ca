"""One peer connection of the relay: it answers an offer, takes trickled candidates, and tells when it is over."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from aiortc import (
    RTCConfiguration,
    RTCIceCandidate,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError
from aiortc.sdp import SessionDescription, candidate_from_sdp

from server.media.aiortc_connection import SignsOfLife, UnsupportedOffer, choose_codecs, remote_ufrag, transports
from server.media.aiortc_datagrams import take_directly
from server.media.aiortc_receive import AudioSink, Reception, VideoSink, receive_audio, receive_video
from server.media.aiortc_send import send_audio, send_video
from server.media.encoder import Codec, Encoding
from server.media.tracks import AudioTrack, VideoTrack

CONNECT_TIMEOUT = 15.0  # seconds from the answer to the first sign of life
MEDIA_TIMEOUT = 4.0  # seconds without a packet, after which a publisher's network is lost
PEER_TIMEOUT = 5.0  # seconds without anything at all, after which a watcher's is
SILENCE = 1.5  # seconds after which a watcher is asked for a sign of life

log = logging.getLogger(__name__)


class InvalidOffer(ValueError):
    """The body is not an SDP offer that can be answered; the message says what would be right."""


class InvalidFragment(ValueError):
    """The body is not an SDP fragment of trickled candidates."""


@dataclass(frozen=True)
class Offer:
    """An SDP offer, checked, without candidates that only a local mDNS name stands for.

    sends, receives: which of audio and video the peer is to send, and wants to receive.
    """

    sdp: str
    sends: frozenset[str]
    receives: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Offer:
        """Raises InvalidOffer."""
        if not text.startswith("v=0"):
            raise InvalidOffer("The body is not SDP: an offer begins with v=0.")
        # A peer behind such a name is found by its own connectivity checks, without seconds spent on asking around.
        # Nor does a candidate with an address or port that cannot be serve anybody.
        kept = [line for line in text.splitlines() if not line.startswith("a=candidate:") or reachable(line)]
        sdp = "\r\n".join(kept) + "\r\n"
        try:
            media = SessionDescription.parse(sdp).media
        except Exception as error:  # aiortc's parser raises what each wrong line leads to, assertions included
            raise InvalidOffer("The body cannot be read as SDP.") from error
        if not media:
            raise InvalidOffer("The offer has no media: one audio and one video section at most are answered.")
        if not all(section.dtls and section.dtls.fingerprints for section in media):
            raise InvalidOffer("The offer has a section without a=fingerprint and a=setup: media are always encrypted.")
        kinds = [section.kind for section in media]
        if any(kinds.count(kind) > 1 for kind in ("audio", "video")):
            raise InvalidOffer("The offer has several sections of one kind: one audio and one video at most.")
        mids = [section.rtp.muxId for section in media]
        if not all(mids) or len(set(mids)) < len(mids):
            raise InvalidOffer("The offer has a section without a=mid, or two with the same: each needs its own.")
        directions = {section.kind: section.direction for section in media}
        if any(directions.get(kind, "") is None for kind in ("audio", "video")):
            raise InvalidOffer("The offer has a section without a direction, such as a=sendonly or a=recvonly.")
        return cls(
            sdp,
            frozenset(k for k, d in directions.items() if k in ("audio", "video") and d in ("sendonly", "sendrecv")),
            frozenset(k for k, d in directions.items() if k in ("audio", "video") and d in ("recvonly", "sendrecv")),
        )


@dataclass(frozen=True)
class Fragment:
    """Trickled candidates (RFC 8840). ufrag: whose; candidates of mDNS names are left out."""

    ufrag: str | None
    candidates: tuple[RTCIceCandidate, ...]
    complete: bool

    @classmethod
    def parse(cls, text: str) -> Fragment:
        """Raises InvalidFragment."""
        lines = [line.strip() for line in text.splitlines()]
        values = {
            name: [line.removeprefix(f"a={name}").lstrip(":") for line in lines if line.startswith(f"a={name}")]
            for name in ("ice-ufrag", "candidate", "end-of-candidates")
        }
        if not any(values.values()):
            raise InvalidFragment("The body is not an SDP fragment: it holds no a=candidate, no a=end-of-candidates.")
        try:
            known = [value for value in values["candidate"] if ".local " not in value]
            if not all(map(reachable, known)):
                raise ValueError("an address or a port that cannot be")
            candidates = tuple(map(candidate_from_sdp, known))
        except (AssertionError, ValueError) as error:
            raise InvalidFragment("An a=candidate line of the body cannot be read.") from error
        ufrag = values["ice-ufrag"][0] if values["ice-ufrag"] else None
        return cls(ufrag, candidates, bool(values["end-of-candidates"]))


class Session:
    """A peer connection that answered one offer. `on_over` is called once when it fails or is closed by the peer."""

    def __init__(
        self, ice_servers: Iterable[RTCIceServer], encoding: Encoding, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.answer = ""
        self.on_over: Callable[[], None] = lambda: None
        self._encoding = encoding
        self._clock = clock
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=list(ice_servers)))
        self._pc.on("connectionstatechange", self._state_changed)
        self._created = clock()
        self._life: SignsOfLife | None = None
        self._asking: asyncio.Task[None] | None = None
        self._receptions: dict[RTCRtpReceiver, Reception] = {}
        self._tracks: list[VideoTrack | AudioTrack] = []
        self._ufrag: str | None = None
        self._closing: asyncio.Task[None] | None = None

    async def publish(self, offer: Offer, video: VideoSink | None, audio: AudioSink | None) -> None:
        """Answers a publisher. Raises InvalidOffer, and is closed then."""

        def lead() -> None:
            for transceiver in self._pc.getTransceivers():
                receiver = transceiver.receiver
                if receiver.track is None:
                    continue
                if receiver.track.kind == "video" and video is not None:
                    self._receptions[receiver] = receive_video(
                        receiver, video, self._encoding.bitrates.min, self._clock
                    )
                elif receiver.track.kind == "audio" and audio is not None:
                    self._receptions[receiver] = receive_audio(receiver, audio, self._clock)

        await self._negotiate(offer, lead, "VP8")

    async def watch(self, offer: Offer, video: VideoTrack | None, audio: AudioTrack | None) -> None:
        """Answers a watcher with the tracks. Raises InvalidOffer, and is closed then."""
        self._tracks = [track for track in (video, audio) if track is not None]

        def attach() -> None:
            for track in self._tracks:
                if track.kind in offer.receives:
                    self._pc.addTrack(track)
            for transceiver in self._pc.getTransceivers():
                if video is not None and transceiver.sender.track is video:
                    send_video(transceiver, video)
                elif audio is not None and transceiver.sender.track is audio:
                    send_audio(transceiver, audio)

        await self._negotiate(offer, attach, self._encoding.preferred)

    async def _negotiate(self, offer: Offer, prepare: Callable[[], None], preferred: Codec) -> None:
        try:
            try:
                await self._pc.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
                choose_codecs(self._pc, self._encoding.bitrates, preferred)
            except (OperationError, UnsupportedOffer) as error:
                raise InvalidOffer("The offer has no codec that the relay speaks: VP8 or H264, and Opus.") from error
            except (AssertionError, AttributeError, KeyError, ValueError) as error:  # whatever else is wrong in it
                raise InvalidOffer(f"The offer cannot be answered: {error or type(error).__name__}.") from error
            self._life = SignsOfLife(self._pc, self._clock)
            self._ufrag = remote_ufrag(self._pc)
            prepare()
            try:
                await self._pc.setLocalDescription(await self._pc.createAnswer())
            except ValueError as error:
                raise InvalidOffer(f"The offer cannot be answered: {error}.") from error
            takers = {receiver: reception.take for receiver, reception in self._receptions.items()}
            for transport in transports(self._pc):
                take_directly(transport, takers, self._life.notice)
        except BaseException:
            await self.close()
            raise
        self.answer = self._pc.localDescription.sdp

    async def add_candidates(self, fragment: Fragment) -> None:
        """Raises InvalidFragment where it asks for an ICE restart."""
        if fragment.ufrag is not None and fragment.ufrag != self._ufrag:
            raise InvalidFragment("ICE restarts are not supported: the fragment's ice-ufrag must be the offer's.")
        mid = self._pc.getTransceivers()[0].mid  # all is bundled on the first
        for candidate in fragment.candidates:
            candidate.sdpMid = mid
            await self._pc.addIceCandidate(candidate)
        if fragment.complete:
            await self._pc.addIceCandidate(None)

    def is_lost(self) -> bool:
        """Whether the peer never came, or is gone without a word. Asks a silent one for a sign of life."""
        now = self._clock()
        if self._receptions:
            arrivals = [one.last_arrival for one in self._receptions.values() if one.last_arrival is not None]
            last, patience = max(arrivals, default=None), MEDIA_TIMEOUT
        else:
            last, patience = self._life.last if self._life else None, PEER_TIMEOUT
            if self._life and last is not None and now - last > SILENCE and (not self._asking or self._asking.done()):
                self._asking = asyncio.ensure_future(self._life.ask())
        if last is None:
            last, patience = self._created, CONNECT_TIMEOUT
        return now - last > patience

    async def close(self) -> None:
        """Ends the tracks and the connection. May be called several times."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for track in self._tracks:
            track.stop()
        await self._pc.close()

    def _state_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed") and self._closing is None:
            self.on_over()


def reachable(line: str) -> bool:
    """Whether an a=candidate line, with or without its name, has an IP address and a port that can be."""
    fields = line.split()
    try:
        ip_address(fields[4])
        return 0 < int(fields[5]) < 65536
    except (IndexError, ValueError):
        return False
