"""Equations 1 to 7 of the paper, and its reconstruction, against slow and literal versions in plain loops.

Equations 8 to 14 are the losses': test_losses.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.ops import deform_conv2d

from hime_core.model.aggregation import AverageAggregation, ContentConditionedAggregation, MaxAggregation
from hime_core.model.alignment import ConvStep, DeformableStep, ReferenceFeatureAlignment
from hime_core.model.build import VARIANTS, build
from hime_core.model.deform import modulated_deform_conv
from hime_core.model.flow import warp
from hime_core.model.hime import Hime, HimeConfig

Array = np.ndarray
SIZE = 5, 4


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)
    with torch.no_grad():
        yield


def array(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy()


def near(ours: torch.Tensor, expected: Array, tolerance: float = 1e-4) -> bool:
    return ours.shape == expected.shape and bool(np.abs(array(ours) - expected).max() < tolerance)


def sample(plane: Array, y: float, x: float, border: bool) -> float:
    """Bilinear: the four neighbours weighted by closeness. Beyond the plane its border (`border`) or zero."""
    height, width = plane.shape
    if border:
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    value = 0.0
    for yy in (math.floor(y), math.floor(y) + 1):
        for xx in (math.floor(x), math.floor(x) + 1):
            if 0 <= yy < height and 0 <= xx < width:
                value += plane[yy, xx] * (1 - abs(y - yy)) * (1 - abs(x - xx))
    return value


def literal_warp(x: Array, flow: Array) -> Array:
    """Eq. 2 for one map: x (C, H, W), flow (2, H, W) as (x, y)."""
    out = np.zeros_like(x)
    for channel, row, column in np.ndindex(*x.shape):
        dx, dy = flow[:, row, column]
        out[channel, row, column] = sample(x[channel], row + dy, column + dx, border=True)
    return out


def literal_conv(x: Array, weight: Array, bias: Array) -> Array:
    """A convolution with zeros around it: x (C, H, W), weight (out, C, k, k)."""
    out, reach = np.zeros((len(weight), *x.shape[1:])), weight.shape[-1] // 2
    for o, row, column in np.ndindex(*out.shape):
        out[o, row, column] = bias[o]
        for channel, ky, kx in np.ndindex(*weight.shape[1:]):
            y, z = row + ky - reach, column + kx - reach
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                out[o, row, column] += weight[o, channel, ky, kx] * x[channel, y, z]
    return out


def conv_of(module: torch.nn.Module, x: Array) -> Array:
    return literal_conv(x, array(module.weight), array(module.bias))


def literal_deform(x: Array, offset: Array, mask: Array, weight: Array, bias: Array, groups: int) -> Array:
    """Eq. 4 for one map: modulated deformable convolution by its definition."""
    out = np.zeros((len(weight), *x.shape[1:])) + bias[:, None, None]
    per_group = len(x) // groups
    for row, column in np.ndindex(*x.shape[1:]):
        for channel in range(len(x)):
            group = channel // per_group
            for tap in range(9):
                dy = offset[group * 18 + 2 * tap, row, column] + tap // 3 - 1
                dx = offset[group * 18 + 2 * tap + 1, row, column] + tap % 3 - 1
                value = sample(x[channel], row + dy, column + dx, border=False)
                out[:, row, column] += (
                    weight[:, channel, tap // 3, tap % 3] * value * mask[group * 9 + tap, row, column]
                )
    return out


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def literal_step(step: DeformableStep, features: Array, guide: Array, flow: Array | None) -> Array:
    """Eqs. 3 and 4: offsets from the guide, Phi = o + dp at every tap, sampling."""
    heads = conv_of(step.offset_head, guide)
    taps = 9 * step.groups
    phi = heads[: 2 * taps].copy()
    if flow is not None:
        for tap in range(taps):
            phi[2 * tap] += flow[1]
            phi[2 * tap + 1] += flow[0]
    return literal_deform(features, phi, sigmoid(heads[2 * taps :]), array(step.weight), array(step.bias), step.groups)


def lively(alignment: ReferenceFeatureAlignment) -> ReferenceFeatureAlignment:
    """Offsets that are not zero, as after training."""
    for step in alignment.steps:
        torch.nn.init.normal_(step.offset_head.weight, std=0.3)
        torch.nn.init.normal_(step.offset_head.bias, std=0.5)
    return alignment


def literal_alignment(module: ReferenceFeatureAlignment, reference: Array, lr: Array, flow: Array | None) -> Array:
    """Eq. 1: f(F_ref, I_refL, I_L, F_L) = T(F_ref, Phi)."""
    warped = reference if flow is None else literal_warp(reference, flow)
    guide = np.maximum(conv_of(module.fuse, np.concatenate((warped, lr))), 0)
    for layer in module.guide:
        if isinstance(layer, torch.nn.Conv2d):
            guide = np.maximum(conv_of(layer, guide), 0)
    for number, step in enumerate(module.steps):
        reference = literal_step(step, reference, guide, flow if number == 0 else None)
    return reference


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("steps", [1, 2])
def test_eq_1_alignment_is_sampling_by_its_parameters(guided, steps):
    module = lively(ReferenceFeatureAlignment(width=4, groups=2, steps=steps, guide_convs=1))
    reference, lr = torch.randn(2, 1, 4, *SIZE)
    flow = torch.randn(1, 2, *SIZE) if guided else None
    expected = literal_alignment(module, array(reference[0]), array(lr[0]), array(flow[0]) if guided else None)
    assert near(module(reference, lr, flow)[0], expected)


def test_eq_2_warp():
    x, flow = torch.randn(2, 3, *SIZE), 2 * torch.randn(2, 2, *SIZE)
    assert near(warp(x, flow), np.stack([literal_warp(array(a), array(b)) for a, b in zip(x, flow, strict=True)]))


def test_eq_3_offsets_come_of_the_warped_reference_beside_the_lr_features():
    """The parameters change with the flow only by what the warped reference changes, and by o itself."""
    module, seen = lively(ReferenceFeatureAlignment(width=4, groups=2, steps=1, guide_convs=0)), []
    module.steps[0].offset_head.register_forward_hook(lambda _, inputs, output: seen.append(output[0]))
    reference, lr, flow = torch.randn(1, 4, *SIZE), torch.randn(1, 4, *SIZE), torch.randn(1, 2, *SIZE)
    module(reference, lr, flow)
    both = np.concatenate((literal_warp(array(reference[0]), array(flow[0])), array(lr[0])))
    guide = np.maximum(conv_of(module.fuse, both), 0)
    assert near(seen[0], conv_of(module.steps[0].offset_head, guide))


def test_eq_4_deformable_sampling():
    x, groups = torch.randn(1, 4, *SIZE), 2
    offset, mask = torch.randn(1, 2 * 18, *SIZE) * 1.5, torch.rand(1, 2 * 9, *SIZE)
    weight, bias = torch.randn(3, 4, 3, 3), torch.randn(3)
    ours = modulated_deform_conv(x, offset, mask, weight, bias, groups)
    expected = literal_deform(array(x[0]), array(offset[0]), array(mask[0]), array(weight), array(bias), groups)
    assert near(ours[0], expected)
    assert near(deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)[0], expected)  # the peer of `hime bench`


def test_eq_4_with_whole_offsets_of_flow_alone_moves_the_picture():
    step = DeformableStep(width=2, groups=1)
    step.weight.zero_()
    step.weight[:, :, 1, 1] = 2 * torch.eye(2)  # the masks start at a half
    x = torch.randn(1, 2, 6, 6)
    flow = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 6, 6)
    moved = step(x, torch.zeros(1, 2, 6, 6), flow)
    assert torch.allclose(moved[..., 2:, :5], x[..., :4, 1:], atol=1e-5)  # from one to the right, two above


def literal_similarity(cofa: ContentConditionedAggregation, aligned: Array, lr: Array) -> Array:
    """Eqs. 6 and 7 for one reference: (C, H, W) to (H, W)."""
    keys, queries = conv_of(cofa.g1, aligned), conv_of(cofa.g2, lr)
    mu = np.zeros(aligned.shape[1:])
    for row, column in np.ndindex(*mu.shape):
        product = sum(keys[c, row, column] * queries[c, row, column] for c in range(len(keys)))
        mu[row, column] = 1 / (1 + math.exp(-product))
    return mu


def test_eqs_6_and_7_similarity():
    cofa, aligned, lr = ContentConditionedAggregation(6), torch.randn(1, 3, 6, *SIZE), torch.randn(1, 6, *SIZE)
    mu = cofa.similarity(aligned, lr)
    for number in range(3):
        assert near(mu[0, number, 0], literal_similarity(cofa, array(aligned[0, number]), array(lr[0])))


def test_eq_5_aggregation():
    cofa, aligned, lr = ContentConditionedAggregation(6), torch.randn(1, 3, 6, *SIZE), torch.randn(1, 6, *SIZE)
    mus = [literal_similarity(cofa, array(a), array(lr[0])) for a in aligned[0]]
    expected = np.zeros((6, *SIZE))
    for channel, row, column in np.ndindex(*expected.shape):
        weighted = sum(mus[i][row, column] * float(aligned[0, i, channel, row, column]) for i in range(3))
        expected[channel, row, column] = weighted / sum(mu[row, column] for mu in mus)
    assert near(cofa(aligned, lr)[0], expected)


def test_one_reference_is_passed_through_by_every_aggregation():
    aligned, lr = torch.randn(2, 1, 4, 3, 3), torch.randn(2, 4, 3, 3)
    for aggregation in (ContentConditionedAggregation(4), AverageAggregation(), MaxAggregation()):
        assert torch.allclose(aggregation(aligned, lr), aligned[:, 0], atol=1e-6)


def test_table_3_average_and_max():
    aligned, lr = torch.randn(1, 3, 4, *SIZE), torch.randn(1, 4, *SIZE)
    stacked = array(aligned[0])
    average, largest = np.zeros((4, *SIZE)), np.zeros((4, *SIZE))
    for place in np.ndindex(4, *SIZE):
        values = [stacked[i][place] for i in range(3)]
        average[place], largest[place] = sum(values) / 3, max(values)
    assert near(AverageAggregation()(aligned, lr)[0], average)
    assert near(MaxAggregation()(aligned, lr)[0], largest)


def test_table_2_conv_does_not_sample_elsewhere():
    """A change of one pixel reaches its eight neighbours and no further, whatever the guide says."""
    step, features, guide = ConvStep(4), torch.randn(1, 4, 9, 9), torch.randn(1, 4, 9, 9)
    both = np.concatenate((array(features[0]), array(guide[0])))
    assert near(step(features, guide)[0], conv_of(step.conv, both))
    changed = features.clone()
    changed[..., 4, 4] += 1
    touched = (step(changed, guide) - step(features, guide)).abs().amax((0, 1)) > 1e-6
    assert touched[3:6, 3:6].all()
    assert touched.sum() == 9


def bicubic_weight(distance: float) -> float:
    """Keys' kernel, a = -0.75."""
    a, d = -0.75, abs(distance)
    if d < 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def literal_bicubic(image: Array, scale: int) -> Array:
    """Bicubic enlargement of (C, H, W); the border's pixels go on."""
    channels, height, width = image.shape
    out = np.zeros((channels, height * scale, width * scale))
    for channel, row, column in np.ndindex(*out.shape):
        y, x = (row + 0.5) / scale - 0.5, (column + 0.5) / scale - 0.5
        for yy in range(math.floor(y) - 1, math.floor(y) + 3):
            for xx in range(math.floor(x) - 1, math.floor(x) + 3):
                value = image[channel, min(max(yy, 0), height - 1), min(max(xx, 0), width - 1)]
                out[channel, row, column] += value * bicubic_weight(y - yy) * bicubic_weight(x - xx)
    return out


