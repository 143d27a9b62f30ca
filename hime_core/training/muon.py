"""Muon (Jordan et al., 2024): momentum whose matrices are made orthogonal, for the convolutions inside the network.

torch has one too, for matrices alone and in bfloat16, which CPUs emulate; here all matrices of one shape are one batch
in float32.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hime_core.model.hime import Hime

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration: singular values come to lie in 0.7 to 1.2
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Parameters of any shape, (out, ...), taken for matrices (out, rest).

    lr: or a tensor that is changed in place, times `multiple`: of a step whose root mean square is that of Adam's,
    0.2 lr (Liu et al., 2025), so that both share a schedule.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: Tensor | float, multiple: float = 1.0, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "multiple": multiple, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # it takes no closure
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for parameters in alike.values():
                self._step(parameters, group["lr"] * group["multiple"], group["momentum"])

    def _step(self, parameters: list[nn.Parameter], lr: Tensor | float, momentum: float) -> None:
        """All parameters of one shape at once: a batch of small matrices."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter in parameters:
            if "average" not in self.state[parameter]:
                self.state[parameter]["average"] = torch.zeros_like(parameter)
        averages = [self.state[parameter]["average"] for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        moves = torch._foreach_lerp(gradients, averages, momentum)  # Nesterov's
        directions = orthogonal(torch.stack(moves).flatten(2))
        steps = directions.mul_(lr * (-0.2 * max(directions.shape[1:]) ** 0.5))
        torch._foreach_add_(tuple(parameters), [step.view_as(p) for step, p in zip(steps, parameters, strict=True)])


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices, about: U V^T of each, (B, m, n), by a Newton-Schulz iteration."""
    turned = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if turned else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if turned else x


def hidden_convolutions(model: Hime) -> list[nn.Parameter]:
    """The weights of 3x3 convolutions from features to features. What touches colours, offsets or upsampling is
    Adam's: there the scale of a step means something."""
    width = model.config.width
    return [
        p for p in model.parameters() if p.ndim == 4 and p.shape[0] == width <= p.shape[1] and p.shape[2:] == (3, 3)
    ]
