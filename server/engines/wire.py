"""What a worker and an engine process say to each other: one message a packet, over a Unix socket (SOCK_SEQPACKET).

A message is a byte that says its kind, and little-endian fields. No message holds a picture: those of faces are in the
slots of memory.py, those of exemplars in files that exist in memory alone and travel beside the message (SCM_RIGHTS).

Both ends are of one installation. VERSION tells an end that was started before an update from one after it.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from hime_core.arrays import F32, U8
from hime_core.exemplars.exemplar import Exemplar
from hime_core.faces.geometry import Headshot

VERSION = 1
LONGEST = 1 << 16  # bytes of a message
MOST_EXEMPLARS = 255  # of one face
MOST = 100  # answers in one message
MOST_TOLD = 255  # batches, and waits, that one message tells of
WORDS = 300  # bytes of an error that are told


class Kind(IntEnum):
    HELLO = 1  # from the process, when its networks are loaded
    FAILED = 2  # instead, when they could not be
    SLOTS = 3  # from the worker, with the slots' file; the first that it says
    EXEMPLAR = 4  # with the picture's file
    FACES = 5
    DROP = 6  # exemplars
    CANCEL = 7  # a face that is no longer wanted
    ANSWERS = 8


class Status(IntEnum):
    SHARP = 0  # the slot holds the sharp face
    OVERLOAD = 1
    LATE = 2
    CANCELLED = 3
    ERROR = 4


class Face(NamedTuple):
    """A request. number: its name until it is answered; side: of its LR face, which the slot holds; stream: whose it
    is, for a fair share; landmarks: float32 (5, 2); exemplars: their numbers, best first."""

    number: int
    slot: int
    side: int
    stream: int
    deadline: float
    landmarks: F32
    exemplars: tuple[int, ...]


class Answer(NamedTuple):
    """side: of the sharp face; words: of an error."""

    number: int
    status: Status
    side: int = 0
    words: str = ""


class Answers(NamedTuple):
    """Of one worker. batches: sizes and seconds of batches, and waits: seconds that faces have waited, both since the
    message before, to whomever that went."""

    answers: Sequence[Answer]
    batches: Sequence[tuple[int, float]] = ()
    waits: Sequence[float] = ()


_HELLO = struct.Struct("<BHH")
_SLOTS = struct.Struct("<BHI")
_FACE = struct.Struct("<IHHBqd40s")
_ANSWERS = struct.Struct("<BBB")
_ANSWER = struct.Struct("<IBHH")
_BATCH = struct.Struct("<Hd")
_NUMBER = struct.Struct("<BI")
# Number, height, width, landmarks, headshot, sharpness, yaw, light, resolved, step, time, frame, sighting, whether it
# is a photo.
_EXEMPLAR = struct.Struct("<BIHH40s3d4d2dqq?")


def kind_of(message: bytes) -> Kind:
    """Raises ValueError where it is none."""
    return Kind(message[0])


def connection() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def hello(scale: int) -> bytes:
    return _HELLO.pack(Kind.HELLO, VERSION, scale)


def read_hello(message: bytes) -> int:
    """The engine's scale. Raises RuntimeError with the reason where there is no engine, or it speaks otherwise."""
    if kind_of(message) is Kind.FAILED:
        raise RuntimeError(message[1:].decode(errors="replace"))
    _, version, scale = _HELLO.unpack(message)
    if version != VERSION:
        raise RuntimeError(f"the engine process speaks version {version} and not {VERSION}: restart the relay")
    return int(scale)


def failed(reason: str) -> bytes:
    return bytes([Kind.FAILED]) + reason.encode()[:WORDS]


def slots(count: int, size: int) -> bytes:
    return _SLOTS.pack(Kind.SLOTS, count, size)


def read_slots(message: bytes) -> tuple[int, int]:
    """How many, and the bytes of one."""
    _, count, size = _SLOTS.unpack(message)
    return count, size


