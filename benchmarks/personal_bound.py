"""How much a person's other photos can tell about a photo, whatever a network does with them: an upper mark to hold
the worth of references against.

    python benchmarks/personal_bound.py HEADSHOTS [--weights NAME] [--lr 32] [--steps 40,80,160] [--photos 8]

For every person half of the photos are set apart, and the network (without references) is trained on the others for a
few steps: it may learn all that they show of the face, at every pose and light, and needs no alignment to use it. Its
gain on the photos set apart is held against the gain by the photos of another person, which brings what is not the
person: the look of this collection.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hime_core.model.checkpoint import load_weights
from hime_core.model.hime import Hime
from hime_core.training.headshots import read_identities
from hime_core.training.losses import psnr_loss

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with <identity>/<photo>.jpg")
    parser.add_argument("--weights", default="small-x4-rec")
    parser.add_argument("--lr", type=int, default=32)
    parser.add_argument("--steps", default="40,80,160", help="after which to measure")
    parser.add_argument("--photos", type=int, default=8, help="least number that a person must have")
    parser.add_argument("--rate", type=float, default=1e-4)
    args = parser.parse_args()
    model = load_weights(args.weights)
    steps = [int(s) for s in args.steps.split(",")]
    people = [
        pairs(paths, args.lr, model.config.scale)
        for paths in read_identities(args.data).values()
        if len(paths) >= args.photos
    ]
    gains: dict[str, list[np.ndarray]] = {"right": [], "wrong": []}
    for number, (lr, hr) in enumerate(people):
        other = people[(number + 1) % len(people)]
        before = quality(model, lr[1::2], hr[1::2])
        for kind, known in (("right", (lr[::2], hr[::2])), ("wrong", (other[0][::2], other[1][::2]))):
            after = [quality(m, lr[1::2], hr[1::2]) for m in taught(model, *known, steps, args.rate)]
            gains[kind].append(np.stack([(a - before).numpy() for a in after]))
        found = [float((r - w).mean()) for r, w in zip(gains["right"][-1], gains["wrong"][-1], strict=True)]
        print(f"person {number + 1} of {len(people)}, right over wrong:", *(f"{f:+.3f}" for f in found), flush=True)
    for kind, found in gains.items():
        print(kind, *(f"{steps[i]} steps {np.concatenate(found, axis=1)[i].mean():+.3f} dB" for i in range(len(steps))))


def pairs(paths: list[Path], side: int, scale: int) -> tuple[Tensor, Tensor]:
    """LR and HR pictures as evaluation makes them: float (N, 3, h, w) in [0, 1]."""
    found = []
    for path in paths:
        with Image.open(path) as image:
            hr = image.convert("RGB").resize((side * scale, side * scale), Image.Resampling.BOX)
        found.append((hr.resize((side, side), Image.Resampling.BICUBIC), hr))
    lr, hr = (torch.from_numpy(np.stack([np.asarray(p) for p in one])) for one in zip(*found, strict=True))
    return lr.permute(0, 3, 1, 2).float() / 255, hr.permute(0, 3, 1, 2).float() / 255


def taught(model: Hime, lr: Tensor, hr: Tensor, steps: list[int], rate: float) -> list[Hime]:
    """The network after each number of steps on these pictures, mirrored or not; the mean of its weights since the
    number before, which ends as quietly as a decaying rate does."""
    model, rng = deepcopy(model).train(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    found = []
    mean, count = deepcopy(model), 0
    for step in range(1, max(steps) + 1):
        chosen = torch.from_numpy(rng.choice(len(lr), BATCH))
        mirror = torch.from_numpy(rng.random(BATCH) < 0.5)[:, None, None, None]
        x, y = (torch.where(mirror, t[chosen].flip(-1), t[chosen]) for t in (lr, hr))
        with torch.autocast("cpu", torch.bfloat16):
            sr = model(x)
        optimizer.zero_grad()
        psnr_loss(sr.float(), y).backward()
        optimizer.step()
        with torch.no_grad():
            count += 1
            for a, b in zip(mean.parameters(), model.parameters(), strict=True):
                a.lerp_(b, 1 / count)
        if step in steps:
            found.append(deepcopy(mean).eval())
            count = 0
    return found


@torch.inference_mode()
def quality(model: Hime, lr: Tensor, hr: Tensor) -> Tensor:
    """PSNR of each picture in dB, rounded to 8 bits."""
    sr = (model(lr).clamp(0, 1) * 255).round() / 255
    return -10 * torch.log10(((sr - hr) ** 2).mean(dim=(1, 2, 3)))


if __name__ == "__main__":
    main()
