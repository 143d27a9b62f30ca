"""Short training runs for the paper's ablations, one after the other, each resumed where it stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hime_core.errors import InputError
from hime_core.training.command import TrainSettings, train
from hime_core.training.losses import LossWeights

SCALE, LR_SIDE = 8, 16
WINDOWS = (1, 3, 5, 7, 9)


@dataclass(frozen=True)
class Ablation:
    """One run. changes: what differs from HIME (small) with the reconstruction loss; after: the run it begins from."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    after: Ablation | None = None

    @property
    def registered(self) -> bool:
        return self.changes.get("registered", True)


BASE = Ablation("base")
# Alignment is the network's own work only where references come as they are.
ALIGNMENT = {
    "convolution": Ablation("conv", {"alignment": "conv", "registered": False}),
    "deformable": Ablation("deformable", {"registered": False}),
    "deformable, flow-guided": Ablation("flow", {"variant": "large", "registered": False}),
}
AGGREGATION = {
    "average": Ablation("average", {"aggregation": "average"}),
    "max": Ablation("max", {"aggregation": "max"}),
    "CoFA": BASE,
}
LOSSES = {
    "rec": BASE,
    "rec + cor": Ablation("rec-cor", {"losses": LossWeights(rec=1, cor=0.1)}),
    "rec + per + adv": Ablation("gan", {"losses": LossWeights(rec=1, per=0.01, adv=0.1)}, BASE),
    "rec + per + adv + cor": Ablation("gan-cor", {"losses": LossWeights(rec=1, per=0.01, adv=0.1, cor=0.1)}, BASE),
}
FLIPS = {
    "none": Ablation("flips-none", {"flips": "none"}),
    "uneven": Ablation("flips-uneven", {"flips": "uneven"}),
    "even": BASE,
}
COR_ONLY = {k: Ablation(f"cor-only-k{k}", {"losses": LossWeights(rec=0, cor=1, window=k)}) for k in WINDOWS}
COR_TUNED = {k: Ablation(f"cor-tuned-k{k}", {"losses": LossWeights(rec=1, cor=0.1, window=k)}, BASE) for k in WINDOWS}


class Runs:
    """Trains ablations at (16, x8) on the photos of `data` into folders below `folder`, `minutes` each.

    vgg: weights for the perceptual loss.
    """

    def __init__(self, folder: Path, data: Path | None, minutes: float, vgg: Path | None = None) -> None:
        self._folder, self._data, self.minutes, self._vgg = folder, data, minutes, vgg

    def weights(self, ablation: Ablation) -> tuple[Path, int]:
        """The run's checkpoint and its number of steps, trained where it is not at hand. Raises InputError."""
        out = self._folder / ablation.name
        if self._progress(out) < 0.99 * self.minutes:
            self._train(ablation, out)
            done = self._progress(out)
            if done < 0.99 * self.minutes:
                raise InputError(
                    f"{out} was stopped after {done:.1f} of {self.minutes:g} minutes; the same command goes on with it"
                )
        return out / "weights.safetensors", self._state(out)["step"]

    def machine(self, ablation: Ablation) -> str:
        """What a run at hand was trained on."""
        return json.loads((self._folder / ablation.name / "options.json").read_text()).get("machine", "")

    def _train(self, ablation: Ablation, out: Path) -> None:
        if self._data is None:
            raise InputError(f"this table needs training runs ({ablation.name}); give --train DIR, photos to train on")
        init = str(self.weights(ablation.after)[0]) if ablation.after else None
        settings = TrainSettings(
            data=self._data, out=out, scale=SCALE, minutes=self.minutes, resume=(out / "state.pt").exists(),
            init=init, vgg=self._vgg, **ablation.changes,
        )  # fmt: skip
        print(f"{ablation.name}: {self.minutes:g} minutes of training", flush=True)
        train(settings)

    def _progress(self, out: Path) -> float:
        """Minutes trained."""
        return self._state(out)["elapsed"] / 60 if (out / "state.pt").exists() else 0.0

    @staticmethod
    def _state(out: Path) -> dict:
        return torch.load(out / "state.pt", map_location="cpu", weights_only=True)
