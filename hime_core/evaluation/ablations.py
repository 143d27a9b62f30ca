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

SCALE, LR_SIDE, BATCH = 8, 16, 32
WINDOWS = (1, 3, 5, 7, 9)
CRITICS_SHARE = 0.25  # VGG and the discriminator cost many times what the network does


@dataclass(frozen=True)
class Ablation:
    """One run. changes: what differs from HIME (small) with the reconstruction loss; after: the run it begins from;
    share: of the iterations that it takes."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    after: Ablation | None = None
    share: float = 1.0

    @property
    def registered(self) -> bool:
        return bool(self.changes.get("registered", True))


BASE = Ablation("base")
# Alignment is the network's own work only where references come as they are: in all rows but the last.
ALIGNMENT = {
    "convolution": Ablation("conv", {"alignment": "conv", "registered": False}),
    "deformable": Ablation("deformable", {"registered": False}),
    "deformable, flow-guided": Ablation("flow", {"variant": "large", "registered": False}),
    "deformable, registered": BASE,
}
AGGREGATION = {
    "average": Ablation("average", {"aggregation": "average"}),
    "max": Ablation("max", {"aggregation": "max"}),
    "CoFA": BASE,
}
LOSSES = {
    "rec": BASE,
    "rec + cor": Ablation("rec-cor", {"losses": LossWeights(rec=1, cor=0.1)}),
    "rec + per + adv": Ablation("gan", {"losses": LossWeights(rec=1, per=0.01, adv=0.1)}, BASE, CRITICS_SHARE),
    "rec + per + adv + cor": Ablation(
        "gan-cor", {"losses": LossWeights(rec=1, per=0.01, adv=0.1, cor=0.1)}, BASE, CRITICS_SHARE
    ),
}
FLIPS = {
    "none": Ablation("flips-none", {"flips": "none"}),
    "uneven": Ablation("flips-uneven", {"flips": "uneven"}),
    "even": BASE,
}
COR_ONLY = {k: Ablation(f"cor-only-k{k}", {"losses": LossWeights(rec=0, cor=1, window=k)}) for k in WINDOWS}
COR_TUNED = {k: Ablation(f"cor-tuned-k{k}", {"losses": LossWeights(rec=1, cor=0.1, window=k)}, BASE) for k in WINDOWS}


class Runs:
    """Trains ablations at (16, x8) on the photos of `data` into folders below `folder`, `iterations` steps each,
    so that they compare on any machine.

    vgg: weights for the perceptual loss.
    """

    def __init__(self, folder: Path, data: Path | None, iterations: int, vgg: Path | None = None) -> None:
        self._folder, self._data, self.iterations, self._vgg = folder, data, iterations, vgg

    def weights(self, ablation: Ablation) -> Path:
        """The run's checkpoint, trained where it is not at hand. Raises InputError."""
        out = self._folder / ablation.name
        if self._steps(out) < self._due(ablation):
            self._train(ablation, out)
            done = self._steps(out)
            if done < self._due(ablation):
                raise InputError(
                    f"{out} was stopped after {done} of {self._due(ablation)} steps; the same command goes on with it"
                )
        return out / "weights.safetensors"

    def machine(self, ablation: Ablation) -> str:
        """What a run at hand was trained on."""
        return str(json.loads((self._folder / ablation.name / "options.json").read_text()).get("machine", ""))

    def _train(self, ablation: Ablation, out: Path) -> None:
        if self._data is None:
            raise InputError(f"this table needs training runs ({ablation.name}); give --train DIR, photos to train on")
        init = str(self.weights(ablation.after)) if ablation.after else None
        settings = TrainSettings(
            data=self._data, out=out, scale=SCALE, iterations=self._due(ablation), batch=BATCH,
            resume=(out / "state.pt").exists(), init=init, vgg=self._vgg, **ablation.changes,
        )  # fmt: skip
        print(f"{ablation.name}: {self._due(ablation)} steps of training", flush=True)
        train(settings)

    def _due(self, ablation: Ablation) -> int:
        return max(1, round(self.iterations * ablation.share))

    @staticmethod
    def _steps(out: Path) -> int:
        """Trained so far."""
        path = out / "state.pt"
        return torch.load(path, map_location="cpu", weights_only=True)["step"] if path.exists() else 0
