"""HIME as ncnn networks, whose Winograd convolutions take about half of the usual ones' time on a CPU.

Written out by hand, as the network is cut at its seams: what is computed once a face, once a reference, and after the
aggregation. ncnn knows no batches and takes any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import ncnn
import numpy as np
import torch
from torch import Tensor, nn

from hime_core.model.aggregation import ContentConditionedAggregation
from hime_core.model.alignment import ConvStep, DeformableStep
from hime_core.model.blocks import PixelShuffleUp, ResidualBlock, bias_of
from hime_core.model.flow import FlowEstimator
from hime_core.model.hime import Hime, Reconstructor

MAGIC = 7767517  # the first line of ncnn's param files
FLOAT32 = np.uint32(0).tobytes()  # the tag before weights
RELU, LEAKY = {9: 1}, {9: 2, -23310: "1,0.1"}  # activations that a convolution takes along
ADD, MULTIPLY = {0: 0}, {0: 2}
HALVE = {0: 1, 1: 2, 2: 2}  # pooling: the mean of 2x2
DOUBLE = {0: 2, 1: 2.0, 2: 2.0, 6: 1}  # bilinear, corners aligned
TWICE = {0: 2, 1: 1, 2: 2.0}
LANES = 16  # channels that are computed at once: a number that is no multiple of it takes half as long again
WARP = {0: 1, 1: 2, 2: 1, 3: 1}  # bilinear, the border goes on, corners aligned, grid (2, h, w)


def face_network(model: Hime) -> ncnn.Net:
    """lr (3, h, w) to f_lr, (C, h, w); to beside, the LR half of the guide's first convolution; and with CoFA to query,
    g2(F^L) of Eq. 7."""
    graph = Graph()
    f_lr = graph.module(model.lr_blocks, graph.module(model.lr_conv, graph.input("lr")), "f_lr")
    _, lr_half = _halves(model.alignment.fuse)
    graph.convolution(lr_half, model.alignment.fuse.bias, f_lr, output="beside")
    if isinstance(model.aggregation, ContentConditionedAggregation):
        graph.module(model.aggregation.g2, f_lr, "query")
    return graph.load()


def flow_network(estimator: FlowEstimator) -> ncnn.Net:
    """SpyNet: target and source, (1, H, W) luma in [0, 1], sides multiples of 32, to flow, (2, H, W), (x, y) pixels.
    places1 to places5, from the second coarsest level on: each pixel's own place, (2, h, w), (x, y) in [-1, 1]; reach1
    to reach5: what one pixel is of that, (2, 1, 1)."""
    graph, net = Graph(), estimator.spynet
    pyramids = []
    for picture in ("target", "source"):
        levels = [graph.normalised(graph.input(picture), net.mean.flatten(), net.deviation.flatten())]
        for _ in net.levels[1:]:
            levels.insert(0, graph.add("Pooling", [levels[0]], HALVE))
        pyramids.append(levels)
    flow = None
    for number, (level, goal, moved) in enumerate(zip(net.levels, *pyramids, strict=True)):
        if flow is None:
            flow = graph.add("BinaryOp", graph.slice(goal, [2, 1])[:1], {0: 2, 1: 1, 2: 0.0})
        else:
            flow = graph.add("BinaryOp", [graph.add("Interp", [flow], DOUBLE)], TWICE)
            shift = graph.add("BinaryOp", [flow, graph.input(f"reach{number}")], MULTIPLY)
            grid = graph.add("BinaryOp", [graph.input(f"places{number}"), shift], ADD)
            moved = graph.add("GridSample", [moved, grid], WARP)
        correction = graph.module(level, graph.add("Concat", [goal, moved, flow]))
        flow = graph.add("BinaryOp", [flow, correction], ADD, output="flow" if level is net.levels[-1] else None)
    return graph.load()


def reference_network(model: Hime) -> ncnn.Net:
    """reference (s*s, h, w), luma, space to depth, and beside to aligned, F^refA (C, h, w); and with CoFA to keys,
    g1(F^refA) of Eq. 7. With flow guidance also of grid, (2, h, w), where each pixel's content lies in the reference,
    (x, y) in [-1, 1], and shift, (2*groups*9, h, w), the same as (y, x) pixels from where it is, for every tap."""
    graph = Graph()
    reference, beside = graph.input("reference"), graph.input("beside")
    features = warped = graph.module(model.hr_extractor.blocks, graph.module(model.hr_extractor.conv, reference))
    shift = None
    if model.flow is not None:
        warped, shift = graph.add("GridSample", [features, graph.input("grid")], WARP), graph.input("shift")
    half, _ = _halves(model.alignment.fuse)
    guide = graph.add("BinaryOp", [graph.convolution(half, None, warped), beside], ADD)
    guide = graph.module(model.alignment.guide, guide)
    for step in model.alignment.steps:
        if isinstance(step, DeformableStep):
            features = graph.deformable(step, features, guide, shift)
            shift = None
        elif isinstance(step, ConvStep):
            features = graph.module(step.conv, graph.add("Concat", [features, guide]))
    aligned = graph.add("Noop", [features], output="aligned")
    if isinstance(model.aggregation, ContentConditionedAggregation):
        graph.module(model.aggregation.g1, aligned, "keys")
    return graph.load()


def trunk_network(model: Hime) -> ncnn.Net:
    """fused, F_a + F_L (C, h, w), to rising, (C, 2h, 2w), or where all upsampling is one step to residual
    (3, s*h, s*w), over the bicubic picture."""
    graph, tail = Graph(), model.reconstructor
    fused = graph.input("fused")
    x = graph.add("BinaryOp", [graph.module(tail.blocks, fused), fused], ADD)
    if isinstance(tail, Reconstructor):
        graph.module(tail.up1, x, "rising", LEAKY)
    else:
        graph.module(tail.out, x, "residual")
    return graph.load()


def head_network(model: Hime) -> ncnn.Net | None:
    """rising, any window of it, to residual: the part that runs at HR size. None where the trunk ends with it."""
    graph, tail = Graph(), model.reconstructor
    if not isinstance(tail, Reconstructor):
        return None
    x = graph.module(tail.up2, graph.input("rising"), activation=LEAKY)
    graph.module(tail.out, graph.module(tail.conv, x, activation=LEAKY), "residual")
    return graph.load()


def _halves(fuse: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """The weights over F_ref and over F_L: the latter's part is the same for every reference."""
    half = fuse.in_channels // 2
    return fuse.weight[:, :half], fuse.weight[:, half:]


