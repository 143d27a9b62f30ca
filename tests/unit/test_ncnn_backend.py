"""The networks in ncnn against torch, for every variant and switch."""

import threading

import numpy as np
import pytest
import torch

from hime_core.engine import NcnnBackend
from hime_core.model.build import build
from hime_core.model.hime import Hime

NETWORKS = [
    ("small", 4, {}),
    ("small", 8, {"steps": 2}),
    ("tiny", 4, {}),
    ("tiny", 8, {}),
    ("large", 4, {}),
    ("large", 8, {"steps": 1}),
    ("small", 4, {"alignment": "conv", "aggregation": "average"}),
    ("small", 8, {"alignment": "conv", "aggregation": "max"}),
    ("tiny", 4, {"aggregation": "average"}),
    ("large", 4, {"steps": 1, "aggregation": "max"}),
]


def lively(net: Hime) -> Hime:
    """Offsets and flow that are not zero, as after training."""
    for name, parameter in net.named_parameters():
        if "offset_head" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        elif name.startswith("flow") and ".8." in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


@pytest.mark.parametrize(("variant", "scale", "options"), NETWORKS)
@pytest.mark.parametrize(("size", "references"), [((16, 16), 3), ((13, 18), 1), ((32, 32), 1)])
def test_ncnn_gives_what_torch_gives(variant, scale, options, size, references):
    torch.manual_seed(5)
    net = lively(build(variant, scale, **options))
    lr, refs = torch.rand(1, 3, *size), torch.rand(references, 1, size[0] * scale, size[1] * scale)
    with torch.inference_mode():
        expected = net(lr, refs[None])[0].permute(1, 2, 0).numpy()
        if net.flow is not None:
            assert net.reference_flow(lr, refs[None]).abs().max() > 0.5
    found = NcnnBackend(net).run(lr[0].permute(1, 2, 0).numpy(), refs[:, 0].numpy())
    assert np.abs(found - expected).max() < 1e-4


def test_several_threads_may_ask_at_once():
    torch.manual_seed(5)
    backend, rng = NcnnBackend(lively(build("tiny", 4))), np.random.default_rng(1)
    faces = rng.integers(0, 256, (4, 1, 24, 24, 3), np.uint8)
    references = rng.integers(0, 256, (4, 1, 2, 96, 96), np.uint8)
    alone = [backend.infer(*pair) for pair in zip(faces, references, strict=True)]
    together: dict[int, list[np.ndarray]] = {}

    def ask(number: int) -> None:
        together[number] = [backend.infer(faces[number], references[number]) for _ in range(5)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, alone[number]) for number in range(4) for result in together[number])
