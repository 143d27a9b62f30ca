"""What only a GPU shows: recorded networks and training steps do what they do unrecorded."""

import copy
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from hime_core.engine import TorchBackend
from hime_core.model.hime import Hime
from hime_core.training.replay import WARM_UP, Replay

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
