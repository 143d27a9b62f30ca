"""One peer connection of the relay: it answers an offer, takes trickled candidates, and tells when it is over."""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiortc import RTCIceCandidate
from aiortc.rtp import RtcpPacket

from server.exhaustion import Exhausted
from server.media import transport_cc
from server.media.aiortc_door import PeerTransport
from server.media.candidates import usable
from server.media.fragments import Fragment, InvalidFragment, restarted, write_fragment
from server.media.ice_connection import Network
from server.media.negotiation import (
    ABS_SEND_TIME,
    InvalidOffer,
    Offer,
    Section,
    common_sections,
    write_answer,
)
from server.media.receive.receiver import AudioReceiver, AudioSink, Receiver, VideoReceiver, VideoSink
from server.media.receive.rtp import Packet
from server.media.rules import SessionRules, TooMany
from server.media.send.encoder import Encoding
from server.media.send.sender import AudioSender, Sender, VideoSender
from server.media.send.tracks import AudioTrack, VideoTrack
from server.supervision import Tasks

PEER_TIMEOUT = 5.0  # seconds without a sign of life, after which a watcher is lost
SILENCE = 1.5  # seconds after which a peer is asked for one

log = logging.getLogger(__name__)


class Session:
    """A peer connection that answers one offer. For one event loop's thread.

    answer: the SDP answer; empty before, and where the session was closed while it was made. subject: whose it is, who
    alone may end it. on_over: called once when the connection fails or is closed by the peer; on_closed: once when all
    of it has ended, whatever the way.
    """

    def __init__(
        self,
        network: Network,
        encoding: Encoding,
        clock: Callable[[], float] = time.monotonic,
        subject: str = "",
        rules: SessionRules = SessionRules(),  # noqa: B008  # frozen
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.subject = subject
        self.answer = ""
        self.on_over: Callable[[], None] = lambda: None
        self.on_closed: Callable[[], None] = lambda: None
        self._rules = rules
        self._candidates: set[tuple[str, int]] = set()  # addresses and ports that the peer has named
        self._patches = 0
        self._patching = asyncio.Lock()
        self._peer_ufrag: str | None = None  # of the newest ICE session
        self._encoding = encoding
        self._clock = clock
        self._transport = PeerTransport(
            network, self._receive_rtp, self._receive_rtcp, lambda: self.on_over(), clock, rules.refused
        )
        self._created = clock()
        self._withheld = False  # whether the peer has candidates that were left out
        self._sections: list[Section] = []
        self._receivers: list[Receiver] = []
        self._by_payload_type: dict[int, Receiver] = {}
        self._senders: list[Sender] = []
        self._tracks: list[VideoTrack | AudioTrack] = []
        self._send_time_id: int | None = None
        self._number_id: int | None = None
        self._tasks = Tasks("a connection's task")
        self._connecting: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[float | None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def publish(self, offer: Offer, video: VideoSink | None, audio: AudioSink | None) -> None:
        """Answers a publisher. Raises InvalidOffer, and is closed then."""
        async with self._closed_on_error():
            self._sections = common_sections(offer, self._encoding.bitrates.start)
            for section in self._sections:
                if section.kind not in offer.sends:
                    continue
                if section.kind == "video" and video is not None:
                    least, rules = self._encoding.bitrates.min, self._rules.frames
                    self._add_receiver(VideoReceiver(section, self._transport, video, least, self._clock, rules))
                elif section.kind == "audio" and audio is not None:
                    self._add_receiver(AudioReceiver(section, self._transport, audio, self._clock))
            await self._answer(offer)

    async def watch(self, offer: Offer, video: VideoTrack | None, audio: AudioTrack | None) -> None:
        """Answers a watcher with the tracks, which end with the session. Raises InvalidOffer, and is closed then."""
        self._tracks = [track for track in (video, audio) if track is not None]
        async with self._closed_on_error():
            self._sections = common_sections(offer, self._encoding.bitrates.start, self._encoding.preferred)
            together = secrets.token_hex(8)  # names what is to be played together
            for section in self._sections:
                if section.kind not in offer.receives:
                    continue
                if section.kind == "video" and video is not None:
                    self._senders.append(VideoSender(section, self._transport, video, together))
                elif section.kind == "audio" and audio is not None:
                    self._senders.append(AudioSender(section, self._transport, audio, together))
            await self._answer(offer)

    @property
    def said_goodbye(self) -> bool:
        """Whether the peer itself has closed the connection; otherwise its network is lost."""
        return self._transport.said_goodbye

    @property
    def over(self) -> bool:
        return self._closing is not None

    @property
    def ice_tag(self) -> str:
        """Names the ICE session: another after each restart."""
        return str(self._transport.ice_parameters.usernameFragment)

    async def patch(self, fragment: Fragment) -> str | None:
        """Takes the candidates of a fragment. Where it begins an ICE restart, the relay's own fragment, else None.

        Raises InvalidFragment where a restart cannot be made, TooMany, and NoPort.
        """
        if self._patches >= self._rules.patches:
            raise self._too_many(f"At most {self._rules.patches} requests with candidates are taken for one session.")
        self._patches += 1
        async with self._patching:
            if fragment.ufrag is not None and fragment.ufrag != self._peer_ufrag:
                return await self._restart(fragment)
            await self._take_all(fragment)
        return None

    async def _restart(self, fragment: Fragment) -> str:
        """RFC 8445, section 9. The old ICE session is in use until the new one has found a way, or for good."""
        ice = restarted(fragment)
        if self._transport.state != "connected":
            raise InvalidFragment("What is not connected cannot be restarted: make a new session.")
        self._check_number(len(usable(fragment.candidates)))
        await self._transport.restart()
        self._peer_ufrag, self._candidates, self._withheld = ice.usernameFragment, set(), False
        await self._take_all(fragment)
        self._tasks.run(self._transport.reconnect(ice, self._rules.connect_timeout))
        sections = [(section.kind, section.mid) for section in self._sections]
        return write_fragment(sections, self._transport.ice_parameters, self._transport.candidates)

    async def _take_all(self, fragment: Fragment) -> None:
        self._withheld |= fragment.withheld
        await self._take(fragment.candidates)
        if fragment.complete:
            await self._end_candidates()

    def is_lost(self) -> bool:
        """Whether the peer never came, or is gone without a word. Asks a silent one for a sign of life.

        One who sends no media, but answers, is not lost: a phone in a pocket has stopped its camera.
        """
        now, last = self._clock(), self._transport.last_heard
        if last is None:
            return now - self._created > self._rules.connect_timeout
        patience = self._rules.media_timeout if self._receivers else PEER_TIMEOUT
        silent = now - last > min(SILENCE, patience / 3)  # early enough for a second question
        if silent and (self._asking is None or self._asking.done()):
            self._asking = self._tasks.run(self._transport.round_trip())
        return now - last > patience

    async def close(self) -> None:
        """Ends the tracks and the connection. May be called several times."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    # --- inside

    @asynccontextmanager
    async def _closed_on_error(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            await self.close()
            raise

    async def _take(self, candidates: Iterable[RTCIceCandidate]) -> None:
        """Those that may be checked; browsers name others in good faith. Raises TooMany before any is taken."""
        new = [one for one in usable(candidates) if (one.ip, one.port) not in self._candidates]
        self._check_number(len(self._candidates) + len(new))
        for candidate in new:
            self._candidates.add((candidate.ip, candidate.port))
            if self._rules.candidates.allows(candidate.ip):
                await self._transport.add_candidate(candidate)
            else:
                self._withheld = True
                self._rules.refused("candidate_address")

    def _check_number(self, candidates: int) -> None:
        """Raises TooMany."""
        most = self._rules.candidates.most
        if candidates > most:
            raise self._too_many(f"A session has at most {most} candidates, offered and trickled ones together.")

    def _too_many(self, detail: str) -> TooMany:
        self._rules.refused("candidates")
        return TooMany(detail)

    def _add_receiver(self, receiver: Receiver) -> None:
        self._receivers.append(receiver)
        self._by_payload_type.update((payload_type, receiver) for payload_type in receiver.section.by_payload_type)

    async def _answer(self, offer: Offer) -> None:
        if not self._sections:
            raise InvalidOffer("The offer has no media: one audio and one video section at most are answered.")
        self._send_time_id, self._number_id = map(self._extension, (ABS_SEND_TIME, transport_cc.URI))
        offered = offer.description.media
        await self._take(candidate for media in offered for candidate in media.ice_candidates)
        self._withheld |= offer.withheld
        self._peer_ufrag = self._sections[0].ice.usernameFragment
        if any(media.ice_candidates_complete for media in offered):
            await self._end_candidates()
        await self._transport.gather()
        if self._closing is not None:  # who was watched has left meanwhile
            return
        if not self._transport.candidates:
            raise Exhausted("no socket could be opened for the connection")
        received = {receiver.section.kind for receiver in self._receivers}
        sent = {sender.section.kind: sender.description for sender in self._senders}
        self.answer = write_answer(offer, self._sections, received, sent, self._transport)
        self._connecting = asyncio.create_task(self._connect())

    def _extension(self, uri: str) -> int | None:
        """The id that a header extension has in all bundled sections."""
        ids = (section.extension(uri) for section in self._sections)
        return next((number for number in ids if number is not None), None)

    async def _end_candidates(self) -> None:
        """ICE fails once all known pairs have; not where the peer has addresses that only its own checks will show, as
        a browser's behind mDNS names, or none that is of use. Such a connection has until it is lost."""
        if self._candidates and not self._withheld:
            await self._transport.add_candidate(None)

    async def _connect(self) -> None:
        first = self._sections[0]  # all is bundled on it
        try:
            await self._transport.connect(first.ice, first.dtls, first.dtls_role)
            if self._transport.state == "connected":
                for one in self._ends():
                    one.start()
        except Exception:
            log.exception("a connection ends before it has begun")
            self.on_over()

    def _receive_rtp(self, data: bytes) -> None:
        try:
            packet = Packet(data, self._clock(), self._send_time_id, self._number_id)
        except ValueError:
            return
        receiver = self._by_payload_type.get(packet.payload_type)
        if receiver is not None:
            receiver.receive(packet)

    def _receive_rtcp(self, data: bytes) -> None:
        if self._number_id is not None:
            messages, data = transport_cc.take_feedback(data)
            for message in messages:
                for sender in self._senders:
                    sender.receive_feedback(message)
        try:
            packets = RtcpPacket.parse(data)
        except (ValueError, struct.error):
            return
        for packet in packets:
            for one in self._ends():
                one.receive_rtcp(packet)

    def _ends(self) -> list[Receiver | Sender]:
        return [*self._receivers, *self._senders]

    async def _close(self) -> None:
        try:
            for track in self._tracks:
                track.stop()
            self._tasks.cancel()
            if self._connecting is not None:
                self._connecting.cancel()
            for sender in self._senders:
                await sender.close()
            # At once: a decoder that hangs is waited for, and the peer is not to wait for its goodbye.
            await asyncio.gather(*(receiver.close() for receiver in self._receivers), self._transport.close())
        finally:
            self.on_closed()
