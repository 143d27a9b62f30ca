"""The network's variants, sizes and checkpoints; its equations are in test_equations.py."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from hime_core.model.blocks import residual_blocks
from hime_core.model.build import VARIANTS, build, build_large, build_small, build_tiny
from hime_core.model.checkpoint import CheckpointError, find_weights, load_spynet, save_checkpoint
from hime_core.model.count import multiply_accumulates, parameter_count
from hime_core.model.flow import FlowEstimator, SpyNet, warp
from hime_core.model.hime import Hime, HimeConfig
from hime_core.training.losses import charbonnier


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


@pytest.mark.parametrize(("scale", "steps", "millions"), [(4, 4, 0.877), (8, 4, 0.893), (4, 1, 0.662)])
def test_parameters_are_those_of_the_design(scale, steps, millions):
    assert parameter_count(build_small(scale, steps)) / 1e6 == pytest.approx(millions, abs=0.001)


@pytest.mark.parametrize(
    ("model", "millions", "gmacs", "side"),
    [
        (lambda: build_small(4), 0.877, 1.875, 32),  # the paper: 0.87 M, 1.86
        (lambda: build_small(4), 0.877, 7.498, 64),  # 7.48
        (lambda: build_small(8), 0.893, 0.490, 16),  # 0.90 M, 0.49
        (lambda: build_large(4), 2.389, 6.06, 32),  # 9.23 M, 6.06
        (lambda: build_large(4), 2.389, 24.24, 64),  # 24.24
        (lambda: build_large(8), 2.405, 4.49, 16),  # 9.26 M, 4.49
    ],
)
def test_costs_are_those_of_table_1(model, millions, gmacs, side):
    assert parameter_count(model()) / 1e6 == pytest.approx(millions, abs=0.001)
    assert multiply_accumulates(model(), side, 3) == pytest.approx(gmacs, rel=0.01)


def test_tiny_is_within_its_budget():
    assert multiply_accumulates(build_tiny(4), 32, 1) < 0.5
    assert multiply_accumulates(build_tiny(4), 32, 1) < 0.5 * multiply_accumulates(build_small(4, 1), 32, 1)


@pytest.mark.parametrize("references", [0, 1, 3])
def test_counted_costs_are_those_of_the_layers(references):
    """A network small enough to be counted by hand; per pixel of LR."""
    width, blocks, groups, scale = 8, 1, 2, 4
    net = Hime(HimeConfig(width=width, groups=groups, lr_blocks=1, hr_blocks=1, reconstruction_blocks=blocks))
    square, block = 9 * width * width, 18 * width * width
    per_reference = (
        9 * scale**2 * width + block  # HR extractor
        + 2 * square + 3 * square  # [F_ref, F_L], guide
        + 9 * width * (27 * groups) + square  # offset head, deformable kernel
        + width * width  # g1
    )  # fmt: skip
    once = 9 * 3 * width + block + blocks * block
    tail = width * 4 * width + 4 * width * 4 * width + 16 * (square + 9 * width * 3)
    expected = once + tail + (references and references * per_reference + width * width)
    assert multiply_accumulates(net, 10, references) * 1e9 == pytest.approx(100 * expected)


def test_counting_leaves_the_network_as_it_was():
    net = build_tiny()
    multiply_accumulates(net, 16, 1)
    assert {p.device.type for p in net.parameters()} == {"cpu"}


@pytest.mark.parametrize("scale", [4, 8])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("references", "size"), [(0, (10, 14)), (1, (16, 16)), (4, (7, 9)), (1, (1, 1))])
def test_any_number_of_references_and_any_size(variant, scale, references, size):
    net = build(variant, scale).eval()
    height, width = size[0] * scale, size[1] * scale
    with torch.inference_mode():
        sr = net(torch.rand(2, 3, *size), torch.rand(2, references, 3, height, width))
    assert sr.shape == (2, 3, height, width)
    assert sr.isfinite().all()


def test_shapes_that_cannot_be_are_said():
    net = build_tiny(4)
    with pytest.raises(ValueError, match=r"lr has shape .* must be \(N, 3, h, w\)"):
        net(torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="at least one pixel"):
        net(torch.rand(1, 3, 0, 8))
    for wrong in ((1, 2, 1, 64, 64), (1, 2, 2, 32, 32), (2, 1, 1, 32, 32), (1, 1, 32, 32)):
        with pytest.raises(ValueError, match=r"references have shape .* must be \(1, R, 3 or 1, 32, 32\)"):
            net(torch.rand(1, 3, 8, 8), torch.rand(wrong))


def test_variants_are_built_by_name():
    assert build("small", 8, steps=2, alignment="conv").config == HimeConfig(scale=8, steps=2, alignment="conv")
    assert build("large", 8).config.flow_upscale == 4
    with pytest.raises(ValueError, match="must be one of tiny, small, large"):
        build("huge")
    with pytest.raises(ValueError, match="tiny does not take steps"):
        build("tiny", 4, steps=3)


def test_colour_of_references_does_not_count_and_features_can_be_kept():
    net = build_small(4, 1).eval()
    lr, rgb = torch.rand(1, 3, 8, 8), torch.rand(1, 2, 3, 32, 32)
    luma = (rgb * torch.tensor([0.299, 0.587, 0.114]).view(1, 1, 3, 1, 1)).sum(2, keepdim=True)
    with torch.inference_mode():
        whole = net(lr, rgb)
        assert torch.allclose(whole, net(lr, luma), atol=1e-5)
        assert torch.allclose(whole, net(lr, features=net.encode_references(rgb)), atol=1e-5)


def test_a_mirrored_network_gives_the_mean_of_both_sides():
    one, both = build_small(4, 1).eval(), Hime(HimeConfig(mirrored=True)).eval()
    both.load_state_dict(one.state_dict())
    lr, refs = torch.rand(2, 3, 8, 8), torch.rand(2, 2, 1, 32, 32)
    with torch.inference_mode():
        answer, mirrored = one(lr, refs), one(lr.flip(-1), refs.flip(-1)).flip(-1)
        assert not torch.allclose(answer, mirrored, atol=1e-3)
        assert torch.allclose(both(lr, refs), (answer + mirrored) / 2, atol=1e-5)
        assert torch.allclose(both(lr, refs).flip(-1), both(lr.flip(-1), refs.flip(-1)), atol=1e-5)
        assert torch.allclose(both(lr), (one(lr) + one(lr.flip(-1)).flip(-1)) / 2, atol=1e-5)
        with pytest.raises(ValueError, match="give the references themselves"):
            both(lr, features=one.encode_references(refs))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("aggregation", ["cofa", "average", "max"])
def test_order_of_references_does_not_count(variant, aggregation):
    net = build(variant, 4, aggregation=aggregation).eval()
    lr, refs = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(net(lr, refs), net(lr, refs.flip(1)), atol=1e-5)


@pytest.mark.parametrize("config", [
    HimeConfig(), HimeConfig(alignment="conv"), HimeConfig(alignment="flow"), HimeConfig(aggregation="average"),
    HimeConfig(aggregation="max", tail="direct"),
])  # fmt: skip
def test_every_part_learns(config):
    net = Hime(dataclasses.replace(config, width=8, groups=2))
    loss = charbonnier(net(torch.rand(2, 3, 8, 8), torch.rand(2, 2, 1, 32, 32)), torch.rand(2, 3, 32, 32))
    loss.backward()
    # Offset heads and flow start at zero, so what lies before them gets its gradient one step later.
    silent = [n for n, p in net.named_parameters() if p.grad is None]
    assert silent == []
    assert net.hr_extractor.conv.weight.grad.abs().max() > 0
    if config.alignment != "conv":
        assert net.alignment.steps[0].offset_head.weight.grad.abs().max() > 0
    if net.flow:
        assert all(level[-1].weight.grad.abs().max() > 0 for level in net.flow.spynet.levels)


def test_residual_blocks_start_near_the_identity():
    x = torch.randn(1, 32, 8, 8)
    assert (residual_blocks(20, 32)(x) - x).std() < 0.3 * x.std()


def test_flow_starts_at_zero_and_is_in_lr_pixels():
    estimator = FlowEstimator(upscale=2)
    lr, reference = torch.rand(2, 1, 17, 13), torch.rand(2, 1, 17, 13)
    assert torch.equal(estimator(lr, reference), torch.zeros(2, 2, 17, 13))
    torch.nn.init.constant_(estimator.spynet.levels[-1][-1].bias, 3.0)  # three pixels of the enlarged pictures
    assert torch.allclose(estimator(lr, reference), torch.full((2, 2, 17, 13), 1.5), atol=1e-5)


def test_a_large_network_begins_as_one_without_flow():
    large, small = build_large(4).eval(), build_small(4, 5).eval()
    small.load_state_dict({k: v for k, v in large.state_dict().items() if not k.startswith("flow.")})
    lr, refs = torch.rand(1, 3, 12, 12), torch.rand(1, 2, 1, 48, 48)
    with torch.inference_mode():
        assert torch.allclose(large(lr, refs), small(lr, refs), atol=1e-5)


def test_spynet_can_learn_a_shift():
    """Supervised by nothing but the pictures, as within the network: the shifted one is brought back."""
    torch.manual_seed(0)
    net = SpyNet()
    target = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), size=(32, 32), mode="bicubic")
    source = target.roll(2, dims=3)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(25):
        loss = (warp(source, net(target, source)) - target)[..., 4:-4].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("layout", ["moduleBasic.{}.netBasic.{}.{}", "basic_module.{}.basic_module.{}.{}"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_published_spynet_weights(tmp_path, layout, wrapped):
    spynet = SpyNet()
    for parameter in spynet.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    state = {layout.format(*k.split(".")[1:]): v for k, v in spynet.state_dict().items()}
    torch.save({"params": state} if wrapped else state, tmp_path / "spynet.pth")
    model = build_large(4, spynet=tmp_path / "spynet.pth")
    assert all(torch.equal(v, spynet.state_dict()[k]) for k, v in model.flow.spynet.state_dict().items())


def test_files_that_are_no_spynet_are_said(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth cannot be read"):
        load_spynet(tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not this")
    with pytest.raises(CheckpointError, match=r"text\.pth cannot be read"):
        load_spynet(tmp_path / "text.pth")
    for name, content in (("other", {"a.0.b.0.weight": torch.zeros(2)}), ("list", [1, 2]), ("part", {"params": None})):
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(CheckpointError, match="does not hold SpyNet's weights"):
            load_spynet(tmp_path / f"{name}.pth")


def test_checkpoint_carries_its_hyper_parameters(tmp_path):
    net = Hime(HimeConfig(width=16, groups=4, steps=2, reconstruction_blocks=2)).eval()
    path = tmp_path / "a.safetensors"
    save_checkpoint(net, path)
    again = Hime.from_pretrained(path)
    assert again.config == net.config
    lr, refs = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again(lr, refs), net(lr, refs))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [4, 8])
def test_every_variant_comes_back_from_its_checkpoint(tmp_path, variant, scale):
    net = build(variant, scale).eval()
    save_checkpoint(net, tmp_path / "a.safetensors", half=True)
    again = Hime.from_pretrained(tmp_path / "a.safetensors")
    assert again.config == net.config
    lr, refs = torch.rand(1, 3, 8, 8), torch.rand(1, 1, 1, 8 * scale, 8 * scale)
    with torch.inference_mode():
        assert torch.allclose(again(lr, refs), net(lr, refs), atol=0.02)


def write(path, net, **changes):
    config = {**dataclasses.asdict(net.config), **changes}
    metadata = {"format": "hime", "config": json.dumps({k: v for k, v in config.items() if v is not None})}
    save_file(net.state_dict(), path, metadata)


def test_checkpoints_from_before_the_switches_still_load(tmp_path):
    net = Hime(HimeConfig(width=8, groups=2))
    new = ("guide_convs", "alignment", "aggregation", "flow_upscale", "tail", "mirrored")
    write(tmp_path / "old.safetensors", net, **dict.fromkeys(new))
    assert Hime.from_pretrained(tmp_path / "old.safetensors").config == net.config
    assert Hime.from_pretrained("small-x4-rec").config.alignment == "deformable"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"alignment": "magic"}, "alignment is 'magic'; it must be one of deformable, conv, flow"),
        ({"aggregation": "sum"}, "aggregation is 'sum'; it must be one of cofa, average, max"),
        ({"tail": "none"}, "tail is 'none'; it must be one of staged, direct"),
        ({"scale": 3}, "scale is 3"),
        ({"width": "8"}, "does not fit"),
        ({"depth": 9}, "depth"),
        ({"alignment": "conv"}, "does not fit"),
    ],
)
def test_unknown_hyper_parameters_in_a_checkpoint_are_said(tmp_path, changes, says):
    write(tmp_path / "a.safetensors", Hime(HimeConfig(width=8, groups=2)), **changes)
    with pytest.raises(CheckpointError, match=says):
        Hime.from_pretrained(tmp_path / "a.safetensors")


def test_checkpoint_errors_say_what_is_wrong(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not this")
    with pytest.raises(CheckpointError, match=r"broken\.safetensors"):
        Hime.from_pretrained(broken)
    with pytest.raises(CheckpointError, match="there are: "):
        find_weights("no-such-weights")
    with pytest.raises(CheckpointError, match="does not exist"):
        find_weights(str(tmp_path / "absent.safetensors"))


def test_hyper_parameters_are_checked():
    with pytest.raises(ValueError, match="scale is 3"):
        HimeConfig(scale=3)
    with pytest.raises(ValueError, match="multiple of groups"):
        HimeConfig(width=30)
    with pytest.raises(ValueError, match="flow_upscale is 3"):
        HimeConfig(flow_upscale=3)
    with pytest.raises(ValueError, match="at least 1"):
        HimeConfig(steps=0)
