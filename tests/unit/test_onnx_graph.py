"""The hand-written graph against torch, for every variant and switch."""

import numpy as np
import onnxruntime
import pytest
import torch

from hime_core.engine.onnx_graph import bicubic_taps, build_graph
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


def run(net: Hime, lr: torch.Tensor, references: torch.Tensor) -> np.ndarray:
    graph = build_graph(net).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"lr": lr.numpy(), "references": references.numpy()})[0]


@pytest.mark.parametrize(("variant", "scale", "options"), NETWORKS)
@pytest.mark.parametrize(("size", "references"), [((16, 16), 3), ((13, 18), 1)])
def test_onnx_gives_what_torch_gives(variant, scale, options, size, references):
    torch.manual_seed(5)
    net = lively(build(variant, scale, **options))
    lr, refs = torch.rand(1, 3, *size), torch.rand(references, 1, size[0] * scale, size[1] * scale)
    with torch.inference_mode():
        expected = net(lr, refs[None]).numpy()
        if net.flow is not None:
            assert net.reference_flow(lr, refs[None]).abs().max() > 0.5
    assert np.abs(run(net, lr, refs) - expected).max() < 1e-4


def test_references_count_in_the_graph():
    torch.manual_seed(5)
    net, lr = lively(build("tiny", 4)), torch.rand(1, 3, 16, 16)
    assert np.abs(run(net, lr, torch.rand(1, 1, 64, 64)) - run(net, lr, torch.zeros(1, 1, 64, 64))).max() > 1e-3


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_bicubic_taps_sum_to_one(scale):
    assert bicubic_taps(scale).sum(axis=1) == pytest.approx(np.ones(scale))
