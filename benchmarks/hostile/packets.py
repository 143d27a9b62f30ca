"""RTP, RTCP and other datagrams that lie about what is in them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

from benchmarks.hostile.chance import EDGES, damaged, noise

ONE_BYTE, TWO_BYTES = 0xBEDE, 0x1000


@dataclass
class Target:
    """Whom packets are for. types: payload types that mean something there; ssrcs: of its streams; number: the last
    sequence number."""

    types: tuple[int, ...]
    ssrcs: tuple[int, ...]
    number: int = 1000
    timestamp: int = 0


def rtp(rng: Random, to: Target) -> bytes:
    """A packet whose header can be authenticated: its length covers what the header announces (RFC 3711)."""
    to.number = (
        rng.choice((to.number + 1, to.number + 1, to.number + 1, to.number + rng.choice(EDGES), to.number)) & 0xFFFF
    )
    if rng.random() < 0.4:
        to.timestamp = (to.timestamp + rng.choice((3000, 3000, 3000, 1, 0, 2**31, 2**32 - 1))) & 0xFFFFFFFF
    csrcs = 0 if rng.random() < 0.8 else rng.randrange(16)
    extended, padded = rng.random() < 0.5, rng.random() < 0.1
    first = 0x80 | extended << 4 | padded << 5 | csrcs
    ssrc = rng.choice(to.ssrcs) if rng.random() < 0.9 else rng.getrandbits(32)
    second = (rng.random() < 0.4) << 7 | (rng.choice(to.types) if rng.random() < 0.95 else rng.randrange(64))
    head = struct.pack("!BBHLL", first, second, to.number, to.timestamp, ssrc) + bytes(4 * csrcs)
    if extended:
        values = _extensions(rng)
        values += bytes(-len(values) % 4)
        head += struct.pack("!HH", rng.choice((ONE_BYTE, ONE_BYTE, TWO_BYTES, 0, 0xFFFF)), len(values) // 4) + values
    payload = payload_of(rng, to)
    if padded:
        payload += bytes(3) + bytes([rng.choice((0, 1, 4, 200, 255))])
    return head + payload


def storm(rng: Random, to: Target) -> list[bytes]:
    """Sixty packets that do one thing over and over."""
    number, kind, head = rng.getrandbits(16), rng.randrange(6), struct.Struct("!BBHLL")
    video, ssrc = to.types[0], to.ssrcs[0]
    key = b"\x10\x10\x02\x00\x9d\x01\x2a\xa0\x00\x78\x00"
    send_time = struct.pack("!HH", ONE_BYTE, 1)
    sent = []
    for step in range(60):
        at = number + step & 0xFFFF
        match kind:
            case 0:  # each of another stream, and a report about each
                other = rng.getrandbits(32)
                timed = send_time + bytes([0x22]) + (step * 9000 & 0xFFFFFF).to_bytes(3, "big")
                sent.append(head.pack(0x90, 0x80 | video, at, 3000 * step, other) + timed + key)
                sent.append(struct.pack("!BBHLQLLL", 0x80, 200, 6, other, rng.getrandbits(64), step, step, step))
            case 1:  # keyframes that begin and never end
                sent.append(head.pack(0x80, video, at, 3000, ssrc) + key)
            case 2:  # the same, each with a gap before it
                sent.append(head.pack(0x80, video, number + 2 * step & 0xFFFF, 3000 * step, ssrc) + key)
            case 3:  # time that swings from end to end
                timestamp = 0 if step % 2 else 2**32 - 1
                sent.append(head.pack(0x80, 0x80 | video, at, timestamp, ssrc) + key)
            case 4:  # numbers that leap by just less, and just more, than is waited for
                number = number + rng.choice((511, 512, 513, 0x7FFF, 0x8000)) & 0xFFFF
                sent.append(head.pack(0x80, 0x80 | video, number, 3000 * step, ssrc) + key)
            case 5:  # asking for all that was ever sent, again and again
                lost = b"".join(struct.pack("!HH", 17 * n & 0xFFFF, 0xFFFF) for n in range(250))
                sent.append(struct.pack("!BBHLL", 0x81, 205, 2 + 250, 1, ssrc) + lost)
    return sent


def payload_of(rng: Random, to: Target) -> bytes:
    """VP8 and H264 descriptors, truthful or not, and what they are put on."""
    match rng.randrange(9):
        case 0:  # VP8, one partition's start: a keyframe of 160 x 120 by its header
            return (
                bytes([rng.choice((0x10, 0x00, 0x30, 0x17))])
                + b"\x10\x02\x00\x9d\x01\x2a\xa0\x00\x78\x00"
                + noise(rng, 20)
            )
        case 1:  # VP8, every extension
            return bytes([0x90, rng.getrandbits(8)]) + noise(rng, rng.choice((0, 1, 2, 4, 30)))
        case 2:  # H264 STAP-A
            body = b"".join(
                struct.pack("!H", rng.choice((1, 4, 0, 65535))) + b"\x67\x42\0\x1f" for _ in range(rng.randint(0, 4))
            )
            return b"\x78" + body
        case 3:  # H264 FU-A
            return bytes([0x7C, rng.choice((0x85, 0x05, 0x45, 0xC5, 0x81, 0x41))]) + noise(rng, rng.choice((0, 1, 40)))
        case 4:  # of any type
            return bytes([rng.getrandbits(8)]) + noise(rng, rng.choice((0, 1, 20, 1000)))
        case 5:  # RTX: an original number, or half of one
            return struct.pack("!H", (to.number - rng.randrange(600)) & 0xFFFF)[: rng.choice((0, 1, 2, 2))] + noise(
                rng, 8
            )
        case 6:
            return b""
        case 7:
            return b"\x65" + noise(rng, 30)
    return noise(rng, rng.choice((1, 100, 1200)))


def _extensions(rng: Random) -> bytes:
    match rng.randrange(4):
        case 0:  # abs-send-time of any time, under several ids
            return b"".join(bytes([number << 4 | 2]) + noise(rng, 3) for number in (2, 3))
        case 1:
            return noise(rng, rng.choice((4, 8, 40)))
        case 2:
            return bytes([rng.choice((0xF0, 0x2F, 0x00, 0x32))]) * rng.choice((1, 4, 200))
    return b""


def rtcp(rng: Random, to: Target) -> bytes:
    """A compound packet of one to six, of which some lie about their length, padding or count."""
    parts = [_rtcp_part(rng, to) for _ in range(rng.randint(1, 6))]
    data = b"".join(parts)[:1200]
    return data if rng.random() < 0.6 else _as_rtcp(damaged(rng, data))


def _rtcp_part(rng: Random, to: Target) -> bytes:
    ssrc = struct.pack("!L", rng.choice(to.ssrcs))
    any32 = struct.pack("!L", rng.choice((*EDGES[:-1], rng.getrandbits(32))))
    match rng.randrange(12):
        case 10:  # transport-wide feedback on what was sent, or on anything
            count = rng.choice((1, 20, 300, 2048, 65535))
            head = struct.pack("!HHL", rng.choice((0, 1, 60000)), count, rng.getrandbits(32))
            chunks = struct.pack("!H", rng.choice((0, 1, 2, 3)) << 13 | min(count, 0x1FFF)) * rng.randint(1, 9)
            return _part(rng, 205, 15, any32 + ssrc + head + chunks + noise(rng, rng.choice((0, 20, 600))))
        case 0:  # a sender report of any time
            return _part(rng, 200, 0, ssrc + noise(rng, 8) + any32 + noise(rng, 8))
        case 1:  # with reports, in any number
            count = rng.choice((1, 2, 31))
            return _part(rng, rng.choice((200, 201)), count, ssrc + (ssrc + noise(rng, 20)) * rng.choice((count, 1, 0)))
        case 2:
            return _part(rng, 202, rng.randrange(32), ssrc + noise(rng, rng.choice((0, 3, 40))))
        case 3:
            return _part(rng, 203, rng.randrange(32), ssrc * rng.randint(0, 3) + noise(rng, rng.choice((0, 5))))
        case 4:
            return _part(rng, 204, rng.randrange(32), any32 + b"name" + noise(rng, 16))
        case 5:  # NACK of everything, or of anything
            lost = b"".join(struct.pack("!HH", 17 * n & 0xFFFF, 0xFFFF) for n in range(rng.choice((1, 60, 250))))
            return _part(rng, 205, 1, any32 + ssrc + (lost if rng.random() < 0.5 else noise(rng, 40)))
        case 6:
            return _part(rng, 205, rng.choice((0, 3, 15, 31)), any32 + ssrc + noise(rng, rng.choice((0, 20))))
        case 7:
            return _part(rng, 206, rng.choice((1, 4)), any32 + ssrc + noise(rng, rng.choice((0, 8))))
        case 8:  # REMB of nothing, of everything, and of more streams than it names
            rate = rng.choice((b"\0\0\0", b"\xff\xff\xff", noise(rng, 3)))
            return _part(rng, 206, 15, any32 + bytes(4) + b"REMB" + bytes([rng.choice((0, 1, 2, 255))]) + rate + ssrc)
        case 9:
            return _part(rng, 206, 15, any32 + bytes(4) + noise(rng, rng.choice((0, 3, 40))))
    return _part(rng, rng.randrange(192, 224), rng.randrange(32), noise(rng, rng.choice((0, 4, 60))))


def _part(rng: Random, kind: int, count: int, body: bytes) -> bytes:
    padded = rng.random() < 0.1
    body += bytes(-len(body) % 4)
    if padded:
        body += b"\0\0\0" + bytes([rng.choice((0, 4, 5, 255))])
    words = len(body) // 4 if rng.random() < 0.9 else rng.choice((0, 1, 255, 65535))
    return struct.pack("!BBH", 0x80 | padded << 5 | count & 31, kind, words) + body


def _as_rtcp(data: bytes) -> bytes:
    """Long enough to be encrypted, and still of a type that goes to the RTCP parser."""
    data = data.ljust(8, b"\0")
    return bytes([0x80 | data[0] & 0x3F, 192 + data[1] % 32]) + data[2:]


def datagram(rng: Random) -> bytes:
    """What a stranger sends to the port: nothing at all, STUN, DTLS, RTP without a key, and noise."""
    match rng.randrange(8):
        case 0:
            return b""
        case 1:  # STUN, with attributes of wrong lengths
            kinds = (0x0001, 0x0006, 0x0008, 0x0009, 0x0020, 0x0024, 0x0025, 0x8028, 0x8029, 0x802A, 0x000C, 0x7777)
            body = b""
            for _ in range(rng.randint(0, 5)):
                value = noise(rng, rng.choice((0, 1, 3, 4, 8, 20)))
                length = len(value) if rng.random() < 0.7 else rng.choice((0, 4, 65535))
                body += struct.pack("!HH", rng.choice(kinds), length) + value + bytes(-len(value) % 4)
            kind = rng.choice((0x0001, 0x0101, 0x0111, 0x0011, 0x0003, 0x3FFF))
            length = len(body) if rng.random() < 0.8 else rng.choice((0, 65535))
            return struct.pack("!HHI", kind, length, 0x2112A442) + noise(rng, 12) + body
        case 2:  # DTLS records: alerts, hellos, data
            body = noise(rng, rng.choice((0, 2, 12, 300)))
            if rng.random() < 0.3:
                body = b"\x02\x28"
            version = rng.choice((0xFEFD, 0xFEFF, 0x0303, 0))
            epoch = rng.choice((0, 1, 65535))
            kind = rng.choice((20, 21, 22, 23, 25, 63))
            return struct.pack("!BHHHLH", kind, version, epoch, 0, rng.getrandbits(32), len(body)) + body
        case 3:
            return rtp(rng, Target((96, 97), (1, 2)))
        case 4:
            return _as_rtcp(noise(rng, 40))
        case 5:
            return bytes([rng.choice((0, 3, 19, 20, 63, 64, 79, 127, 128, 191, 192, 255))]) * rng.choice((1, 2, 1200))
        case 6:
            return noise(rng, rng.choice((1, 12, 20, 1400, 8000)))
    return damaged(rng, struct.pack("!HHI", 1, 0, 0x2112A442) + noise(rng, 12))
