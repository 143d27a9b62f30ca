"""One photo in its three forms: an exemplar, what is told of it, and what is stored, sealed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from hime_core.exemplars.exemplar import Exemplar, resolution_of
from hime_core.faces.geometry import Box, Headshot
from server.exemplars.cipher import Keyring, is_sealed
from server.exemplars.schema import PhotoRow

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Face:
    """What describes the face; all of it is sealed. box is [x, y, w, h] in the uploaded photo's upright pixels.

    The picture kept is the face's surroundings only; headshot [cx, cy, side] and landmarks are in its pixels.
    """

    box: list[float]
    headshot: list[float]
    landmarks: list[list[float]]
    sharpness: float
    yaw: float
    light: float


@dataclass(frozen=True)
class StoredPhoto:
    """Times are Unix seconds."""

    id: str
    created_at: float
    expires_at: float
    face: Face


def face_of(exemplar: Exemplar, box: Box) -> Face:
    headshot = exemplar.headshot
    return Face(
        box=[round(float(value), 1) for value in (box.x, box.y, box.width, box.height)],
        headshot=[float(value) for value in (headshot.cx, headshot.cy, headshot.side)],
        landmarks=exemplar.landmarks.astype(float).tolist(),
        sharpness=float(exemplar.sharpness),
        yaw=float(exemplar.yaw),
        light=float(exemplar.light),
    )


def seal_face(face: Face, id: str, person: str, keyring: Keyring) -> bytes:
    """person: the pseudonym. A row's face opens in this row only."""
    return keyring.seal(json.dumps(asdict(face)).encode(), _face_context(id, person))


def open_row(row: PhotoRow, keyring: Keyring) -> StoredPhoto:
    face = Face(**json.loads(keyring.open(row.sealed, _face_context(row.id, row.person))))
    return StoredPhoto(row.id, row.created_at, row.expires_at, face)


def reseal_row(row: PhotoRow, keyring: Keyring) -> None:
    context = _face_context(row.id, row.person)
    row.sealed = keyring.seal(keyring.open(row.sealed, context), context)


def seal_picture(jpeg: bytes, id: str, keyring: Keyring) -> bytes:
    return keyring.seal(jpeg, _picture_context(id))


def open_picture(stored: bytes, row: PhotoRow, keyring: Keyring) -> bytes:
    """Only where the row says that an earlier version stored it, a file is taken as it is."""
    if not row.key and not is_sealed(stored):
        return stored
    return keyring.open(stored, _picture_context(row.id))


def jpeg_of(exemplar: Exemplar) -> bytes:
    buffer = BytesIO()
    Image.fromarray(exemplar.image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def exemplar_of(photo: StoredPhoto, jpeg: bytes, now: float) -> Exemplar:
    with Image.open(BytesIO(jpeg), formats=("JPEG",)) as image:
        pixels = np.array(image.convert("RGB"))
    headshot = Headshot(*photo.face.headshot)
    return Exemplar(
        id=photo.id,
        image=pixels,
        headshot=headshot,
        landmarks=np.asarray(photo.face.landmarks, np.float32),
        sharpness=photo.face.sharpness,
        yaw=photo.face.yaw,
        light=photo.face.light,
        source="photo",
        frame=0,
        time=now,
        resolved=resolution_of(pixels, headshot),
    )


def _face_context(id: str, person: str) -> str:
    return f"face:{id}:{person}"


def _picture_context(id: str) -> str:
    return f"picture:{id}"
