"""Exemplars from photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from hime_core.arrays import Array
from hime_core.exemplars.exemplar import OF_PHOTO, Exemplar, cut_exemplar, inside, plausible
from hime_core.faces.geometry import headshot_of

if TYPE_CHECKING:
    from hime_core.faces.detector import Detection, Detector

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SEARCHED_SIDE = 1024
SIMILAR = 0.6
UNUSABLE = ("no_face", "several_faces", "small", "cut_off", "covered", "turned", "light", "blurred")


class UnusablePhoto(ValueError):
    """A photo that cannot be an exemplar; the message says why, and what would be right. kind: one of UNUSABLE."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def exemplar_from_photo(rgb: Array, detector: Detector, id: str, time: float) -> Exemplar:
    """The exemplar of the largest face in a (height, width, 3) uint8 photo.

    Raises UnusablePhoto when there is no face, more than one of similar size, or when it is too small, cut off,
    blurred, turned away, too dark or too bright.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"a photo of shape {rgb.shape} and type {rgb.dtype}: (height, width, 3) uint8 is needed")
    faces = sorted(_faces(rgb, detector), key=lambda face: -face.box.height)
    if not faces:
        raise UnusablePhoto(
            "no_face", "no face was found: a photo that shows one face from the front, in good light, is needed"
        )
    face = faces[0]
    if len(faces) > 1 and faces[1].box.height > SIMILAR * face.box.height:
        raise UnusablePhoto(
            "several_faces", "more than one face is in the photo: a photo of one person alone is needed"
        )
    side = headshot_of(face.box).side
    if side < OF_PHOTO.side:
        raise UnusablePhoto(
            "small",
            f"the face is too small: head and hair measure {side:.0f} pixels, at least {OF_PHOTO.side:.0f} are needed",
        )
    if not inside(face.box, rgb.shape[1], rgb.shape[0]):
        raise UnusablePhoto(
            "cut_off", "the face is cut off by the photo's edge: a photo that shows the whole face is needed"
        )
    if not plausible(face.landmarks, face.box):
        raise UnusablePhoto(
            "covered", "eyes, nose and mouth cannot be made out: a photo with an uncovered face is needed"
        )
    exemplar = cut_exemplar(rgb, face.box, face.landmarks, id, "photo", 0, time)
    if abs(exemplar.yaw) > OF_PHOTO.yaw:
        raise UnusablePhoto(
            "turned",
            f"the face is turned away by about {abs(exemplar.yaw):.0f} degrees: at most {OF_PHOTO.yaw:.0f} are usable",
        )
    if not 0.06 < exemplar.light < 0.95:
        raise UnusablePhoto("light", "the face is too dark or too bright: a photo in even light is needed")
    if exemplar.sharpness < OF_PHOTO.sharpness:
        raise UnusablePhoto(
            "blurred",
            f"the face is too blurred: sharpness {exemplar.sharpness:.2f}, at least {OF_PHOTO.sharpness} is needed;"
            " a photo in focus, held still, would do",
        )
    return exemplar


def _faces(rgb: Array, detector: Detector) -> list[Detection]:
    """Faces found on a copy of bounded size: a face that is too small there is too small altogether."""
    height, width = rgb.shape[:2]
    scale = min(1.0, SEARCHED_SIDE / max(height, width))
    if scale == 1:
        return detector.detect(rgb)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    copy = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return [face.moved(width / size[0], 0, 0) for face in detector.detect(copy)]
