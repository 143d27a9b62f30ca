"""Faces enhanced on a device from beginning to end, against references that are cut on the host."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hime_core.engine import BatchingEngine, DeviceRunner, FaceRequest, HostRunner, TorchBackend, device_runner
from hime_core.evaluation.clips import LandmarksOnly
from hime_core.exemplars.references import ReferenceCutter
from hime_core.exemplars.shelf import Shelf
from hime_core.model.hime import Hime
from tests.unit.test_engine import request


@pytest.fixture(scope="module")
def model() -> Hime:
    return Hime.from_pretrained("tiny-x4-call")


def asked(side: int, references: int, turned: float = 0.0) -> FaceRequest:
    """A face with its landmarks turned and spread a little, so that no exemplar lies over it as it is."""
    one = request(side, references)
    centre = one.landmarks.mean(0)
    turn = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
    return replace(one, landmarks=((one.landmarks - centre) @ turn * (1 + turned) + centre).astype(np.float32))


@pytest.mark.parametrize("side", [16, 32, 48])
def test_exemplars_are_laid_over_the_face_as_on_the_host(model, side, monkeypatch):
    monkeypatch.setattr(device_runner, "register", lambda references, lr: references)
    requests = [asked(side, 2, turned) for turned in (0.0, 0.1, -0.15)]
    expected = LandmarksOnly(4).stacks(requests).astype(float)
    found = DeviceRunner(model, "cpu").references(requests).astype(float)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 0.5  # OpenCV's warp knows 32nds of a pixel


@pytest.mark.parametrize("side", [16, 32, 48])
def test_and_registered_about_as_on_the_host(model, side):
    requests = [asked(side, 2, turned) for turned in (0.0, 0.1, -0.15)]
    laid, expected = (cutter(4).stacks(requests).astype(float) for cutter in (LandmarksOnly, ReferenceCutter))
    found = DeviceRunner(model, "cpu").references(requests).astype(float)
    middle = np.s_[..., side : 3 * side, side : 3 * side]
    assert np.abs(found - expected)[middle].mean() < 0.5 * np.abs(laid - expected)[middle].mean()


def test_faces_are_those_of_the_host(model):
    requests = [asked(32, 3, turned) for turned in (0.0, 0.1)]
    device, host = DeviceRunner(model, "cpu"), HostRunner(TorchBackend(model, "cpu"))
    device.references([asked(32, 1)])  # the first to place something, and in PyTorch's mode for inference
    for one, other in zip(device.enhance(requests), host.enhance(requests), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 2


@pytest.mark.parametrize("make", [lambda m: DeviceRunner(m, "cpu"), lambda m: HostRunner(TorchBackend(m, "cpu"))])
def test_a_face_without_an_exemplar_shares_a_batch_with_one_that_has_one(model, make):
    runner, requests = make(model), [asked(32, 0), asked(32, 1), asked(32, 0)]
    together = runner.enhance(requests)
    for one, request_ in zip(together, requests, strict=True):
        assert np.abs(one.astype(int) - runner.enhance([request_])[0]).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).max() > 1


def test_an_engine_runs_it_for_all_streams(model):
    engine = BatchingEngine(DeviceRunner(model, "cpu"))
    futures = engine.submit([asked(32, 2), asked(16, 1), asked(32, 2, 0.1)])
    assert [future.result(30).shape[0] for future in futures] == [128, 64, 128]
    engine.close()


def test_exemplars_on_the_device_live_no_longer_than_theirs(model):
    runner, one = DeviceRunner(model, "cpu"), asked(32, 3)
    runner.enhance([one])
    shelf = runner._shelves[32]
    assert len(shelf) == 3 and shelf.pictures.any()
    runner.forget(["0"])
    assert len(shelf) == 2
    del one
    runner.forget([])
    assert len(shelf) == 0 and not shelf.pictures.any()


def test_what_cannot_hold_a_batch_is_refused(model):
    with pytest.raises(ValueError, match="hold 2 exemplars"):
        DeviceRunner(model, "cpu", limit=6 * 3 * 288**2).enhance([asked(32, 1)])


def test_a_shelf_keeps_the_last_used_and_repeats_edges():
    exemplars = asked(32, 3).exemplars
    shelf = Shelf(64, 3 * 144**2, torch.device("cpu"))
    assert shelf.capacity == 2
    first, second = (shelf.place(exemplar, -12) for exemplar in exemplars[:2])
    assert shelf.place(exemplars[0], -12) is first
    third = shelf.place(exemplars[2], -12)
    assert third.slot == second.slot and len(shelf) == 2
    assert shelf.place(exemplars[0], -12) is first
    picture = shelf.pictures[first.slot].numpy()
    height, width = (round(side * first.scale) for side in exemplars[0].image.shape[:2])
    assert height < 144 and (picture[height:] == picture[height - 1]).all()
    assert width == 144 or (picture[:, width:] == picture[:, width - 1 : width]).all()
    assert not shelf.pictures[0].any()


def test_of_an_exemplar_too_large_for_a_slot_its_face_is_kept():
    exemplar = asked(32, 1).exemplars[0]
    shelf = Shelf(64, 4 * 144**2, torch.device("cpu"))
    place = shelf.place(exemplar, 0)
    x, y = place.origin
    middle = np.array([exemplar.headshot.cx - x, exemplar.headshot.cy - y])
    assert (np.abs(middle - 72) <= 1).all()


def test_the_likeliest_shapes_are_run_first_within_the_time(model):
    runner, now, ran = DeviceRunner(model, "cpu"), [0.0], []
    runner._run_blank = lambda *shape: ran.append(shape)

    def clock() -> float:
        now[0] += 1
        return now[0]

    assert runner.warm_up(4.5, clock) == len(ran) == 5
    assert ran == [(side, 3, 1) for side in (16, 32, 48, 64, 80)]
    assert runner.warm_up(1e6, clock) == 6 * 3 * 6
