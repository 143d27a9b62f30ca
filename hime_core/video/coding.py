"""How coarsely each frame of a stream was coded, as its bitstream says: VP8 and H264."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, cast

import av
import numpy as np
from av.sidedata.encparams import VideoEncParams

from hime_core.arrays import Array

# The step of VP8's luma AC coefficients by quantizer index, RFC 6386 section 14.1. Its transform gives twice what an
# orthonormal one does.
_FINE, _COARSE = (*range(4, 58), *range(58, 118, 2), *range(119, 174, 3)), (*range(177, 230, 4), 234, 239, 245, 249)
VP8_STEPS = np.array([*_FINE, *_COARSE, *range(254, 285, 5)]) / 2
_HEADER = 40  # bytes of a VP8 frame that its header takes at most
_VP8_KEYFRAME = b"\x9d\x01\x2a"


@dataclass(frozen=True)
class Coding:
    """How coarsely one frame was coded.

    step: of luma's AC coefficients, in grey levels of 0..255 and an orthonormal transform; the mean over the
    macroblocks. 2 to 142 in VP8, 0.6 to 226 in H264. It means the same in both, though encoders of H264 give up more
    coefficients as too small. What a macroblock took over unchanged from earlier frames was coded with their step.
    bytes: of the encoded frame. macroblocks: 16 x 16 pixels each.
    """

    step: float
    bytes: int
    macroblocks: int
    keyframe: bool

    @property
    def bits_per_macroblock(self) -> float:
        return 8 * self.bytes / self.macroblocks


class _Sent(NamedTuple):
    """What a packet tells of the frame in it."""

    step: float | None
    bytes: int


class CodingDecoder:
    """Decodes one stream, and tells of each frame how it was coded."""

    def __init__(self, context: av.VideoCodecContext) -> None:
        """context: a decoder that has not decoded yet, and decodes through here only."""
        self._context = context
        self._vp8 = Vp8Steps()
        context.copy_opaque = True  # frames may leave in another order than their packets came
        if context.name == "h264":
            context.options = context.options | {"export_side_data": "venc_params"}

    def decode(self, packet: av.Packet[av.VideoStream] | None) -> list[tuple[av.VideoFrame, Coding | None]]:
        """The frames that are finished by a packet, or by the end of the stream.

        None with a frame where its coding is not known: other codecs, and headers that cannot be read. Raises
        av.FFmpegError for a packet that cannot be decoded; the next one may be.
        """
        if packet is not None and packet.size:
            step = None
            if self._context.name == "vp8":
                step = self._vp8.read(bytes(memoryview(packet)[: _HEADER + 10]), packet.size)
            packet.opaque = _Sent(step, packet.size)
        return [(frame, self._coding(frame)) for frame in self._context.decode(packet)]

    def _coding(self, frame: av.VideoFrame) -> Coding | None:
        step, size = frame.opaque if isinstance(frame.opaque, _Sent) else (None, 0)
        if self._context.name == "h264":
            step = h264_step(frame)
        if step is None or not size:
            return None
        return Coding(step, size, -(-frame.width // 16) * -(-frame.height // 16), frame.key_frame)


def h264_step(frame: av.VideoFrame) -> float | None:
    """The mean step, from what libavcodec exports with a decoded frame; None where it exported nothing.

    It is 0.625 at QP 0, and six more double it. Deeper samples have a QP that counts from further below.
    """
    exported = frame.side_data.get("VIDEO_ENC_PARAMS")
    if not isinstance(exported, VideoEncParams) or not exported.nb_blocks:
        return None
    # AVVideoEncParams: blocks of src_x, src_y, width, height, delta_qp, 32 bits each. PyAV's qp_map() takes 40 times as
    # long at 720p.
    first, stride = exported.blocks_offset // 4 + 4, exported.block_size // 4
    memory = cast("memoryview[int]", exported)  # it is a buffer, which its annotations leave out
    above = np.frombuffer(memory, np.int32)[first : first + stride * exported.nb_blocks : stride]
    qp = exported.qp + above - 6 * (frame.format.components[0].bits - 8)
    return float(0.625 * np.exp2(qp / 6).mean())


@dataclass
class Vp8Steps:
    """Reads the frame headers of one VP8 stream in order, as segments hold on from frame to frame."""

    _values: list[int] = field(default_factory=lambda: [0, 0, 0, 0])  # of the segments' quantizer indices
    _absolute: bool = False  # or to be added to the frame's
    _shares: Array = field(default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0]))  # of the segments

    def read(self, data: bytes, size: int | None = None) -> float | None:
        """The mean step of the next frame, None where its header cannot be read.

        data: the frame, or its first 50 bytes of `size`. How many macroblocks each segment has is taken from the
        probabilities that the frame gives for them, as they are coded behind the header.
        """
        if len(data) < 3:
            return None
        tag = int.from_bytes(data[:3], "little")
        keyframe, start = not tag & 1, 3
        if keyframe:
            if data[3:6] != _VP8_KEYFRAME:
                return None
            start = 10
        first_partition = tag >> 5
        if not 0 < first_partition <= (len(data) if size is None else size) - start:
            return None
        return self._step(_Bools(data[start : start + first_partition]), keyframe)

    def _step(self, header: _Bools, keyframe: bool) -> float:
        """RFC 6386 sections 9.3 to 9.6."""
        if keyframe:
            header.number(2)  # colour space, clamping
            self._values, self._absolute, self._shares = [0, 0, 0, 0], False, np.array([1.0, 0.0, 0.0, 0.0])
        segmented = header.number(1)
        if segmented:
            self._segments(header)
        header.number(10)  # loop filter: type, level, sharpness
        if header.number(1) and header.number(1):  # its changes by reference frame and mode
            for _ in range(8):
                header.optional(6, signed=True)
        header.number(2)  # partitions
        index = header.number(7)
        if not segmented:
            return float(VP8_STEPS[index])
        indices = np.clip(np.array(self._values) + (0 if self._absolute else index), 0, len(VP8_STEPS) - 1)
        return float(VP8_STEPS[indices] @ self._shares)

    def _segments(self, header: _Bools) -> None:
        changes_map = header.number(1)
        if header.number(1):
            self._absolute = bool(header.number(1))
            self._values = [header.optional(7, signed=True) or 0 for _ in range(4)]
            for _ in range(4):
                header.optional(6, signed=True)  # loop filter levels
        if changes_map:
            low, first, third = ((255 if p is None else p) / 256 for p in (header.optional(8) for _ in range(3)))
            self._shares = np.array([low * first, low * (1 - first), (1 - low) * third, (1 - low) * (1 - third)])


class _Bools:
    """RFC 6386 section 7, for values whose bits are as often 0 as 1, which those of a frame header are."""

    def __init__(self, data: bytes) -> None:
        """Past its end, data goes on with zeros."""
        self._value = int.from_bytes(data[:_HEADER].ljust(_HEADER, b"\0"), "big")
        self._shift = 8 * _HEADER - 8  # of the value's highest byte that has not been consumed
        self._range = 255

    def number(self, bits: int) -> int:
        number = 0
        for _ in range(bits):
            split = (self._range + 1) // 2
            one = self._value >= split << self._shift
            if one:
                self._value -= split << self._shift
                self._range -= split
            else:
                self._range = split
            while self._range < 128:
                self._range *= 2
                self._shift -= 1
            number = 2 * number + one
        return number

    def optional(self, bits: int, signed: bool = False) -> int | None:
        """A flag and, where it is set, a number and perhaps its sign."""
        if not self.number(1):
            return None
        number = self.number(bits)
        return -number if signed and self.number(1) else number
