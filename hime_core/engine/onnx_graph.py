"""HIME as an ONNX graph for one face with any number of references, of any size.

Written out by hand: the exporter wants one static shape per LR size and number of references and takes seconds for
each, and it does not know the deformable convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from hime_core.model.alignment import DeformableStep
from hime_core.model.blocks import ResidualBlock
from hime_core.model.hime import Hime

OPSET = 19  # the first with DeformConv
IR_VERSION = 9


def build_graph(model: Hime) -> onnx.ModelProto:
    """The network with inputs lr (1, 3, h, w) and references (R, 1, s*h, s*w), R at least 1, and output
    sr (1, 3, s*h, s*w), all float in [0, 1]."""
    graph = _Graph()
    config = model.config
    f_lr = graph.module(model.lr_blocks, graph.module(model.lr_conv, "lr"))
    unshuffled = graph.add("SpaceToDepth", ["references"], blocksize=config.scale)
    features = graph.module(model.hr_extractor.blocks, graph.module(model.hr_extractor.conv, unshuffled))

    # Alignment: the LR features beside each reference's, in the batch dimension.
    repeated = graph.add("Expand", [f_lr, graph.add("Shape", [features])])
    both = graph.add("Concat", [features, repeated], axis=1)
    guide = graph.module(model.alignment.guide, graph.module(model.alignment.fuse, both))
    for step in model.alignment.steps:
        features = graph.deformable(step, features, guide)

    # Aggregation, Eqs. 5 to 7.
    keys, query = graph.module(model.aggregation.g1, features), graph.module(model.aggregation.g2, f_lr)
    product = graph.add("ReduceSum", [graph.add("Mul", [keys, query]), graph.integers([1])], keepdims=1)
    mu = graph.add("Sigmoid", [product])
    weighted = graph.add("ReduceSum", [graph.add("Mul", [mu, features]), graph.integers([0])], keepdims=1)
    total = graph.add("Max", [graph.add("ReduceSum", [mu, graph.integers([0])], keepdims=1), graph.floats(1e-6)])
    fused = graph.add("Add", [f_lr, graph.add("Div", [weighted, total])])

    tail = model.reconstructor
    x = graph.add("Add", [graph.module(tail.blocks, fused), fused])
    for up in (tail.up1, tail.up2, tail.conv):
        x = graph.add("LeakyRelu", [graph.module(up, x)], alpha=0.1)
    residual = graph.module(tail.out, x)
    skip = graph.bicubic("lr", 3, config.scale)
    graph.add("Add", [skip, residual], output="sr")
    return graph.model(config.scale)


def bicubic_taps(scale: int) -> np.ndarray:
    """Weights of the pixels -2..2 around an LR pixel for each of its sub-pixels, (scale, 5): Keys' kernel with
    a = -0.75, as torch and OpenCV have it."""
    away = np.abs(np.arange(-2, 3) - ((np.arange(scale) + 0.5) / scale - 0.5)[:, None])
    near = 1.25 * away**3 - 2.25 * away**2 + 1
    far = -0.75 * (away**3 - 5 * away**2 + 8 * away - 4)
    return np.where(away < 1, near, np.where(away < 2, far, 0.0)).astype(np.float32)


class _Graph:
    """Nodes and weights as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes) -> str:
        output = output or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: np.ndarray | Tensor) -> str:
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def floats(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def module(self, module: nn.Module, x: str) -> str:
        """A module of one input and one output. Raises TypeError for one that is unknown here."""
        match module:
            case nn.Conv2d():
                weights = [self.constant(module.weight), self.constant(module.bias)]
                return self.add("Conv", [x, *weights], pads=[*module.padding, *module.padding])
            case ResidualBlock():
                inner = self.add("Relu", [self.module(module.conv1, x)])
                return self.add("Add", [x, self.module(module.conv2, inner)])
            case nn.Sequential():
                for part in module:
                    x = self.module(part, x)
                return x
            case nn.ReLU():
                return self.add("Relu", [x])
            case nn.PixelShuffle():
                return self.pixel_shuffle(x, module.upscale_factor)
        raise TypeError(f"{type(module).__name__} has no form in ONNX here")

    def pixel_shuffle(self, x: str, factor: int) -> str:
        return self.add("DepthToSpace", [x], blocksize=factor, mode="CRD")

    def bicubic(self, x: str, channels: int, scale: int) -> str:
        """Enlargement as a convolution with one output per sub-pixel: Resize takes a third of the network's time."""
        taps = bicubic_taps(scale)
        weight = np.zeros((channels, scale, scale, channels, 5, 5), np.float32)
        for channel in range(channels):
            weight[channel, :, :, channel] = taps[:, None, :, None] * taps[None, :, None, :]
        padded = self.add("Pad", [x, self.integers([0, 0, 2, 2, 0, 0, 2, 2])], mode="edge")
        weight = weight.reshape(channels * scale**2, channels, 5, 5)
        return self.pixel_shuffle(self.add("Conv", [padded, self.constant(weight)]), scale)

    def deformable(self, step: DeformableStep, features: str, guide: str) -> str:
        heads = self.module(step.offset_head, guide)
        taps = step.groups * 9
        offset = self.add("Slice", [heads, self.integers([0]), self.integers([2 * taps]), self.integers([1])])
        mask = self.add("Slice", [heads, self.integers([2 * taps]), self.integers([3 * taps]), self.integers([1])])
        inputs = [features, self.constant(step.weight), offset, self.constant(step.bias), self.add("Sigmoid", [mask])]
        return self.add("DeformConv", inputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1], offset_group=step.groups)

    def model(self, scale: int) -> onnx.ModelProto:
        def image(name: str, batch: str | int, channels: int, factor: str) -> onnx.ValueInfoProto:
            shape = [batch, channels, f"{factor}height", f"{factor}width"]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        inputs = [image("lr", 1, 3, ""), image("references", "references", 1, f"{scale}x")]
        graph = helper.make_graph(self._nodes, "hime", inputs, [image("sr", 1, 3, f"{scale}x")], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
