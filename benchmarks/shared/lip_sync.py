"""Whether picture and sound of one moment are shown at one moment: a call of flashes and bursts, and what comes of it.

A publisher films a flash and hears a burst of a tone at the same moments, and its sender reports give the times of
capture, as a browser's do, in a clock that is not the relay's. Watchers keep their packets and look into them later.
Offsets are seconds, positive where the sound leads (the sign of ITU-R BT.1359 and EBU R37).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import httpx
import numpy as np
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import RtcpSrPacket, RtpPacket

from benchmarks.shared.peers import Peer, number_of, numbered
from benchmarks.shared.stand_ins import picture_of_a_face
from hime_core.video.picture import Picture

SOUND_LEADS, SOUND_LAGS = 0.045, 0.125  # seconds, the most of each
FPS, WIDTH, HEIGHT = 20, 320, 180
AUDIO_RATE, VIDEO_RATE, SAMPLES = 48000, 90000, 960
EVERY, LASTS = 1.0, 0.2  # seconds between the moments, and of a flash and a burst
AHEAD = 5000.0  # seconds that the publisher's clock is ahead of the relay's
NTP_OF_UNIX = 2_208_988_800  # seconds
SIDE = slice(round(0.45 * HEIGHT), round(0.9 * HEIGHT)), slice(0, WIDTH // 4)  # where the flash is


class Scene:
    """What is before camera and microphone. Moments are counted in seconds from its beginning."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._ntp = time.time() + NTP_OF_UNIX + AHEAD - time.monotonic()

    async def until(self, moment: float) -> None:
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0.0, self._start + moment - time.monotonic()))

    def ntp(self, moment: float) -> float:
        """Of the publisher's clock, seconds."""
        assert self._start is not None
        return self._ntp + self._start + moment


class Camera(MediaStreamTrack):
    """A face that sits still, its frames numbered, bright beside it while a flash lasts."""

    kind = "video"
    rate = VIDEO_RATE

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene, self.begins, self._number = scene, 0.0, 0
        self._face = picture_of_a_face(np.zeros((HEIGHT, WIDTH), np.uint8))

    async def recv(self) -> av.VideoFrame:
        number, self._number = self._number, self._number + 1
        await self.scene.until(number / FPS)
        luma = numbered(WIDTH, HEIGHT, number)
        luma[HEIGHT // 4 :] = self._face[HEIGHT // 4 :]
        if happening(number / FPS):
            luma[SIDE] = 235
        frame = Picture(luma, *(np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8),) * 2).to_frame()
        frame.pts, frame.time_base = number * VIDEO_RATE // FPS, Fraction(1, VIDEO_RATE)
        return frame


class Microphone(MediaStreamTrack):
    """Bursts of a tone, in packets that leave when their last sample has been heard."""

    kind = "audio"
    rate = AUDIO_RATE

    def __init__(self, scene: Scene, begins: float = 0.0) -> None:
        super().__init__()
        self.scene, self.begins, self._samples = scene, begins, 0

    async def recv(self) -> av.AudioFrame:
        moments = self.begins + (self._samples + np.arange(SAMPLES)) / AUDIO_RATE
        await self.scene.until(moments[-1])
        wave = np.where(happening(moments), 12000 * np.sin(2 * np.pi * 1000 * moments), 0)
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None, :], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, self._samples, Fraction(1, AUDIO_RATE)
        self._samples += SAMPLES
        return frame


def happening(moment: Any) -> Any:
    """Whether a flash and a burst are on. The first comes after one of the times between them."""
    moment = moment + 1e-6  # a frame of the very moment is lit
    return (moment >= EVERY) & (moment % EVERY < LASTS)


def report_capture(sender: RTCRtpSender, track: Camera | Microphone) -> None:
    """Has the sender's reports tell when what it sends was captured; aiortc's tell when it was sent."""
    encode, send = sender._next_encoded_frame, sender._send_rtcp
    origin, given = 0, 0

    async def next_encoded_frame(codec: Any) -> Any:
        nonlocal origin, given
        origin = sender._RTCRtpSender__rtp_timestamp - given
        encoded = await encode(codec)
        given = encoded.timestamp if encoded else given
        return encoded

    async def send_rtcp(packets: list[Any]) -> None:
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                elapsed = (packet.sender_info.rtp_timestamp - origin & 0xFFFFFFFF) / track.rate
                packet.sender_info.ntp_timestamp = int(track.scene.ntp(track.begins + elapsed) * (1 << 32))
        if sender._RTCRtpSender__packet_count:
            await send(packets)

    sender._next_encoded_frame, sender._send_rtcp = next_encoded_frame, send_rtcp


async def publish(peer: Peer, path: str, scene: Scene, audio_after: float = 0.0) -> Peer:
    tracks = Camera(scene), Microphone(scene, audio_after)
    await peer.publish(path, *tracks)
    for sender in peer.pc.getSenders():
        report_capture(sender, next(track for track in tracks if track is sender.track))
    return peer


