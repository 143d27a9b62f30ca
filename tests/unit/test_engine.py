import threading
from concurrent.futures import CancelledError
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from hime_core.engine import BatchingEngine, FaceRequest, Late, NcnnBackend, Overload, TorchBackend
from hime_core.engine.recording import padded
from hime_core.exemplars.exemplar import cut_exemplar
from hime_core.exemplars.references import ReferenceCutter
from hime_core.faces.geometry import Box
from hime_core.model.hime import Hime, HimeConfig

BOX = Box(177, 66, 88, 118)
LANDMARKS = np.array([[201, 110], [243, 108], [224, 134], [206, 154], [243, 152]], np.float32)


def lively(config: HimeConfig) -> Hime:
    """A network whose offsets are not zero, as after training."""
    torch.manual_seed(5)
    model = Hime(config).eval()
    for step in model.alignment.steps:
        torch.nn.init.normal_(step.offset_head.weight, std=0.05)
    return model


def request(side: int = 32, references: int = 1) -> FaceRequest:
    """The astronaut's headshot at a size, with exemplars cut from the same picture."""
    photo = data.astronaut()
    lr = cv2.resize(photo[12:212, 121:321], (side, side), interpolation=cv2.INTER_AREA)
    landmarks = (LANDMARKS - (121, 12) + 0.5) * (side / 200) - 0.5
    exemplars = [cut_exemplar(photo, BOX, LANDMARKS, str(i), "call", i, 0.0) for i in range(references)]
    return FaceRequest(lr, landmarks.astype(np.float32), tuple(exemplars))


@pytest.mark.parametrize("config", [HimeConfig(), HimeConfig(scale=8, steps=2), HimeConfig(mirrored=True)])
@pytest.mark.parametrize(("side", "references"), [(16, 1), (32, 3), (48, 2)])
def test_what_a_cpu_runs_gives_what_torch_gives(config, side, references):
    model, rng = lively(config), np.random.default_rng(1)
    large = side * config.scale
    lr = rng.integers(0, 256, (2, side, side, 3), np.uint8)
    refs = rng.integers(0, 256, (2, references, large, large), np.uint8)
    one, other = NcnnBackend(model).infer(lr, refs), TorchBackend(model, "cpu").infer(lr, refs)
    assert one.shape == (2, large, large, 3)
    assert np.abs(one.astype(int) - other).max() <= 1  # a rounding of 8 bits
    assert (one != other).mean() < 0.01


def test_references_are_laid_over_the_face():
    """The exemplar is the very picture: cut and registered, it is the truth at four times the size."""
    truth = cv2.resize(cv2.cvtColor(data.astronaut()[12:212, 121:321], cv2.COLOR_RGB2GRAY), (128, 128),
                       interpolation=cv2.INTER_AREA)  # fmt: skip
    found = ReferenceCutter(4).references(request())
    assert found.shape == (1, 128, 128)
    middle = np.s_[20:108, 20:108]
    assert np.abs(found[0][middle].astype(int) - truth[middle]).mean() < 6


def test_references_cut_in_several_threads_are_those_cut_in_one():
    asked = [request(references=3), request(references=3)]
    asked[1] = FaceRequest(asked[1].lr[::-1].copy(), asked[1].landmarks + 1, asked[1].exemplars[::-1])
    cutter = ReferenceCutter(4, threads=3)
    stacks = cutter.stacks(asked)
    cutter.close()
    assert np.array_equal(stacks, np.stack([ReferenceCutter(4).references(one) for one in asked]))


def test_without_exemplars_the_reference_is_black():
    assert not ReferenceCutter(4).references(request(references=0)).any()


def test_prepared_exemplars_are_bounded_and_live_no_longer_than_theirs():
    cutter, asked = ReferenceCutter(4, capacity=2), request(references=3)
    for side in (16, 20, 24, 32):
        lr = cv2.resize(asked.lr, (side, side), interpolation=cv2.INTER_AREA)
        cutter.references(FaceRequest(lr, asked.landmarks * (side / 32), asked.exemplars))
    assert len(cutter._prepared) == 3
    assert {len(sizes) for sizes in cutter._prepared.values()} == {2}
    cutter.limit = sum(image.nbytes for image, _ in cutter._prepared[asked.exemplars[0]].values())
    cutter.references(FaceRequest(asked.lr[::2, ::2].copy(), asked.landmarks / 2, asked.exemplars[:1]))
    cutter.references(FaceRequest(asked.lr, asked.landmarks * 0.9, asked.exemplars[:1]))
    assert list(cutter._prepared) == [asked.exemplars[0]]  # the others were not used of late
    cutter.limit = 1 << 30
    cutter.references(asked)
    cutter.forget(["0"])
    assert len(cutter._prepared) == 2
    del asked
    assert len(cutter._prepared) == 0


