"""People from clips, as `benchmarks.shared.portrait` shows them."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.shared.portrait import CLOSE_SIDE, Person
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import headshot_of

LENGTH = 240  # frames


def person_of(path: Path, detector: MtcnnDetector) -> Person | None:
    """The clip's first frames, reduced to a headshot of about 300 px, the face where it is in the first of them."""
    pictures: list[np.ndarray] = []
    scale, headshot = 1.0, None
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24")
            if headshot is None:
                small = min(1.0, 480 / max(rgb.shape[:2]))
                faces = detector.detect(cv2.resize(rgb, None, fx=small, fy=small, interpolation=cv2.INTER_AREA))
                if not faces:
                    return None
                found = headshot_of(max(faces, key=lambda f: f.box.height).moved(1 / small, 0, 0).box)
                if found.side < CLOSE_SIDE:
                    return None
                scale = min(1.0, 300 / found.side)
                headshot = (found.cx * scale, found.cy * scale, found.side * scale)
            pictures.append(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
            if len(pictures) == LENGTH:
                break
    # Back and forth, so that the end of a short clip is no cut.
    return Person((*pictures, *pictures[-2:0:-1]), headshot) if headshot else None