@pytest.mark.parametrize(("variant", "scale"), [("tiny", 4), ("small", 4), ("small", 8), ("large", 4)])
def test_fusion_and_reconstruction(variant, scale):
    """F_f = F_a + F^L, and I^SR = I^L enlarged + R(F_f)."""
    net, seen = build(variant, scale).eval(), {}
    for name in ("lr_blocks", "aggregation", "reconstructor"):
        getattr(net, name).register_forward_hook(lambda _, i, o, name=name: seen.__setitem__(name, (i[0], o)))
    lr, references = torch.rand(1, 3, *SIZE), torch.rand(1, 2, 1, SIZE[0] * scale, SIZE[1] * scale)
    sr = net(lr, references)
    fused, residual = seen["reconstructor"]
    assert near(fused, array(seen["aggregation"][1]) + array(seen["lr_blocks"][1]))
    assert near(sr[0], literal_bicubic(array(lr[0]), scale) + array(residual[0]))


def test_without_references_nothing_is_added_to_the_lr_features():
    net, seen = Hime(HimeConfig(width=8, groups=2)).eval(), {}
    for name in ("lr_blocks", "reconstructor"):
        getattr(net, name).register_forward_hook(lambda _, i, o, name=name: seen.__setitem__(name, (i[0], o)))
    for references in (None, torch.empty(1, 0, 1, 32, 32)):
        net(torch.rand(1, 3, 8, 8), references)
        assert torch.equal(seen["reconstructor"][0], seen["lr_blocks"][1])


