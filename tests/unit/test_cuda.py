"""What only a GPU shows: recorded networks and training steps do what they do unrecorded."""

import copy
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from hime_core.engine import BatchingEngine, DeviceRunner, TorchBackend
from hime_core.faces import dense
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.mtcnn import SharedNetworks
from hime_core.model.hime import Hime
from hime_core.training.replay import WARM_UP, Replay
from tests.unit.test_device_runner import asked
from tests.unit.test_shared_networks import pictures

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


def faces(seed: int, count: int, references: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    truth = [cv2.resize(one, (4 * side, 4 * side), interpolation=cv2.INTER_CUBIC) for one in small]
    lr = np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in truth])
    return lr, np.stack([np.stack([cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)] * references) for one in truth])


@pytest.mark.parametrize("name", ["small-x4-rec", "large-x4-rec"])
def test_a_recorded_network_sees_each_face_and_its_references(name: str):
    cpu, cuda = (TorchBackend(Hime.from_pretrained(name), device) for device in ("cpu", "cuda"))
    for seed in range(3):  # the shapes in turn: their graphs share memory
        for shape in ((1, 1, 32), (4, 3, 32), (2, 1, 64)):
            batch = faces(seed, *shape)
            expected, got = (backend.infer(*batch).astype(int) for backend in (cpu, cuda))
            assert np.abs(got - expected).max() <= 4
            assert np.abs(got - expected).mean() < 0.3
    assert all(cuda.recorded._graphs.values())


def test_a_replayed_step_learns_as_one_that_is_not():
    def run(replayed: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = copy.deepcopy(Hime.from_pretrained("small-x4-rec")).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(1e-4, device="cuda"), capturable=True)

        def learn(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            loss = (model(batch["lr"], batch["references"]) - batch["hr"]).abs().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return {"rec": loss.detach()}

        step = Replay(learn) if replayed else learn
        for number in range(3 * WARM_UP):
            for references in (0, 2):
                hr = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(number)).cuda()
                lr = torch.nn.functional.avg_pool2d(hr, 4)
                step({"lr": lr, "hr": hr, "references": hr.mean(1)[:, None, None].repeat(1, references, 1, 1, 1)})
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    start = torch.cat(
        [parameter.detach().flatten() for parameter in Hime.from_pretrained("small-x4-rec").parameters()]
    ).cuda()
    usual, again, replayed = run(False), run(False), run(True)
    noise = (again - usual).norm() / (usual - start).norm()  # atomic sums differ from run to run
    assert (replayed - usual).norm() / (usual - start).norm() < 3 * noise + 0.05


def test_threads_that_share_the_card_get_their_own_faces():
    backend = TorchBackend(Hime.from_pretrained("small-x4-rec"), "cuda")
    batches = [faces(seed, *shape) for seed in range(8) for shape in ((1, 1, 32), (4, 3, 32), (3, 2, 48))]
    alone = [backend.infer(*batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(10):  # one batch arrives while another is computed and a third leaves
            together = list(threads.map(lambda batch: backend.infer(*batch), batches))
            for one, other in zip(alone, together, strict=True):
                assert np.array_equal(one, other)


def test_a_device_cuts_and_registers_as_a_cpu_does_recorded_or_not():
    cpu, cuda = (DeviceRunner(Hime.from_pretrained("small-x4-rec"), device) for device in ("cpu", "cuda"))
    for turned in (0.0, 0.1):  # the second time, what was recorded is replayed
        for side, references, count in ((32, 3, 4), (16, 1, 1), (48, 2, 3)):
            requests = [asked(side, references, turned * n) for n in range(count)]
            one, other = cpu.references(requests).astype(int), cuda.references(requests).astype(int)
            assert np.abs(one - other).mean() < 0.5
            for face, same in zip(cpu.enhance(requests), cuda.enhance(requests), strict=True):
                assert np.abs(face.astype(int) - same).mean() < 0.5
    assert cuda.recorded.shapes == 3


def test_registration_alone_can_be_recorded():
    references, lr = torch.rand(2, 3, 128, 128, device="cuda") * 255, torch.rand(2, 32, 32, device="cuda") * 255
    with torch.inference_mode():
        expected = dense.register(references, lr)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = dense.register(references, lr)
        graph.replay()
    assert (found - expected).abs().mean() < 0.5


def test_shapes_are_recorded_before_the_first_face():
    runner = DeviceRunner(Hime.from_pretrained("tiny-x4-call"), "cuda", max_batch=2)
    assert runner.warm_up(1e6) == runner.recorded.shapes == 6 * 3 * 2
    runner.enhance([asked(64, 2), asked(64, 2, 0.1)])
    assert runner.recorded.shapes == 6 * 3 * 2


def test_faces_of_many_streams_get_their_own_exemplars_while_slots_are_reused():
    runner = DeviceRunner(Hime.from_pretrained("tiny-x4-call"), "cuda", limit=6 * 60 * 288**2, max_batch=16)
    requests = [asked(32, 3, 0.01 * n) for n in range(40)]  # 120 exemplars in 59 slots
    alone = [runner.enhance([one])[0].astype(int) for one in requests]
    engine = BatchingEngine(runner, capacity=1024)
    for _ in range(5):
        futures = engine.submit(requests)
        for one, future in zip(alone, futures, strict=True):
            assert np.abs(future.result(60) - one).mean() < 0.3  # batches of other lengths round differently
    engine.close()


def test_detectors_share_the_card_and_find_the_same_faces():
    alone, shared = MtcnnDetector(), MtcnnDetector(networks=SharedNetworks("cuda"))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(shared.detect, pictures() * 4))
    for picture, faces in zip(pictures() * 4, found, strict=True):
        expected = alone.detect(picture)
        assert len(faces) == len(expected)
        for one, other in zip(faces, expected, strict=True):
            assert np.abs(one.landmarks - other.landmarks).max() < 1
