"""What is hostile, to each part of the relay that reads it: refused in one sentence, or taken; never a crash or a hang.

The same cases at every run. `python -m benchmarks.hostile` makes others.
"""

from __future__ import annotations

import warnings
from collections import Counter
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from benchmarks.hostile import seams
from benchmarks.hostile.bitstreams import SIZES
from benchmarks.hostile.cases import KINDS, bounded
from benchmarks.hostile.chance import spread
from benchmarks.hostile.pictures import picture
from hime_core.faces.detector import MtcnnDetector, ScanningDetector

READ = {"SDP offers": 1500, "fragments": 600, "settings": 600, "photos": 900}  # by hypothesis, which shrinks what fails
FLOWS = {"RTP and RTCP": 2000, "VP8 frames": 1000, "H264 frames": 1000, "frames of changing sizes": 400}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of pictures that are then refused
def test_what_is_read(kind: str, cases: Counter[str]) -> None:
    @hypothesis_settings(
        max_examples=READ[kind],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(rng=st.randoms(use_true_random=False))
    def any_of_them(rng: Random) -> None:
        with bounded():
            cases[kind] += KINDS[kind](rng)

    any_of_them()


@pytest.mark.parametrize("kind", FLOWS)
def test_what_comes_in_streams(kind: str, cases: Counter[str]) -> None:
    taken = index = 0
    while taken < FLOWS[kind]:
        with bounded():
            taken += KINDS[kind](spread(f"tests {kind}", index))
        index += 1
    cases[kind] += taken


def test_the_face_detector_takes_frames_of_any_size(cases: Counter[str]) -> None:
    detector = ScanningDetector(MtcnnDetector())
    for size in (*(size for size in SIZES if max(size) <= 320), (2, 2), (17, 17), (40, 4), (1, 1)):
        noise = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), np.uint8)
        with bounded():
            assert isinstance(detector.for_stream().detect(noise), list)
        cases["frames to the detector"] += 1


@pytest.mark.filterwarnings("ignore")
def test_the_face_detector_takes_photos_of_any_kind(cases: Counter[str]) -> None:
    detector = ScanningDetector(MtcnnDetector()).for_stream()
    read = 0
    for index in range(60):
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read += seams.photo(picture(spread("tests detector", index)), detector)
        cases["photos to the detector"] += 1
    assert read  # some could be read, or nothing was tried
