"""What bitstreams say of their frames: streams of real encoders at known quantizers, and broken ones."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from skimage import data

from hime_core.video.coding import VP8_STEPS, Coding, CodingDecoder, Vp8Steps
from hime_core.video.picture import Picture

RATE = 25
WIDTH, HEIGHT = 150, 100  # neither is a whole number of macroblocks
# libvpx's quantizers 0..63 in the bitstream's indices
VP8_INDICES = (
    *range(6), *range(7, 11), 12, 13, 15, *range(17, 22), *range(23, 32), *range(33, 62, 2), *range(64, 125, 3), 127
)  # fmt: skip
REALTIME = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
CALL = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}


def moving(count: int) -> list[Picture]:
    return [Picture.from_rgb(data.astronaut()[n : HEIGHT + n, 150 + 2 * n : 150 + WIDTH + 2 * n]) for n in range(count)]


def noise(count: int) -> list[Picture]:
    """Grey, wider spread than steps are coarse."""
    rng, grey = np.random.default_rng(1), np.full((48, 64), 128, np.uint8)
    return [
        Picture(np.clip(rng.normal(128, 35, (96, 128)), 16, 235).astype(np.uint8), grey, grey) for _ in range(count)
    ]


def encode(
    pictures: Sequence[Picture], name: str, options: dict[str, str], bitrate: int = 0, qrange: tuple[int, int] = (0, 63)
) -> list[av.Packet]:
    context = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
    context.time_base, context.framerate, context.gop_size = Fraction(1, RATE), Fraction(RATE), 3000
    context.thread_count, context.options = 1, options
    if name == "libvpx":
        context.bit_rate, (context.qmin, context.qmax) = bitrate or 10_000_000, qrange
    elif bitrate:
        context.bit_rate = bitrate
    packets = []
    for number, picture in enumerate(pictures):
        frame = picture.to_frame()
        frame.pts, frame.time_base = number, context.time_base
        packets += context.encode(frame)
    return packets + context.encode(None)


def decode(packets: Sequence[av.Packet], codec: str) -> list[tuple[av.VideoFrame, Coding | None]]:
    decoder = CodingDecoder(av.CodecContext.create(codec, "r"))
    return [frame for packet in [*packets, None] for frame in decoder.decode(packet)]


def constant_vp8(pictures: Sequence[Picture], quantizer: int) -> list[av.Packet]:
    return encode(pictures, "libvpx", REALTIME, qrange=(quantizer, quantizer))


def h264(qp: int) -> float:
    return 0.625 * 2 ** (qp / 6)


def test_vp8_says_what_libvpx_was_told():
    assert len(VP8_INDICES) == 64 and len(VP8_STEPS) == 128
    pictures = moving(3)
    for quantizer, index in enumerate(VP8_INDICES):
        packets = constant_vp8(pictures, quantizer)
        codings = [coding for _, coding in decode(packets, "vp8")]
        assert [coding.step for coding in codings] == [VP8_STEPS[index]] * 3, quantizer
        assert [coding.bytes for coding in codings] == [packet.size for packet in packets]
        assert [coding.keyframe for coding in codings] == [True, False, False]


@pytest.mark.parametrize("qp", [10, 27, 42, 51])
def test_h264_says_what_x264_was_told(qp):
    packets = encode(moving(3), "libx264", CALL | {"qp": str(qp), "x264-params": "ipratio=1"})
    codings = [coding for _, coding in decode(packets, "h264")]
    assert [coding.step for coding in codings] == pytest.approx([h264(qp)] * 3)
    assert [coding.bytes for coding in codings] == [packet.size for packet in packets]
    assert [coding.keyframe for coding in codings] == [True, False, False]


def test_frames_keep_their_own_coding_where_they_change_places():
    """B-frames are coded after the later frame that they are predicted from."""
    kinds = "bframes=2:b-adapt=0:b-pyramid=none:scenecut=0:pbratio=2:ipratio=1"
    options = {"preset": "medium", "qp": "30", "x264-params": kinds}
    packets = encode(moving(8), "libx264", options)
    assert [packet.pts for packet in packets] != sorted(packet.pts for packet in packets)
    sizes = {packet.pts: packet.size for packet in packets}
    decoded = decode(packets, "h264")
    assert [frame.pts for frame, _ in decoded] == list(range(8))
    assert [coding.bytes for _, coding in decoded] == [sizes[number] for number in range(8)]
    for frame, coding in decoded:
        assert coding.step == pytest.approx(h264(36 if frame.pict_type == PictureType.B else 30))


def test_bits_are_shared_by_all_macroblocks():
    ((_, coding), *_) = decode(constant_vp8(moving(1), 20), "vp8")
    assert coding.macroblocks == 10 * 7
    assert coding.bits_per_macroblock == 8 * coding.bytes / 70


@pytest.mark.parametrize(
    ("codec", "encoder", "options"), [("vp8", "libvpx", {"quantizer": 12}), ("vp8", "libvpx", {"quantizer": 28}),
                                      ("h264", "libx264", {"qp": "22"}), ("h264", "libx264", {"qp": "29"})]
)  # fmt: skip
def test_a_step_leaves_the_same_error_in_both_codecs(codec, encoder, options):
    """An even spread of the error over a step has a variance of 1/12 of its square; rounding towards zero adds some."""
    pictures = noise(2)
    if codec == "vp8":
        packets = constant_vp8(pictures, options["quantizer"])
    else:
        packets = encode(pictures, encoder, CALL | options)
    for sent, (frame, coding) in zip(pictures, decode(packets, codec), strict=True):
        error = np.square(Picture.from_frame(frame).y.astype(float) - sent.y).mean()
        assert 1 / 12 < error / coding.step**2 < 1 / 7


def test_the_step_of_deeper_samples_is_in_the_same_grey_levels():
    (picture,) = noise(1)
    sent = picture.to_frame().reformat(format="yuv420p10le")
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = picture.width, picture.height, "yuv420p10le"
    context.time_base, context.options = Fraction(1, RATE), {"preset": "ultrafast", "tune": "zerolatency", "qp": "40"}
    sent.pts = 0
    ((frame, coding),) = decode(context.encode(sent) + context.encode(None), "h264")
    deep = np.frombuffer(frame.planes[0], np.uint16).reshape(frame.height, -1)[:, : frame.width] / 4
    assert 1 / 12 < np.square(deep - picture.y).mean() / coding.step**2 < 1 / 7


@pytest.mark.parametrize(("codec", "encoder", "options"), [("vp8", "libvpx", REALTIME), ("h264", "libx264", CALL)])
def test_a_narrow_uplink_shows(codec, encoder, options):
    pictures = moving(40)
    steps, bits = [], []
    for bitrate in (30_000, 600_000):
        codings = [coding for _, coding in decode(encode(pictures, encoder, options, bitrate), codec)]
        assert None not in codings and len({coding.step for coding in codings}) > 1
        steps.append(np.mean([coding.step for coding in codings[20:]]))
        bits.append(np.mean([coding.bits_per_macroblock for coding in codings[20:]]))
    assert steps[0] > 3 * steps[1]
    assert bits[1] > 3 * bits[0]


def test_segments_count_by_their_shares_and_hold_on():
    """libvpx made resilient refreshes some macroblocks in turn, with a finer quantizer."""
    packets = encode(moving(40), "libvpx", REALTIME | {"error-resilient": "default"}, 40_000, (50, 50))
    coarsest = VP8_STEPS[VP8_INDICES[50]]
    steps = [coding.step for _, coding in decode(packets, "vp8")]
    assert min(steps) > 0.7 * coarsest
    assert max(steps) < coarsest
    reader = Vp8Steps()
    assert [reader.read(bytes(packet)) for packet in packets] == steps


class Bits:
    """Writes a VP8 frame header, RFC 6386 section 7.3 with even probabilities."""

    def __init__(self) -> None:
        self._bottom, self._range, self._written = 0, 255, 0

    def put(self, number: int, bits: int) -> Bits:
        for bit in reversed(range(bits)):
            split = 1 + (self._range - 1) * 128 // 256
            if number >> bit & 1:
                self._bottom, self._range = self._bottom + split, self._range - split
            else:
                self._range = split
            while self._range < 128:
                self._bottom, self._range, self._written = 2 * self._bottom, 2 * self._range, self._written + 1
        return self

    def frame(self, keyframe: bool) -> bytes:
        """The header as the only partition of a frame."""
        bits = self._written + 8
        body = (self._bottom << -bits % 8).to_bytes(-(-bits // 8), "big")
        tag = (len(body) << 5 | 1 << 4 | (not keyframe)).to_bytes(3, "little")
        return tag + (b"\x9d\x01\x2a\x40\x01\xb4\x00" if keyframe else b"") + body


def quantizers(header: Bits, values: Sequence[int], absolute: bool) -> Bits:
    header.put(absolute, 1)
    for value in values:
        header.put(1, 1).put(abs(value), 7).put(value < 0, 1)
    return header.put(0, 4)


def rest(header: Bits, index: int, changes: bool = False) -> Bits:
    header.put(0b1_011111_101, 10)
    if changes:
        header.put(0b11, 2)
        for value in (33, -12, 0, 63):
            header.put(1, 1).put(abs(value), 6).put(value < 0, 1)
        header.put(0, 4)
    else:
        header.put(0, 1)
    return header.put(0b10, 2).put(index, 7)


def test_vp8_headers_of_every_kind():
    reader = Vp8Steps()
    plain = rest(Bits().put(0, 2).put(0, 1), 99, changes=True)
    assert reader.read(plain.frame(True)) == VP8_STEPS[99]
    # segments with a map: 3/4 of the picture in the first two, of which 1/4 in the first; 5/8 of the rest in the third
    header = quantizers(Bits().put(1, 1).put(0b11, 2), (10, 20, 30, 127), absolute=True)
    for probability in (192, 64, 160):
        header.put(1, 1).put(probability, 8)
    shares = np.array([0.1875, 0.5625, 0.15625, 0.09375])
    assert reader.read(rest(header, 50).frame(False)) == pytest.approx(shares @ VP8_STEPS[[10, 20, 30, 127]])
    # nothing new: they hold on
    held = rest(Bits().put(0b100, 3), 60)
    assert reader.read(held.frame(False)) == pytest.approx(shares @ VP8_STEPS[[10, 20, 30, 127]])
    # to be added, within the table's ends
    header = quantizers(Bits().put(1, 1).put(0b01, 2), (-5, 0, 90, -127), absolute=False)
    assert reader.read(rest(header, 60).frame(False)) == pytest.approx(shares @ VP8_STEPS[[55, 60, 127, 0]])
    # switched off for a frame
    assert reader.read(rest(Bits().put(0, 1), 7).frame(False)) == VP8_STEPS[7]
    # and forgotten by the next keyframe
    assert reader.read(rest(Bits().put(0, 2).put(0b100, 3), 40).frame(True)) == VP8_STEPS[40]


def test_what_is_no_header_is_none():
    reader = Vp8Steps()
    whole = rest(Bits().put(0, 2).put(0, 1), 99).frame(True)
    for cut in range(len(whole)):
        assert reader.read(whole[:cut]) is None
    assert reader.read(whole[:3] + b"\0\0\0" + whole[6:]) is None
    assert reader.read(whole[:12], len(whole)) is not None


@pytest.mark.parametrize("codec", ["vp8", "h264"])
def test_damage_raises_nothing_of_its_own_and_gives_no_impossible_step(codec):
    """Only what libavcodec says of a packet that it cannot decode."""
    pictures, draw = moving(12), random.Random(5)
    packets = constant_vp8(pictures, 30) if codec == "vp8" else encode(pictures, "libx264", CALL | {"qp": "30"})
    known = 0
    for _ in range(25):
        decoder = CodingDecoder(av.CodecContext.create(codec, "r"))
        for packet in packets:
            sent = bytearray(bytes(packet))
            match draw.randrange(4):
                case 0:
                    sent = sent[: draw.randrange(len(sent))]
                case 1:
                    for _ in range(draw.randrange(1, 9)):
                        sent[draw.randrange(len(sent))] ^= 1 << draw.randrange(8)
                case 2:
                    sent[: draw.randrange(60)] = draw.randbytes(draw.randrange(60))
            try:
                decoded = decoder.decode(av.Packet(bytes(sent)))
            except av.FFmpegError:
                continue
            for _, coding in decoded:
                assert coding is None or 0.6 < coding.step < 227
                known += coding is not None
    assert known > 50


def test_reading_random_bytes_ends_at_once():
    reader, draw, started = Vp8Steps(), random.Random(6), time.process_time()
    for _ in range(3000):
        step = reader.read(draw.randbytes(draw.randrange(80)))
        assert step is None or VP8_STEPS[0] <= step <= VP8_STEPS[-1]
    assert time.process_time() - started < 3


@pytest.mark.parametrize(("name", "encoder", "options"), [("a.webm", "libvpx", REALTIME), ("a.mp4", "libx264", CALL)])
def test_files_are_read_too(tmp_path: Path, name, encoder, options):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(encoder, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in moving(5):
            container.mux(stream.encode(picture.to_frame()))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / name)) as container:
        decoder = CodingDecoder(container.streams.video[0].codec_context)
        codings = [coding for packet in container.demux(video=0) for _, coding in decoder.decode(packet)]
    assert len(codings) == 5 and None not in codings
    assert all(0.6 < coding.step < 227 for coding in codings)


def test_of_other_codecs_nothing_is_known():
    decoded = decode(encode(moving(2), "mpeg4", {}), "mpeg4")
    assert [coding for _, coding in decoded] == [None, None]
