"""Faces on their way to an engine of the cluster and back, as bytes in pieces.

Ray passes small arguments and results in its messages, and keeps larger ones in an object store, which may write them
to a disk. Nothing of a face is to be there.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence

import numpy as np

from hime_core.arrays import U8
from hime_core.exemplars.exemplar import Exemplar

PIECE = 64 << 10  # bytes; Ray's bound is 100 KiB for one argument, and 10 MB for all of a call


def pack(exemplars: Sequence[Exemplar]) -> list[bytes]:
    data = pickle.dumps(list(exemplars), protocol=5)
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)] if exemplars else []


def unpack(pieces: Sequence[bytes]) -> list[Exemplar]:
    """From a relay of the same cluster, whose word is trusted as its actors' own code is."""
    found: list[Exemplar] = pickle.loads(b"".join(pieces)) if pieces else []
    return found


def count(side: int) -> int:
    """The pieces that a face of that side, (side, side, 3) uint8, is cut into."""
    return math.ceil(3 * side * side / PIECE)


def cut(face: U8) -> list[bytes]:
    data = face.tobytes()
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


def joined(pieces: Sequence[bytes], side: int) -> U8:
    return np.frombuffer(b"".join(pieces), np.uint8).reshape(side, side, 3)