@dataclass(frozen=True)
class _Layer:
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, object] = field(default_factory=dict)
    weights: bytes = b""


class Graph:
    """Layers and weights as they are added; a blob is known by its name."""

    def __init__(self) -> None:
        self._layers: list[_Layer] = []

    def input(self, name: str) -> str:
        self._layers.append(_Layer("Input", (), (name,)))
        return name

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        parameters: Mapping[int, object] | None = None,
        weights: bytes = b"",
        output: str | None = None,
    ) -> str:
        output = output or f"b{len(self._layers)}"
        self._layers.append(_Layer(kind, tuple(inputs), (output,), parameters or {}, weights))
        return output

    def convolution(
        self,
        weight: Tensor,
        bias: Tensor | None,
        x: str,
        activation: Mapping[int, object] | None = None,
        output: str | None = None,
        kind: str = "Convolution",
        beside: Sequence[str] = (),
    ) -> str:
        """weight: (out, in, k, k), k odd; padding keeps the size."""
        kernel = weight.shape[-1]
        parameters = {0: weight.shape[0], 1: kernel, 4: kernel // 2, 5: int(bias is not None), 6: weight.numel()}
        weights = FLOAT32 + _bytes(weight) + (_bytes(bias) if bias is not None else b"")
        return self.add(kind, [x, *beside], {**parameters, **(activation or {})}, weights, output)

    def module(
        self, module: nn.Module, x: str, output: str | None = None, activation: Mapping[int, object] | None = None
    ) -> str:
        """A module of one input and one output, and an activation behind it. Raises TypeError for one that is unknown
        here."""
        match module:
            case nn.Conv2d():
                return self.convolution(module.weight, module.bias, x, activation, output)
            case ResidualBlock():
                inner = self.module(module.conv1, x, activation=RELU)
                return self.add("BinaryOp", [x, self.module(module.conv2, inner)], ADD, output=output)
            case PixelShuffleUp():
                x = self.module(module[0], x, activation=activation)
                return self.module(module[1], x, output)
            case nn.PixelShuffle():
                return self.add("PixelShuffle", [x], {0: module.upscale_factor}, output=output)
            case nn.ReLU():
                return self.add("ReLU", [x], output=output)
            case nn.Sequential():
                parts = list(module)
                while len(parts) > 1:
                    part = parts.pop(0)
                    fused = isinstance(part, nn.Conv2d) and isinstance(parts[0], nn.ReLU) and len(parts) > 1
                    x = self.module(part, x, activation=RELU if fused else None)
                    del parts[: int(fused)]
                return self.module(parts[0], x, output)
        raise TypeError(f"{type(module).__name__} has no form in ncnn here")

    def normalised(self, x: str, mean: Tensor, deviation: Tensor) -> str:
        """(1, h, w) to a channel for each mean and deviation."""
        weight = (1 / deviation)[:, None, None, None]
        return self.convolution(weight, -mean / deviation, x)

    def deformable(self, step: DeformableStep, features: str, guide: str, shift: str | None = None) -> str:
        """Eq. 4, a layer for each group, as ncnn's has one only, and their sum. shift: to be added to the offsets."""
        groups, taps = step.groups, 9
        weight, bias, more = step.offset_head.weight, bias_of(step.offset_head), -3 * taps * groups % LANES
        heads = self.convolution(_padded(weight, more), _padded(bias, more), guide)
        sizes = [2 * taps * groups, taps * groups, more]
        offsets, masks, *_ = self.slice(heads, [size for size in sizes if size])
        if shift is not None:
            offsets = self.add("BinaryOp", [offsets, shift], ADD)
        masks = self.add("Sigmoid", [masks])
        parts = [
            self.slice(x, [size] * groups)
            for x, size in ((features, step.weight.shape[1] // groups), (offsets, 2 * taps), (masks, taps))
        ]
        outputs = [
            self.convolution(weight, step.bias if not number else None, x, kind="DeformableConv2D", beside=beside)
            for number, (weight, x, *beside) in enumerate(zip(step.weight.chunk(groups, dim=1), *parts, strict=True))
        ]
        return self.add("Eltwise", outputs, {0: 1})

    def slice(self, x: str, sizes: Sequence[int]) -> tuple[str, ...]:
        """By channels."""
        outputs = tuple(f"b{len(self._layers)}_{number}" for number in range(len(sizes)))
        parameters = {-23300: ",".join(map(str, (len(sizes), *sizes)))}
        self._layers.append(_Layer("Slice", (x,), outputs, parameters))
        return outputs

    def load(self) -> ncnn.Net:
        """The network, ready to run on one thread."""
        layers = _split(self._layers)
        blobs = sum(len(layer.outputs) for layer in layers)
        lines = [str(MAGIC), f"{len(layers)} {blobs}"]
        for number, layer in enumerate(layers):
            counts = (len(layer.inputs), len(layer.outputs))
            values = [f"{key}={value}" for key, value in layer.parameters.items()]
            lines.append(
                " ".join(map(str, (layer.kind, f"l{number}", *counts, *layer.inputs, *layer.outputs, *values)))
            )
        net = ncnn.Net()
        net.opt.num_threads = 1
        net.opt.use_winograd63_convolution = False  # its weights do not stay in a core's cache, and it is less exact
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        with TemporaryDirectory() as folder:  # from memory it would go on reading what Python has dropped
            weights = Path(folder) / "weights.bin"
            weights.write_bytes(b"".join(layer.weights for layer in layers))
            if net.load_param_mem("\n".join(lines) + "\n") or net.load_model(str(weights)):
                raise RuntimeError("ncnn could not load the network that was written for it")
        return net


def _split(layers: Sequence[_Layer]) -> list[_Layer]:
    """In ncnn a blob is read once: one that is read more often passes through a Split."""
    readers = Counter(chain.from_iterable(layer.inputs for layer in layers))
    seen: Counter[str] = Counter()
    result = []
    for layer in layers:
        inputs = []
        for name in layer.inputs:
            inputs.append(f"{name}_{seen[name]}" if readers[name] > 1 else name)
            seen[name] += 1
        result.append(_Layer(layer.kind, tuple(inputs), layer.outputs, layer.parameters, layer.weights))
        for name in layer.outputs:
            if readers[name] > 1:
                result.append(_Layer("Split", (name,), tuple(f"{name}_{i}" for i in range(readers[name]))))
    return result


def _padded(tensor: Tensor, more: int) -> Tensor:
    """With so many more entries of zeros at the end of its first axis."""
    return torch.cat((tensor, tensor.new_zeros(more, *tensor.shape[1:])))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().float().contiguous().numpy().tobytes()
