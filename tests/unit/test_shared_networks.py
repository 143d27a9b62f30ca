"""Detectors that share their networks see what each sees alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from hime_core.faces.detector import MtcnnDetector, ScanningDetector
from hime_core.faces.geometry import Box
from hime_core.faces.mtcnn import Gathered, SharedNetworks


def pictures() -> list[np.ndarray]:
    astronaut = data.astronaut()
    small = cv2.resize(astronaut, (320, 320), interpolation=cv2.INTER_AREA)
    return [
        astronaut,
        small,
        small[:, ::-1].copy(),
        cv2.resize(astronaut, (640, 480)),
        np.zeros((90, 160, 3), np.uint8),
    ]


def test_many_threads_find_the_faces_that_one_finds_alone():
    alone, shared = MtcnnDetector(), MtcnnDetector(networks=SharedNetworks("cpu"))
    box = Box(177.0, 61.0, 87.0, 112.0)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(shared.detect, pictures() * 3))
        refined = list(threads.map(lambda _: shared.refine(pictures()[0], box), range(4)))
    for picture, faces in zip(pictures() * 3, found, strict=True):
        expected = alone.detect(picture)
        assert len(faces) == len(expected)
        for one, other in zip(faces, expected, strict=True):
            assert np.abs(one.landmarks - other.landmarks).max() < 0.05
            assert one.score == pytest.approx(other.score, abs=1e-3)
    expected = alone.refine(pictures()[0], box)
    assert all(np.abs(one.landmarks - expected.landmarks).max() < 0.05 for one in refined)


def test_streams_over_shared_networks_keep_their_own_faces():
    scanning = ScanningDetector(MtcnnDetector(networks=SharedNetworks("cpu")))
    frames = [picture for picture in pictures() for _ in range(2)]
    streams = [scanning.for_stream() for _ in frames]
    with ThreadPoolExecutor(len(frames)) as threads:
        found = list(threads.map(lambda stream, frame: stream.detect(frame), streams, frames))
    for frame, faces in zip(frames, found, strict=True):
        expected = ScanningDetector().detect(frame)
        assert [np.round(face.box.centre) .tolist() for face in faces] == [
            np.round(face.box.centre).tolist() for face in expected
        ]  # fmt: skip


class Slow:
    """A network that doubles what it is given, once it may."""

    def __init__(self) -> None:
        self.free, self.begun, self.sizes = threading.Event(), threading.Event(), list[int]()

    def __call__(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.sizes.append(len(batch))
        self.begun.set()
        assert self.free.wait(10)
        if (batch < 0).any():
            raise ValueError("on purpose")
        return (batch * 2,)


def test_what_is_asked_meanwhile_goes_together_and_comes_back_to_each():
    slow = Slow()
    gathered = Gathered(slow, torch.device("cpu"))
    inputs = [torch.full((n + 1, 3, 4, 4), float(n)) for n in range(4)]
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(gathered, [inputs[0]])
        assert slow.begun.wait(10)
        more = [threads.submit(gathered, [one, torch.ones(1, 3, 8, 8)]) for one in inputs[1:]]
        while len(gathered._waiting) < 3:
            pass
        slow.free.set()
        assert torch.equal(first.result(10)[0][0], inputs[0] * 2)
        for future, one in zip(more, inputs[1:], strict=True):
            same, other = future.result(10)
            assert torch.equal(same[0], one * 2) and other[0].shape == (1, 3, 8, 8)
    assert slow.sizes == [1, 2 + 3 + 4, 3]


def test_an_error_is_that_of_its_batch_alone():
    slow = Slow()
    slow.free.set()
    gathered = Gathered(slow, torch.device("cpu"))
    with pytest.raises(ValueError, match="on purpose"):
        gathered([torch.full((1, 3, 4, 4), -1.0)])
    assert torch.equal(gathered([torch.ones(1, 3, 4, 4)])[0][0], torch.full((1, 3, 4, 4), 2.0))


def test_where_the_device_fails_the_cpu_goes_on(caplog):
    def lost(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise RuntimeError("CUDA error: unspecified launch failure")

    gathered = Gathered(lost, torch.device("cpu"), spare=lambda batch: (batch + 1,))
    for _ in range(2):
        assert torch.equal(gathered([torch.zeros(1, 3, 4, 4)])[0][0], torch.ones(1, 3, 4, 4))
    assert len(caplog.records) == 1
