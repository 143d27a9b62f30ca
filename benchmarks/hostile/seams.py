"""What must hold of each part of the relay, whatever comes to it. Each raises where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from random import Random
from unittest import mock

import av
import numpy as np
from aiortc.sdp import SessionDescription

from benchmarks.hostile import bitstreams
from benchmarks.hostile.bitstreams import Codec
from benchmarks.hostile.ends import Sink, Transport
from hime_core.compositing.layout import LAYOUTS
from hime_core.compositing.render import Renderer
from hime_core.exemplars.photos import UnusablePhoto, exemplar_from_photo
from hime_core.faces.detector import Detector
from hime_core.video.picture import Picture
from server.exemplars.upload import LONGEST_SIDE, read_photo
from server.media.fragments import Fragment, InvalidFragment, restarted
from server.media.negotiation import (
    InvalidOffer,
    Offer,
    SentStream,
    TooLargeOffer,
    common_sections,
    write_answer,
)
from server.media.receive.decode import Decoder
from server.media.receive.depacketize import Depacketizer
from server.media.receive.jitter import ReceivedData
from server.media.receive.rtp import Packet
from server.media.send.packetize import RtpStream
from server.problems import Problem
from server.settings import InvalidSettings, Settings, load_settings

MAX_BYTES, MAX_PIXELS = 10_000_000, 40_000_000


# --- negotiation


def offer(text: str) -> bool:
    """It is refused as InvalidOffer or TooLargeOffer, or answered with what can be read, and streams can be made of
    it. Whether it was answered."""
    try:
        read = Offer.parse(text)
        sections = common_sections(read, 2_000_000, "H264")
    except (InvalidOffer, TooLargeOffer) as refused:
        _one_sentence(str(refused))
        return False
    sent = {section.kind: SentStream(1, 2, "name") for section in sections}
    answer = write_answer(read, sections, {"audio", "video"}, sent, Transport())
    answered = SessionDescription.parse(answer)
    assert [one.kind for one in answered.media] == [one.kind for one in read.description.media]
    for section in sections:
        stream = RtpStream(section)
        (packet,) = stream.pack([b"payload"], 3000)
        Packet(packet, 0.0, None)
        assert stream.repeat(int.from_bytes(packet[2:4], "big"))
        Depacketizer(section.by_payload_type, section.repair_ssrcs, lambda *_: None, lambda _: None)
    return True


def fragment(text: str) -> bool:
    """It is refused as InvalidFragment, or read. Whether it was read."""
    try:
        read = Fragment.parse(text)
        if read.ufrag is not None and read.password is not None:
            restarted(read)
    except InvalidFragment as refused:
        _one_sentence(str(refused))
        return False
    return True


# --- settings


def settings(environment: Mapping[str, str]) -> bool:
    """Settings, or one line that says what would be right. Whether they were taken."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("HIME_")]:
            del os.environ[name]
        try:
            os.environ.update(environment)
        except (ValueError, UnicodeEncodeError):  # no shell can set it either
            return False
        try:
            taken = load_settings(_env_file=None)
        except InvalidSettings as refused:
            assert any(name in str(refused) for name in environment) or "--" not in str(refused)
            _one_sentence(str(refused))
            return False
    assert isinstance(taken, Settings) and taken.database and taken.photos
    return True


# --- photos


def photo(data: bytes, detector: Detector) -> bool:
    """It is refused with 413 or 415, or read; then it is an exemplar, or told why not. Whether it was read."""
    try:
        read = read_photo(data, 1, MAX_BYTES, MAX_PIXELS)
    except Problem as refused:
        assert refused.status_code in (413, 415), refused
        return False
    height, width, channels = read.rgb.shape
    assert channels == 3 and read.rgb.dtype == np.uint8 and 0 < max(height, width) <= LONGEST_SIDE
    with suppress(UnusablePhoto):
        exemplar_from_photo(read.rgb, detector, "id", 0.0)
    return True


# --- bitstreams


def decoded(codec: Codec, frames: Iterable[bytes], rng: Random) -> int:
    """Each is decoded or counted as failed; all that comes out can be shown in every view; and a whole stream behind
    them is decoded. How many pictures came out of the damaged ones."""
    sink = Sink()
    failed: list[bool] = []
    seconds = count()  # so fast is nobody that frames are left out for it
    decoder = Decoder(sink, lambda: None, lambda: failed.append(True), lambda: float(next(seconds)))
    number = 0
    for frame in frames:
        _put(decoder, codec, frame, number := number + 1)
    decoder._queue.put(None)
    decoder.run()
    for _, coding in sink.frames:
        assert coding is None or (np.isfinite(coding.step) and coding.bits_per_macroblock >= 0)
    if sink.frames:
        shown(sink.frames[-1][0], rng)
    came = len(sink.frames)
    whole = bitstreams.stream(codec, 64, 48)
    sink.frames.clear()
    for frame in whole * 2:
        _put(decoder, codec, frame, number := number + 1)
    decoder._queue.put(None)
    decoder.run()
    assert len(sink.frames) >= len(whole), f"{len(sink.frames)} of {2 * len(whole)} whole frames"
    last = sink.frames[-1][0]
    assert (last.width, last.height) == (64, 48)
    return came


def shown(frame: av.VideoFrame, rng: Random) -> None:
    """The views of a decoded frame are pictures with even sides, whatever its size."""
    try:
        picture = Picture.from_frame(frame)
    except ValueError:
        assert min(frame.width, frame.height) < 2
        return
    view, layout = rng.choice(("enhanced", "original", "compare")), rng.choice(LAYOUTS)
    placed = Renderer(view, layout, rng.choice((None, 640, 1920))).place(picture, ())
    width, height = placed.picture.width, placed.picture.height
    assert width >= 2 and height >= 2 and not width % 2 and not height % 2
    assert placed.picture.u.shape == (height // 2, width // 2)


def _put(decoder: Decoder, codec: Codec, data: bytes, number: int) -> None:
    decoder.put(codec, ReceivedData(data, 3000 * number, 0.0, 96, 1, 3000 * number))


def _one_sentence(text: str) -> None:
    assert text and "\n" not in text and len(text) < 500, text[:1000]