def test_hr_extractor_loses_nothing_in_space_to_depth():
    """Section 3.1: a channel per sub-pixel."""
    luma = torch.rand(1, 1, 8, 12)
    deep = array(Hime(HimeConfig()).hr_extractor.unshuffle(luma)[0])
    for channel, row, column in np.ndindex(16, 2, 3):
        assert deep[channel, row, column] == float(luma[0, 0, 4 * row + channel // 4, 4 * column + channel % 4])


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pixel_shuffle_starts_by_icnr(variant, scale):
    """The output of convolution and PixelShuffle is constant over each block: no checkerboards."""
    net, seen = build(variant, scale).eval(), []

    def keep(module: torch.nn.PixelShuffle, inputs: tuple, output: torch.Tensor) -> None:
        seen.append((module.upscale_factor, output))

    shuffles = [m for m in net.modules() if isinstance(m, torch.nn.PixelShuffle)]
    for shuffle in shuffles:
        shuffle.register_forward_hook(keep)
    net(torch.rand(1, 3, 6, 6))
    assert len(seen) == len(shuffles) > 0
    for factor, output in seen:
        n, channels, height, width = output.shape
        blocks = output.view(n, channels, height // factor, factor, width // factor, factor)
        assert torch.allclose(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks), atol=1e-5)
        assert output.std() > 1e-3