@dataclass
class Kept:
    """A stream as it came: packets with the times of their arrival, and reports (NTP seconds, RTP timestamp)."""

    rate: int
    packets: list[tuple[float, RtpPacket]] = field(default_factory=list)
    reports: list[tuple[float, tuple[float, int]]] = field(default_factory=list)

    def ntp(self, timestamp: int, arrived: float) -> float | None:
        """By the last report there was when it arrived, NTP seconds."""
        known = [report for at, report in self.reports if at <= arrived]
        if not known:
            return None
        ntp, rtp = known[-1]
        return ntp + ((timestamp - rtp + (1 << 31) & 0xFFFFFFFF) - (1 << 31)) / self.rate


class KeepingPeer(Peer):
    """A watcher that keeps everything and decodes nothing meanwhile."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        super().__init__(http)
        self.kept = {"video": Kept(VIDEO_RATE), "audio": Kept(AUDIO_RATE)}

    async def watch(self, path: str, kinds: tuple[str, ...] = ("audio", "video"), codec: str = "video/VP8") -> Peer:
        await super().watch(path, kinds, codec)
        for transceiver in self.pc.getTransceivers():
            self._keep(transceiver.receiver, self.kept[transceiver.kind])
        return self

    @staticmethod
    def _keep(receiver: Any, kept: Kept) -> None:
        handle = receiver._handle_rtcp_packet

        async def keep_packet(packet: RtpPacket, arrival_time_ms: int) -> None:
            kept.packets.append((time.monotonic(), packet))

        async def keep_report(packet: Any) -> None:
            if isinstance(packet, RtcpSrPacket):
                info = packet.sender_info
                kept.reports.append((time.monotonic(), (info.ntp_timestamp / (1 << 32), info.rtp_timestamp)))
            await handle(packet)

        receiver._handle_rtp_packet, receiver._handle_rtcp_packet = keep_packet, keep_report


@dataclass(frozen=True)
class Sensed:
    """What a watcher saw. moment: of the scene; ntp: as the reports say, None where none had come."""

    moment: float
    arrived: float
    ntp: float | None


def flashes(kept: Kept) -> list[Sensed]:
    """The first lit frame of each."""
    decoder, data, found, was_lit = av.CodecContext.create("vp8", "r"), b"", [], False
    for arrived, packet in kept.packets:
        data += vp8_depayload(packet.payload) if packet.payload else b""
        if not packet.marker:
            continue
        frames, data = decoder.decode(av.Packet(data)), b""
        for frame in frames:
            luma, number = Picture.from_frame(frame).y, number_of(frame)
            lit = float(luma[SIDE].mean()) > 165
            if lit and not was_lit:
                found.append(Sensed(number / FPS, arrived, kept.ntp(packet.timestamp, arrived)))
            was_lit = lit
    return found


def bursts(kept: Kept) -> list[tuple[float, float | None]]:
    """When each began: by its packet's arrival and its place therein, and as the reports say."""
    decoder, found, quiet = av.CodecContext.create("libopus", "r"), [], AUDIO_RATE
    for arrived, packet in kept.packets:
        for frame in decoder.decode(av.Packet(packet.payload)):
            loud = np.abs(_samples(frame)) > 0.06
            first = int(loud.argmax())
            if loud.any() and quiet + first > AUDIO_RATE * (EVERY - LASTS) / 2:
                ntp = kept.ntp(packet.timestamp, arrived)
                found.append((arrived + first / AUDIO_RATE, None if ntp is None else ntp + first / AUDIO_RATE))
            quiet = int(loud[::-1].argmax()) if loud.any() else quiet + len(loud)
    return found


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """One channel, -1..1."""
    array = frame.to_ndarray().astype(np.float32)
    if frame.format.name.startswith("s16"):
        array /= 1 << 15
    return array[0] if frame.format.is_planar else array.reshape(-1, len(frame.layout.channels))[:, 0]


@dataclass(frozen=True)
class Offsets:
    """Seconds that the sound leads by, moment by moment: as packets came, and as the sender reports have it.

    clock: what the reports say of a flash, less the publisher's own time of it.
    """

    arrival: list[float]
    reports: list[float]
    clock: list[float]


def offsets(peer: KeepingPeer, scene: Scene, since: float = 0.0) -> Offsets:
    """Of the flashes that came after `since`, in time.monotonic's seconds."""
    heard = bursts(peer.kept["audio"])
    got = Offsets([], [], [])
    for flash in flashes(peer.kept["video"]):
        if flash.arrived < since or not heard:
            continue
        began = flash.moment - flash.moment % EVERY if flash.moment % EVERY < LASTS else flash.moment
        shift = flash.moment - began  # the flash's first frames may have been dropped
        at, ntp = min(heard, key=lambda burst: abs(burst[0] - (flash.arrived - shift)))
        if abs(at - (flash.arrived - shift)) > EVERY / 2:
            continue
        got.arrival.append(flash.arrived - shift - at)
        if flash.ntp is not None and ntp is not None:
            got.reports.append(flash.ntp - shift - ntp)
            got.clock.append(flash.ntp - scene.ntp(flash.moment))
    return got


def within(offset: float) -> bool:
    """The requirement."""
    return -SOUND_LAGS <= offset <= SOUND_LEADS
