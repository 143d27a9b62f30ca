"""HIME as an ONNX graph for one face with any number of references, of any size.

Written out by hand: the exporter wants one static shape per LR size and number of references and takes seconds for
each, and it does not know the deformable convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from hime_core.arrays import Array
from hime_core.model.aggregation import AverageAggregation, ContentConditionedAggregation, MaxAggregation
from hime_core.model.alignment import ConvStep, DeformableStep, ReferenceFeatureAlignment
from hime_core.model.blocks import PixelShuffleUp, ResidualBlock, bias_of
from hime_core.model.flow import MULTIPLE, FlowEstimator
from hime_core.model.hime import LUMA, DirectReconstructor, Hime, Reconstructor

OPSET = 19  # the first with DeformConv
IR_VERSION = 9


def build_graph(model: Hime) -> onnx.ModelProto:
    """The network with inputs lr (1, 3, h, w) and references (R, 1, s*h, s*w), R at least 1, and output
    sr (1, 3, s*h, s*w), all float in [0, 1]; without the mean over the mirror image that `mirrored` asks for."""
    graph = _Graph()
    scale = model.config.scale
    f_lr = graph.module(model.lr_blocks, graph.module(model.lr_conv, "lr"))
    unshuffled = graph.add("SpaceToDepth", ["references"], blocksize=scale)
    features = graph.module(model.hr_extractor.blocks, graph.module(model.hr_extractor.conv, unshuffled))
    flow = _flow(graph, model.flow, scale) if model.flow is not None else None
    aligned = _align(graph, model.alignment, features, f_lr, flow)
    fused = graph.add("Add", [f_lr, _aggregate(graph, model.aggregation, aligned, f_lr)])
    residual = _reconstruct(graph, model.reconstructor, fused)
    graph.add("Add", [graph.bicubic("lr", 3, scale), residual], output="sr")
    return graph.model(scale)


def _flow(graph: _Graph, estimator: FlowEstimator, scale: int) -> str:
    """FlowEstimator between the LR picture and every reference: (R, 2, h, w)."""
    luma = graph.add("Conv", ["lr", graph.constant(np.array(LUMA, np.float32).reshape(1, 3, 1, 1))])
    size = graph.slice(graph.add("Shape", ["lr"]), 2, 4, axis=0)
    spare = graph.add("Mod", [graph.add("Neg", [size]), graph.integers([MULTIPLE // estimator.upscale])])
    pads = graph.add("Concat", [graph.integers([0, 0]), spare], axis=0)

    def pyramid(picture: str) -> list[str]:
        padded = graph.add("Pad", [picture, pads, "", graph.integers([2, 3])], mode="edge")
        centred = graph.add("Sub", [graph.bicubic(padded, 1, estimator.upscale), graph.constant(estimator.spynet.mean)])
        levels = [graph.add("Div", [centred, graph.constant(estimator.spynet.deviation)])]
        for _ in estimator.spynet.levels[1:]:
            levels.insert(0, graph.shrink(levels[0], 2))
        return levels

    flow = ""
    targets, sources = pyramid(luma), pyramid(graph.shrink("references", scale))
    for level, goal, moved in zip(estimator.spynet.levels, targets, sources, strict=True):
        goal = graph.add("Expand", [goal, graph.add("Shape", [moved])])
        if flow:
            flow = graph.add("Mul", [graph.double(flow), graph.floats(2.0)])
            moved = graph.warp(moved, flow)
        else:
            flow = graph.add("Mul", [graph.slice(goal, 0, 2), graph.floats(0.0)])
        flow = graph.add("Add", [flow, graph.module(level, graph.add("Concat", [goal, moved, flow], axis=1))])
    flow = graph.add("Div", [graph.shrink(flow, estimator.upscale), graph.floats(estimator.upscale)])
    return graph.add("Slice", [flow, graph.integers([0, 0]), size, graph.integers([2, 3])])


def _align(graph: _Graph, alignment: ReferenceFeatureAlignment, features: str, f_lr: str, flow: str | None) -> str:
    repeated = graph.add("Expand", [f_lr, graph.add("Shape", [features])])
    warped = features if flow is None else graph.warp(features, flow)
    guide = graph.module(alignment.fuse, graph.add("Concat", [warped, repeated], axis=1))
    guide = graph.module(alignment.guide, guide)
    for step in alignment.steps:
        if isinstance(step, DeformableStep):
            features = graph.deformable(step, features, guide, flow)
        elif isinstance(step, ConvStep):
            features = graph.module(step.conv, graph.add("Concat", [features, guide], axis=1))
        flow = None
    return features


def _aggregate(graph: _Graph, aggregation: nn.Module, features: str, f_lr: str) -> str:
    """Over the batch dimension, in which the references are."""
    over = graph.integers([0])
    match aggregation:
        case AverageAggregation():
            return graph.add("ReduceMean", [features, over], keepdims=1)
        case MaxAggregation():
            return graph.add("ReduceMax", [features, over], keepdims=1)
        case ContentConditionedAggregation():  # Eqs. 5 to 7
            keys, query = graph.module(aggregation.g1, features), graph.module(aggregation.g2, f_lr)
            product = graph.add("ReduceSum", [graph.add("Mul", [keys, query]), graph.integers([1])], keepdims=1)
            mu = graph.add("Sigmoid", [product])
            weighted = graph.add("ReduceSum", [graph.add("Mul", [mu, features]), over], keepdims=1)
            total = graph.add("Max", [graph.add("ReduceSum", [mu, over], keepdims=1), graph.floats(1e-6)])
            return graph.add("Div", [weighted, total])
    raise TypeError(f"{type(aggregation).__name__} has no form in ONNX here")


def _reconstruct(graph: _Graph, tail: Reconstructor | DirectReconstructor, fused: str) -> str:
    x = graph.add("Add", [graph.module(tail.blocks, fused), fused])
    if isinstance(tail, Reconstructor):
        for up in (tail.up1, tail.up2, tail.conv):
            x = graph.add("LeakyRelu", [graph.module(up, x)], alpha=0.1)
    return graph.module(tail.out, x)


def bicubic_taps(scale: int) -> Array:
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

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Array | Tensor) -> str:
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
                weights = [self.constant(module.weight), self.constant(bias_of(module))]
                return self.add("Conv", [x, *weights], pads=[*module.padding, *module.padding])
            case ResidualBlock():
                inner = self.add("Relu", [self.module(module.conv1, x)])
                return self.add("Add", [x, self.module(module.conv2, inner)])
            case PixelShuffleUp() if module.conv.kernel_size == (1, 1):
                return self.shuffle_up(module, x)
            case nn.Sequential():
                for part in module:
                    x = self.module(part, x)
                return x
            case nn.ReLU():
                return self.add("Relu", [x])
            case nn.PixelShuffle():
                return self.pixel_shuffle(x, module.upscale_factor)
        raise TypeError(f"{type(module).__name__} has no form in ONNX here")

    def shuffle_up(self, up: PixelShuffleUp, x: str) -> str:
        """1x1 convolution and PixelShuffle as one transposed convolution whose kernel is its stride: DepthToSpace alone
        takes longer. Its bias cannot differ by sub-pixel, so that is the weight of a further channel, of ones."""
        conv, factor = up.conv, up.factor
        weight = torch.cat((conv.weight[:, :, 0, 0], bias_of(conv)[:, None]), dim=1)
        weight = weight.reshape(-1, factor, factor, conv.in_channels + 1).permute(3, 0, 1, 2)
        padded = self.add("Pad", [x, self.integers([0, 0, 0, 0, 0, 1, 0, 0]), self.floats(1.0)])
        return self.add("ConvTranspose", [padded, self.constant(weight)], strides=[factor, factor])

    def pixel_shuffle(self, x: str, factor: int) -> str:
        return self.add("DepthToSpace", [x], blocksize=factor, mode="CRD")

    def bicubic(self, x: str, channels: int, scale: int) -> str:
        """Enlargement as a convolution with one output per sub-pixel: Resize takes a third of the network's time."""
        taps = bicubic_taps(scale)
        weight = np.zeros((channels, scale, scale, channels, 5, 5), np.float32)
        for channel in range(channels):
            weight[channel, :, :, channel] = taps[:, None, :, None] * taps[None, :, None, :]
        padded = self.add("Pad", [x, self.integers([0, 0, 2, 2, 0, 0, 2, 2])], mode="edge")
        kernels = self.constant(weight.reshape(channels * scale**2, channels, 5, 5))
        return self.pixel_shuffle(self.add("Conv", [padded, kernels]), scale)

    def slice(self, x: str, start: int, end: int, axis: int = 1) -> str:
        return self.add("Slice", [x, self.integers([start]), self.integers([end]), self.integers([axis])])

    def double(self, x: str) -> str:
        """Bilinear, corners aligned."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.add("Resize", [x, "", scales], mode="linear", coordinate_transformation_mode="align_corners")

    def shrink(self, x: str, factor: int) -> str:
        return self.add("AveragePool", [x], kernel_shape=[factor, factor], strides=[factor, factor])

    def warp(self, x: str, flow: str) -> str:
        shape = self.add("Shape", [x])
        grid = [self._positions(shape, axis, self.slice(flow, 3 - axis, 4 - axis)) for axis in (3, 2)]
        places = self.add("Transpose", [self.add("Concat", grid, axis=1)], perm=[0, 2, 3, 1])
        return self.add("GridSample", [x, places], mode="bilinear", padding_mode="border", align_corners=1)

    def _positions(self, shape: str, axis: int, displacement: str) -> str:
        """Sampling positions along an axis in [-1, 1] over pixel centres."""
        zero, one = (self.constant(np.array(v, np.int64)) for v in (0, 1))
        size = self.add("Gather", [shape, self.constant(np.array(axis, np.int64))])
        places = self.add("Cast", [self.add("Range", [zero, size, one])], to=TensorProto.FLOAT)
        if axis == 2:
            places = self.add("Unsqueeze", [places, self.integers([1])])
        last = self.add("Max", [self.add("Sub", [size, one]), one])
        factor = self.add("Div", [self.floats(2.0), self.add("Cast", [last], to=TensorProto.FLOAT)])
        scaled = self.add("Mul", [self.add("Add", [places, displacement]), factor])
        return self.add("Sub", [scaled, self.floats(1.0)])

    def deformable(self, step: DeformableStep, features: str, guide: str, flow: str | None) -> str:
        heads = self.module(step.offset_head, guide)
        taps = step.groups * 9
        offset, mask = self.slice(heads, 0, 2 * taps), self.slice(heads, 2 * taps, 3 * taps)
        if flow is not None:
            swapped = self.add("Gather", [flow, self.integers([1, 0])], axis=1)  # (x, y) to (y, x)
            offset = self.add("Add", [offset, self.add("Tile", [swapped, self.integers([1, taps, 1, 1])])])
        inputs = [features, self.constant(step.weight), offset, self.constant(step.bias), self.add("Sigmoid", [mask])]
        return self.add("DeformConv", inputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1], offset_group=step.groups)

    def model(self, scale: int) -> onnx.ModelProto:
        def image(name: str, batch: str | int, channels: int, factor: str) -> onnx.ValueInfoProto:
            shape = [batch, channels, f"{factor}height", f"{factor}width"]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        inputs = [image("lr", 1, 3, ""), image("references", "references", 1, f"{scale}x")]
        graph = helper.make_graph(self._nodes, "hime", inputs, [image("sr", 1, 3, f"{scale}x")], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