class Gate:
    """A backend that waits until it is let through."""

    scale, max_batch, lanes, cutters = 4, 4, 1, 1

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[int] = []

    def infer(self, lr, references):
        assert self.open.wait(10)
        if lr.shape[1] == 16:
            raise RuntimeError("on purpose")
        self.batches.append(len(lr))
        return np.repeat(np.repeat(lr, 4, 1), 4, 2)


def test_faces_of_like_size_go_together_and_errors_stay_with_theirs():
    gate, sizes = Gate(), []
    engine = BatchingEngine(gate, on_batch=lambda size, seconds: sizes.append(size))
    first = engine.submit([request(32, 0)])  # taken up at once; the others wait behind it
    more = engine.submit([request(32, 0), request(48, 0), request(16, 0), request(32, 0)])
    gate.open.set()
    assert first[0].result(10).shape == (128, 128, 3)
    assert [more[i].result(10).shape[0] for i in (0, 1, 3)] == [128, 192, 128]
    with pytest.raises(RuntimeError, match="on purpose"):
        more[2].result(10)
    assert sum(gate.batches) == 4
    assert max(gate.batches) == 2
    assert sorted(sizes) == sorted(gate.batches)
    engine.close()


def test_a_full_queue_refuses():
    gate = Gate()
    engine = BatchingEngine(gate, capacity=2)
    futures = [engine.submit([request(32, 0)])[0] for _ in range(8)]
    refused = [f for f in futures if f.done() and isinstance(f.exception(), Overload)]
    assert len(refused) >= 2
    gate.open.set()
    assert all(f.result(10) is not None for f in futures if f not in refused)
    engine.close()


def test_padding_repeats_the_last_face_up_to_a_power_of_two():
    batch = torch.arange(5).view(5, 1)
    assert padded(batch).flatten().tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    assert padded(batch[:4]) is not None and len(padded(batch[:4])) == 4
    assert len(padded(batch[:1])) == 1


def test_a_face_that_is_too_late_is_refused_and_counted():
    now = [0.0]
    gate = Gate()
    engine = BatchingEngine(gate, clock=lambda: now[0])
    busy = engine.submit([request(32, 0)])[0]
    late, good = engine.submit([replace(request(32, 0), deadline=1.0), request(32, 0)])
    now[0] = 2.0
    gate.open.set()
    assert busy.result(10) is not None and good.result(10) is not None
    with pytest.raises(Late):
        late.result(10)
    assert engine.late == 1
    engine.close()


def test_closing_cancels_what_waits():
    gate = Gate()
    engine = BatchingEngine(gate, capacity=8)
    futures = [engine.submit([request(32, 0)])[0] for _ in range(8)]
    threading.Timer(0.2, gate.open.set).start()
    engine.close()
    done = [f for f in futures if f.cancelled() or f.done()]
    assert len(done) == 8
    with pytest.raises(CancelledError):
        futures[-1].result(0)


def test_the_engine_holds_on_to_nobodys_face_between_requests():
    gate = Gate()
    gate.open.set()
    engine, asked = BatchingEngine(gate), request(32, 2)
    engine.submit([asked])[0].result(10)
    assert len(engine._runner.cutter._prepared) == 2
    engine.forget(["0"])
    engine._threads[0].join(0.5)
    assert len(engine._runner.cutter._prepared) == 1
    del asked
    assert len(engine._runner.cutter._prepared) == 0
    engine.close()


def test_after_closing_nothing_is_left_waiting():
    engine = BatchingEngine(Gate())
    engine.close()
    assert engine.submit([request(32, 0)])[0].cancelled()


def test_a_failing_observer_does_not_end_the_engine():
    gate = Gate()
    gate.open.set()
    engine = BatchingEngine(gate, on_batch=lambda size, seconds: 1 / 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            engine.submit([request(32, 0)])[0].result(10)
    engine.close()
