"""Muon against its definition."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from hime_core.model.build import build_small, build_tiny
from hime_core.training.muon import Muon, hidden_convolutions, orthogonal


@pytest.mark.parametrize("shape", [(4, 6, 20), (3, 20, 6), (2, 8, 8)])
def test_directions_are_orthogonal_about_and_those_of_the_svd(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    found = orthogonal(matrices)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    assert torch.cosine_similarity(found.flatten(1), (u @ vt).flatten(1)).min() > 0.95


def test_a_step_has_the_size_that_adams_would_have():
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.zeros(32, 32, 3, 3))
    parameter.grad = 1e-3 * torch.randn_like(parameter)
    Muon([parameter], lr=0.01).step()
    assert 0.6 < parameter.square().mean().sqrt() / (0.2 * 0.01) < 1.4


def test_parameters_of_several_shapes_learn_and_those_without_gradient_stay():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    still = nn.Parameter(torch.ones(8, 8))
    optimizer = Muon([net[0].weight, net[2].weight, still], lr=0.02)
    x, wanted = torch.randn(8, 3, 12, 12), torch.randn(8, 4, 8, 8)
    losses = []
    for _ in range(60):
        loss = (net(x) - wanted).square().mean()
        losses.append(loss.item())
        net.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.95 * losses[0]
    assert torch.equal(still, torch.ones(8, 8))


def test_a_run_resumed_takes_the_same_step():
    def step(optimizer, parameter, seed):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        optimizer.step()

    one, two = (nn.Parameter(torch.ones(6, 6)) for _ in range(2))
    first, second = Muon([one], lr=0.1), Muon([two], lr=0.1)
    step(first, one, 0)
    second.load_state_dict(deepcopy(first.state_dict()))
    two.data.copy_(one.data)
    step(first, one, 1)
    step(second, two, 1)
    assert torch.equal(one, two)


@pytest.mark.parametrize("build", [build_small, build_tiny])
def test_colours_offsets_and_upsampling_are_left_to_adam(build):
    net = build(4)
    hidden = set(map(id, hidden_convolutions(net)))
    names = {name for name, p in net.named_parameters() if id(p) in hidden}
    assert "reconstructor.blocks.0.conv1.weight" in names
    assert "alignment.steps.0.weight" in names
    assert not any(part in name for name in names for part in ("bias", "lr_conv", "out", "up", "offset_head"))
