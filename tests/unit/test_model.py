"""The network against slow, literal versions of the paper's equations."""

import math

import pytest
import torch
from torchvision.ops import deform_conv2d

from hime_core.model.aggregation import ContentConditionedAggregation
from hime_core.model.blocks import PixelShuffleUp
from hime_core.model.build import build_small
from hime_core.model.checkpoint import CheckpointError, find_weights, load_checkpoint, save_checkpoint
from hime_core.model.count import parameter_count
from hime_core.model.deform import deform_conv_by_grid_sample
from hime_core.model.hime import Hime, HimeConfig
from hime_core.training.losses import charbonnier


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def literal_deform(x, offset, mask, weight, bias, groups):
    """Modulated deformable convolution by its definition, pixel by pixel."""
    n, channels, height, width = x.shape
    out = torch.zeros(n, weight.shape[0], height, width)
    per = channels // groups

    def at(b, c, y, x_):
        y0, x0 = math.floor(y), math.floor(x_)
        value = 0.0
        for yy in (y0, y0 + 1):
            for xx in (x0, x0 + 1):
                if 0 <= yy < height and 0 <= xx < width:
                    value += float(x[b, c, yy, xx]) * (1 - abs(y - yy)) * (1 - abs(x_ - xx))
        return value

    for b in range(n):
        for y in range(height):
            for x_ in range(width):
                for c in range(channels):
                    g = c // per
                    for tap in range(9):
                        dy = float(offset[b, g * 18 + 2 * tap, y, x_]) + tap // 3 - 1
                        dx = float(offset[b, g * 18 + 2 * tap + 1, y, x_]) + tap % 3 - 1
                        m = float(mask[b, g * 9 + tap, y, x_])
                        out[b, :, y, x_] += weight[:, c, tap // 3, tap % 3] * m * at(b, c, y + dy, x_ + dx)
    return out + bias.view(1, -1, 1, 1)


def test_deformable_sampling_is_its_definition():
    x, groups = torch.randn(1, 4, 5, 4), 2
    offset, mask = torch.randn(1, 2 * 18, 5, 4) * 1.5, torch.rand(1, 2 * 9, 5, 4)
    weight, bias = torch.randn(3, 4, 3, 3), torch.randn(3)
    ours = deform_conv_by_grid_sample(x, offset, mask, weight, bias, groups)
    assert torch.allclose(ours, literal_deform(x, offset, mask, weight, bias, groups), atol=1e-4)
    assert torch.allclose(ours, deform_conv2d(x, offset, weight, bias, padding=1, mask=mask), atol=1e-4)


def test_similarity_and_aggregation_are_equations_5_to_7():
    cofa = ContentConditionedAggregation(6)
    aligned, lr = torch.randn(1, 3, 6, 2, 2), torch.randn(1, 6, 2, 2)
    expected = torch.zeros(1, 6, 2, 2)
    for y in range(2):
        for x in range(2):
            query = cofa.g2.weight[:, :, 0, 0] @ lr[0, :, y, x] + cofa.g2.bias
            weights = []
            for i in range(3):
                key = cofa.g1.weight[:, :, 0, 0] @ aligned[0, i, :, y, x] + cofa.g1.bias
                weights.append(1 / (1 + torch.exp(-(key @ query))))
            total = sum(weights)
            expected[0, :, y, x] = sum(w * aligned[0, i, :, y, x] for i, w in enumerate(weights)) / total
    assert torch.allclose(cofa(aligned, lr), expected, atol=1e-5)


def test_one_reference_is_passed_through_by_the_average():
    cofa = ContentConditionedAggregation(4)
    aligned = torch.randn(2, 1, 4, 3, 3)
    assert torch.allclose(cofa(aligned, torch.randn(2, 4, 3, 3)), aligned[:, 0], atol=1e-6)


def test_icnr_starts_as_nearest_neighbour():
    up = PixelShuffleUp(4, 4, 2)
    y = up(torch.randn(1, 4, 3, 3))
    blocks = y.view(1, 4, 3, 2, 3, 2)
    assert torch.allclose(blocks, blocks[:, :, :, :1, :, :1].expand_as(blocks), atol=1e-6)


@pytest.mark.parametrize(("scale", "steps", "millions"), [(4, 4, 0.877), (8, 4, 0.893), (4, 1, 0.662)])
def test_parameters_are_those_of_the_design(scale, steps, millions):
    assert parameter_count(build_small(scale, steps)) / 1e6 == pytest.approx(millions, abs=0.001)


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("references", [0, 1, 3])
def test_any_number_of_references_and_any_size(scale, references):
    net = build_small(scale, 1)
    lr = torch.rand(2, 3, 10, 14)
    refs = torch.rand(2, references, 3, 10 * scale, 14 * scale)
    assert net(lr, refs).shape == (2, 3, 10 * scale, 14 * scale)


def test_colour_of_references_does_not_count_and_features_can_be_kept():
    net = build_small(4, 1).eval()
    lr, rgb = torch.rand(1, 3, 8, 8), torch.rand(1, 2, 3, 32, 32)
    luma = (rgb * torch.tensor([0.299, 0.587, 0.114]).view(1, 1, 3, 1, 1)).sum(2, keepdim=True)
    with torch.inference_mode():
        whole = net(lr, rgb)
        assert torch.allclose(whole, net(lr, luma), atol=1e-5)
        assert torch.allclose(whole, net(lr, features=net.encode_references(rgb)), atol=1e-5)


def test_order_of_references_does_not_count():
    net = build_small(4, 1).eval()
    lr, refs = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(net(lr, refs), net(lr, refs.flip(1)), atol=1e-5)


def test_every_part_learns():
    net = build_small(4, 1)
    loss = charbonnier(net(torch.rand(2, 3, 8, 8), torch.rand(2, 2, 1, 32, 32)), torch.rand(2, 3, 32, 32))
    loss.backward()
    # Offset heads start at zero, so what lies before them gets its gradient one step later.
    silent = [n for n, p in net.named_parameters() if p.grad is None]
    assert silent == []
    assert net.alignment.steps[0].offset_head.weight.grad.abs().max() > 0
    assert net.hr_extractor.conv.weight.grad.abs().max() > 0


def test_charbonnier():
    a, b = torch.tensor([0.2, 0.5]), torch.tensor([0.2, 0.1])
    assert float(charbonnier(a, b)) == pytest.approx((1e-3 + math.sqrt(0.16 + 1e-6)) / 2)


def test_checkpoint_carries_its_hyper_parameters(tmp_path):
    net = Hime(HimeConfig(width=16, groups=4, steps=2, reconstruction_blocks=2)).eval()
    path = tmp_path / "a.safetensors"
    save_checkpoint(net, path)
    again = load_checkpoint(path)
    assert again.config == net.config
    lr, refs = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again(lr, refs), net(lr, refs))


def test_checkpoint_errors_say_what_is_wrong(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not this")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors"):
        load_checkpoint(broken)
    with pytest.raises(CheckpointError, match="there are: "):
        find_weights("no-such-weights")
    with pytest.raises(CheckpointError, match="does not exist"):
        find_weights(str(tmp_path / "absent.safetensors"))


def test_hyper_parameters_are_checked():
    with pytest.raises(ValueError, match="scale is 3"):
        HimeConfig(scale=3)
    with pytest.raises(ValueError, match="multiple of groups"):
        HimeConfig(width=30)