def faces(asked: Iterable[Face]) -> bytes:
    parts = [bytes([Kind.FACES])]
    for face in asked:
        count = len(face.exemplars)
        landmarks = np.ascontiguousarray(face.landmarks, np.float32).tobytes()
        parts.append(_FACE.pack(face.number, face.slot, face.side, count, face.stream, face.deadline, landmarks))
        parts.append(struct.pack(f"<{count}I", *face.exemplars))
    return b"".join(parts)


def read_faces(message: bytes) -> Iterator[Face]:
    at = 1
    while at < len(message):
        number, slot, side, count, stream, deadline, landmarks = _FACE.unpack_from(message, at)
        at += _FACE.size
        exemplars = struct.unpack_from(f"<{count}I", message, at)
        at += 4 * count
        yield Face(number, slot, side, stream, deadline, _points(landmarks), exemplars)


def answers(told: Answers) -> bytes:
    parts = [_ANSWERS.pack(Kind.ANSWERS, len(told.batches), len(told.waits))]
    parts += [_BATCH.pack(size, seconds) for size, seconds in told.batches]
    parts.append(struct.pack(f"<{len(told.waits)}d", *told.waits))
    for number, status, side, text in told.answers:
        words = text.encode()[:WORDS]
        parts.append(_ANSWER.pack(number, status, side, len(words)) + words)
    return b"".join(parts)


def read_answers(message: bytes) -> Answers:
    _, batches, waits = _ANSWERS.unpack_from(message)
    after = _ANSWERS.size + batches * _BATCH.size
    at = after + 8 * waits
    told = list(_BATCH.iter_unpack(message[_ANSWERS.size : after])), struct.unpack(f"<{waits}d", message[after:at])
    found = []
    while at < len(message):
        number, status, side, words = _ANSWER.unpack_from(message, at)
        at += _ANSWER.size + words
        found.append(Answer(number, Status(status), side, message[at - words : at].decode(errors="replace")))
    return Answers(found, *told)


def cancel(number: int) -> bytes:
    return _NUMBER.pack(Kind.CANCEL, number)


def number_of(message: bytes) -> int:
    """The face that CANCEL, or the exemplar that EXEMPLAR is about."""
    return int(_NUMBER.unpack_from(message)[1])


def drop(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<B{len(numbers)}I", Kind.DROP, *numbers)


def read_drop(message: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(message) // 4}I", message[1:])


def exemplar(number: int, one: Exemplar) -> bytes:
    """All but its picture, and its id, which is a name that only the worker needs."""
    height, width = one.image.shape[:2]
    shot = one.headshot
    return _EXEMPLAR.pack(
        Kind.EXEMPLAR, number, height, width, np.ascontiguousarray(one.landmarks, np.float32).tobytes(),
        shot.cx, shot.cy, shot.side, one.sharpness, one.yaw, one.light, one.resolved,
        math.nan if one.step is None else one.step, one.time, one.frame, one.sighting, one.source == "photo",
    )  # fmt: skip


def read_exemplar(message: bytes, image: U8, id: str) -> Exemplar:
    """image: of picture_shape()."""
    _, _, _, _, landmarks, *told = _EXEMPLAR.unpack(message)
    cx, cy, side, sharpness, yaw, light, resolved, step, time, frame, sighting, photo = told
    return Exemplar(
        id=id,
        image=image,
        headshot=Headshot(cx, cy, side),
        landmarks=_points(landmarks),
        sharpness=sharpness,
        yaw=yaw,
        light=light,
        source="photo" if photo else "call",
        frame=frame,
        time=time,
        resolved=resolved,
        step=None if math.isnan(step) else step,
        sighting=sighting,
    )


def picture_shape(message: bytes) -> tuple[int, int, int]:
    """Of an exemplar's picture."""
    _, _, height, width, *_ = _EXEMPLAR.unpack(message)
    return height, width, 3


def _points(told: bytes) -> F32:
    return np.frombuffer(told, np.float32).reshape(5, 2)
