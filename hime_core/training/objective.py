"""What a recipe minimises: Eq. 10, with the critics that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hime_core.model.hime import Hime
from hime_core.training.critics import Discriminator, VggFeatures
from hime_core.training.losses import (
    LossWeights,
    charbonnier,
    correlation_loss,
    perceptual_loss,
    psnr_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from hime_core.training.replay import restore

CRITICS_SIDE = 64  # of the part of a picture that the critics see on a CPU: they cost far more than the network itself


@dataclass(frozen=True)
class Critics:
    """vgg: where the perceptual loss counts; teacher: a network whose pictures are matched beside the truth; known:
    what `Objective.state_dict` gave of another run, whose discriminator is gone on with."""

    vgg: VggFeatures | None = None
    teacher: Hime | None = None
    known: dict[str, Any] | None = None


class Objective:
    """The loss of a batch, each term by name. Holds the discriminator and trains it, where the recipe has one."""

    def __init__(
        self, weights: LossWeights, critics: Critics, rate: float, device: torch.device, bf16: bool = False
    ) -> None:
        """rate: the discriminator's; bf16: whether the critics' and the teacher's convolutions run in it."""
        if weights.per and critics.vgg is None:
            raise ValueError("the perceptual loss needs VGG features")
        self.weights, self._device, self._bf16 = weights, device, bf16
        self.vgg = critics.vgg.to(device) if critics.vgg else None
        self.teacher = critics.teacher.to(device).eval() if critics.teacher else None
        self.discriminator: Discriminator | None = None
        if weights.adv:
            self.discriminator = Discriminator().to(device)
            self.optimizer = torch.optim.Adam(
                self.discriminator.parameters(), lr=rate, betas=(0.9, 0.99), fused=True,
                capturable=device.type == "cuda",
            )  # fmt: skip
            if critics.known:
                self.load_state_dict(critics.known)

    def terms(self, sr: Tensor, hr: Tensor, lr: Tensor, references: Tensor) -> dict[str, Tensor]:
        """Each term times its lambda. sr, hr: (N, 3, H, W); lr, references: what sr was made of."""
        w = self.weights
        found = {}
        if w.rec:
            found["rec"] = w.rec * charbonnier(sr, hr)
        if w.psnr:
            found["psnr"] = w.psnr * psnr_loss(sr, hr)
        if self.teacher is not None:
            with torch.no_grad(), self._reduced():
                taught = self.teacher(lr, references)
            found["teacher"] = w.teacher * charbonnier(sr, taught.float())
        if w.cor:
            found["cor"] = w.cor * correlation_loss(sr, hr, w.window, w.dilation)
        if (w.per or w.adv) and sr.device.type == "cpu":
            sr, hr = _same_part(sr, hr)
        if w.per:
            assert self.vgg is not None
            with self._reduced():
                with torch.no_grad():
                    wanted = self.vgg(hr)
                features = self.vgg(sr)
            found["per"] = w.per * perceptual_loss([f.float() for f in features], [f.float() for f in wanted])
        if self.discriminator is not None:
            found["adv"] = w.adv * self._adversarial(sr, hr)
        return found

    def _adversarial(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Trains the discriminator by one step and returns L_adv against it."""
        assert self.discriminator is not None
        loss = relativistic_discriminator_loss(self._judged(hr), self._judged(sr.detach()))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        with _frozen(self.discriminator):
            return relativistic_generator_loss(self._judged(hr), self._judged(sr))

    def _judged(self, pictures: Tensor) -> Tensor:
        assert self.discriminator is not None
        with self._reduced():
            logits: Tensor = self.discriminator(pictures)
            return logits.float()

    def _reduced(self) -> torch.autocast:
        # Without the cache: the discriminator's weights change between two looks at it.
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=False)

    def state_dict(self) -> dict[str, Any]:
        if self.discriminator is None:
            return {}
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            restore(self.optimizer, state["optimizer"])


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """A network through which gradients pass without being gathered."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _same_part(*pictures: Tensor) -> list[Tensor]:
    """The same random square of each, from torch's generator."""
    height, width = pictures[0].shape[-2:]
    side = min(CRITICS_SIDE, height, width)
    y = int(torch.randint(height - side + 1, ()))
    x = int(torch.randint(width - side + 1, ()))
    return [picture[..., y : y + side, x : x + side] for picture in pictures]
