"""Transport-wide feedback for congestion control: when each packet came.

The format is draft-holmer-rmcat-transport-wide-cc-extensions-01's.

Its sender numbers all packets of a connection in a header extension of two bytes; the receiver tells of each number
whether it came, and when, by a clock of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
RTPFB, FMT = 205, 15

TICK = 0.000250  # seconds, the unit of what is between two arrivals
REFERENCE = 256  # ticks, the unit of the time that a message begins with
PERIOD = REFERENCE << 24  # ticks, after which that time begins anew
MOST_PACKETS = 2048  # that one message tells of: its format has room for 65535, of which a few bytes say that none came
MOST_MESSAGES = 4  # of a compound packet that are read
LONGEST_RUN = 0x1FFF
SMALL, LARGE = range(0x100), range(-0x8000, 0x8000)  # ticks
MISSING, BY_SMALL, BY_LARGE = 0, 1, 2  # a packet's status

_HEAD, _BODY, _CHUNK, _LARGE = struct.Struct("!BBH"), struct.Struct("!LLHHL"), struct.Struct("!H"), struct.Struct("!h")


@dataclass(frozen=True)
class Feedback:
    """base: the number of the first packet that is told of, 16 bits. arrivals: when it and those after it came, seconds
    of the receiver's clock, None for those that have not. count: of messages before this one, 8 bits."""

    ssrc: int
    media_ssrc: int
    base: int
    arrivals: tuple[float | None, ...]
    count: int = 0

    def __bytes__(self) -> bytes:
        """Raises ValueError where no packet has come, or two came further apart than a message can tell."""
        first = next((arrival for arrival in self.arrivals if arrival is not None), None)
        if first is None or len(self.arrivals) > MOST_PACKETS:
            raise ValueError(f"a message tells of 1 to {MOST_PACKETS} packets, of which one has come")
        last = round(first / TICK) // REFERENCE * REFERENCE
        time = (last % PERIOD) // REFERENCE << 8 | self.count & 0xFF
        statuses, deltas = [], bytearray()
        for arrival in self.arrivals:
            if arrival is None:
                statuses.append(MISSING)
                continue
            ticks = round(arrival / TICK) - last
            last += ticks
            if ticks in SMALL:
                statuses.append(BY_SMALL)
                deltas.append(ticks)
            elif ticks in LARGE:
                statuses.append(BY_LARGE)
                deltas += _LARGE.pack(ticks)
            else:
                raise ValueError("packets that came too far apart for one message")
        body = _BODY.pack(self.ssrc, self.media_ssrc, self.base, len(self.arrivals), time)
        body += b"".join(map(_CHUNK.pack, _chunks(statuses))) + deltas
        padding = -len(body) % 4
        if padding:
            body += bytes(padding - 1) + bytes((padding,))
        return _HEAD.pack(0xA0 | FMT if padding else 0x80 | FMT, RTPFB, len(body) // 4) + body

    @classmethod
    def parse(cls, data: bytes) -> Feedback:
        """data: one RTCP packet with its header. Raises ValueError."""
        try:
            head, kind, words = _HEAD.unpack_from(data)
            if head & 0xDF != 0x80 | FMT or kind != RTPFB or len(data) != 4 + 4 * words:
                raise ValueError("no transport-wide feedback")
            end = len(data) - (data[-1] if head & 0x20 else 0)
            ssrc, media_ssrc, base, number, time = _BODY.unpack_from(data, 4)
            if number > MOST_PACKETS:
                raise ValueError(f"feedback on more than {MOST_PACKETS} packets")
            at = 4 + _BODY.size
            statuses: list[int] = []
            while len(statuses) < number:
                statuses += _statuses(*_CHUNK.unpack_from(data, at))
                at += 2
            ticks = (time >> 8) * REFERENCE
            arrivals: list[float | None] = []
            for status in statuses[:number]:
                if status == MISSING:
                    arrivals.append(None)
                    continue
                if status == BY_SMALL:
                    ticks, at = ticks + data[at], at + 1
                elif status == BY_LARGE:
                    ticks, at = ticks + _LARGE.unpack_from(data, at)[0], at + 2
                else:
                    raise ValueError("a status that is reserved")
                arrivals.append(ticks * TICK)
        except (struct.error, IndexError) as error:
            raise ValueError("transport-wide feedback cut short") from error
        if at > end:
            raise ValueError("transport-wide feedback cut short")
        return cls(ssrc, media_ssrc, base, tuple(arrivals), time & 0xFF)


def take_feedback(compound: bytes) -> tuple[list[Feedback], bytes]:
    """The messages in a compound RTCP packet, and the packet without them, as not every parser bears them. What cannot
    be read is left out."""
    found, rest, at = list[Feedback](), b"", 0
    while at + 4 <= len(compound):
        head, kind, words = _HEAD.unpack_from(compound, at)
        packet = compound[at : at + 4 + 4 * words]
        at += len(packet)
        if kind != RTPFB or head & 0x1F != FMT:
            rest += packet
            continue
        if len(found) == MOST_MESSAGES:
            continue
        with suppress(ValueError):
            found.append(Feedback.parse(packet))
    return found, rest + compound[at:]


def _chunks(statuses: Sequence[int]) -> Iterator[int]:
    """Runs where they pay, else vectors of 14 statuses of one bit or 7 of two."""
    at = 0
    while at < len(statuses):
        status, run = statuses[at], 1
        while at + run < len(statuses) and statuses[at + run] == status and run < LONGEST_RUN:
            run += 1
        one_bit = statuses[at : at + 14]
        if run >= 14 or at + run == len(statuses) or (run >= 7 and BY_LARGE in one_bit):
            yield status << 13 | run
            at += run
        elif BY_LARGE not in one_bit:
            yield 0x8000 | sum(bit << 13 - place for place, bit in enumerate(one_bit))
            at += 14
        else:
            yield 0xC000 | sum(bits << 12 - 2 * place for place, bits in enumerate(statuses[at : at + 7]))
            at += 7


def _statuses(chunk: int) -> list[int]:
    if not chunk & 0x8000:
        return [chunk >> 13] * (chunk & LONGEST_RUN)
    if not chunk & 0x4000:
        return [chunk >> 13 - place & 1 for place in range(14)]
    return [chunk >> 12 - 2 * place & 3 for place in range(7)]
