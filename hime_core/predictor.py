"""The library's face: exemplars once, pictures many times.

from hime_core import Hime, HimePredictor

predictor = HimePredictor(Hime.from_pretrained("small-x4-call"))
predictor.set_exemplars([photo])
sharp = predictor.predict(picture)
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from hime_core.arrays import U8
from hime_core.compositing.detail import difference, luma_of, patch
from hime_core.compositing.layout import Placement
from hime_core.compositing.render import add_patches, place
from hime_core.engine import best_device, build_backend
from hime_core.engine.protocol import FaceRequest
from hime_core.exemplars.bank import ExemplarBank
from hime_core.exemplars.exemplar import Exemplar
from hime_core.exemplars.photos import UnusablePhoto, exemplar_from_photo
from hime_core.exemplars.references import ReferenceCutter
from hime_core.faces.detector import Detection, Detector, MtcnnDetector
from hime_core.faces.geometry import crop, face_square, headshot_of, resized
from hime_core.faces.quality import yaw_degrees
from hime_core.model.hime import Hime
from hime_core.stream.gate import lr_side
from hime_core.video.picture import Picture

REFERENCES = 3


class HimePredictor:
    """Gives the faces of one person in pictures their details back. For one thread.

    For streams of video there is `hime_core.stream.enhancer.Enhancer`, which tracks, times and carries along.
    """

    def __init__(self, model: Hime, detector: Detector | None = None, device: str | None = None) -> None:
        """device: "cpu" or "cuda"; None for the best there is."""
        self._backend = build_backend(model, device or best_device())
        self._detector = detector or MtcnnDetector()
        self._cutter = ReferenceCutter(model.config.scale)
        self._bank: ExemplarBank | None = None

    def set_exemplars(self, photos: Sequence[U8]) -> None:
        """Sharp photos of the person, uint8 (H, W, 3), one face in each, instead of those given before.

        Raises UnusablePhoto, which says of which photo and why; the exemplars stay as they were then.
        """
        bank = ExemplarBank(max(2, 2 * len(photos)))  # photos fill half of it
        for number, photo in enumerate(photos, 1):
            try:
                bank.add_photo(exemplar_from_photo(photo, self._detector, str(number), time.monotonic()))
            except UnusablePhoto as error:
                raise UnusablePhoto(error.kind, f"photo {number}: {error}") from None
        self._bank = bank

    def predict(self, picture: U8, faces: Sequence[Detection] | None = None) -> U8:
        """The picture, uint8 (H, W, 3), enlarged by the network's scale, its faces with details: uint8 (sH, sW, 3).

        faces: where they are; None: they are sought, from about 20 pixels on. Without exemplars the network does what
        it can on a blank reference.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"a picture of shape {picture.shape} and type {picture.dtype}: (H, W, 3) uint8 is needed")
        scale, planes = self._backend.scale, Picture.from_rgb(picture)
        patches = []
        for face in self._detector.detect(picture) if faces is None else faces:
            square = face_square(headshot_of(face.box))
            image = crop(picture, square.x, square.y, square.side)
            side = lr_side(square.side, heavy=False)
            landmarks = (face.landmarks - (square.x, square.y) + 0.5) * (side / square.side) - 0.5
            light = (float(luma_of(planes.y, square).mean()) - 16) / 219
            request = FaceRequest(resized(image, side), landmarks, self._exemplars(face, light, side))
            sharp = self._backend.infer(request.lr[None], self._cutter.references(request)[None])[0]
            patches.append(patch(square, difference(sharp, resized(image, sharp.shape[0])), 1.0))
        placement = Placement(scale * planes.width, scale * planes.height, scale)
        return add_patches(place(planes, placement), placement, patches).rgb()

    def _exemplars(self, face: Detection, light: float, side: int) -> tuple[Exemplar, ...]:
        if self._bank is None:
            return ()
        yaw = yaw_degrees(face.landmarks)
        return self._bank.select(face.landmarks, yaw, light, side, self._backend.scale, REFERENCES)
