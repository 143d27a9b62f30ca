"""How much a person's other photos can tell about a photo, whatever a network does with them: a mark to hold the worth
of references against.

    python -m benchmarks.network.personal_bound VAL TRAIN [--weights NAME] [--lr 32] [--known 8]
        [--steps 100] [--people 10]

The network, without references, is trained on for a few steps on photos of TRAIN (folders of <identity>/<photo>), of
which a part is replaced by photos of one person of VAL: it may learn all that they show of the face, at every pose and
light, and needs no alignment to use it. Measured on photos of that person that it has not seen, after training on
TRAIN alone ("none"), with the right person's photos, and with another person's ("wrong").
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hime_core.data.headshots import PHOTO_SIDE, read_identities
from hime_core.model.hime import Hime
from hime_core.training.losses import psnr_loss

BATCH, PERSONAL = 16, 6  # pairs a step, and how many of them show the person
COMMON, VARIANTS, TESTED = 1600, 120, 10  # pairs of TRAIN, pairs of a person, photos measured at most

Pairs = tuple[Tensor, Tensor]  # LR and HR pictures, float (N, 3, h, w) in [0, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("val", type=Path, help="folder with <identity>/<photo>.jpg")
    parser.add_argument("train", type=Path, help="another, of other people")
    parser.add_argument("--weights", default="small-x4-rec")
    parser.add_argument("--lr", type=int, default=32)
    parser.add_argument("--known", type=int, default=8, help="photos of a person that are learned from")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--people", type=int, default=10)
    args = parser.parse_args()
    model = Hime.from_pretrained(args.weights)
    model.config = replace(model.config, mirrored=False)
    make = Maker(args.lr, model.config.scale)

    photos = [path for paths in read_identities(args.train).values() for path in paths]
    common = make.varied([photos[i] for i in make.rng.permutation(len(photos))[:COMMON]])
    people = [paths for paths in read_identities(args.val).values() if len(paths) >= args.known + 4]
    people = people[:: max(1, len(people) // args.people)]
    known = [make.varied(paths[: args.known] * (VARIANTS // args.known)) for paths in people]
    unseen = [make.plain(paths[args.known : args.known + TESTED]) for paths in people]

    neutral = trained(model, common, None, args.steps, args.rate)
    gains: dict[str, list[Tensor]] = {"none": [], "right": [], "wrong": []}
    for number, pairs in enumerate(unseen):
        before = quality(model, pairs)
        networks = {
            "none": neutral,
            "right": trained(model, common, known[number], args.steps, args.rate),
            "wrong": trained(model, common, known[(number + 1) % len(known)], args.steps, args.rate),
        }
        for kind, network in networks.items():
            gains[kind].append(quality(network, pairs) - before)
        found = (f"{kind} {float(rows[-1].mean()):+.3f}" for kind, rows in gains.items())
        print(f"person {number + 1} of {len(people)}:", ", ".join(found), flush=True)
    means = {kind: float(torch.cat(rows).mean()) for kind, rows in gains.items()}
    print(
        f"{args.weights}, LR {args.lr}, {args.known} photos:", ", ".join(f"{k} {v:+.3f} dB" for k, v in means.items())
    )
    print(
        f"right over none {means['right'] - means['none']:+.3f} dB, over wrong {means['right'] - means['wrong']:+.3f}"
    )


class Maker:
    """Pairs of photos, HR pictures of `side` * `scale` pixels; LR by Pillow's BICUBIC."""

    def __init__(self, side: int, scale: int) -> None:
        self.side, self.large, self.rng = side, side * scale, np.random.default_rng(0)

    def plain(self, paths: list[Path]) -> Pairs:
        """As evaluation makes them."""
        return self._pairs([_photo(path).resize((self.large, self.large), Image.Resampling.BOX) for path in paths])

    def varied(self, paths: list[Path]) -> Pairs:
        """Turned a little, cut tighter by up to a sixth, mirrored or not."""
        return self._pairs([self._vary(_photo(path)) for path in paths])

    def _vary(self, photo: Image.Image) -> Image.Image:
        width = PHOTO_SIDE * self.rng.uniform(0.84, 1.0)
        x, y = self.rng.uniform(0, PHOTO_SIDE - width, 2)
        turned = photo.rotate(self.rng.uniform(-6, 6), Image.Resampling.BICUBIC)
        cut = turned.resize((self.large, self.large), Image.Resampling.BICUBIC, (x, y, x + width, y + width))
        return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.rng.random() < 0.5 else cut

    def _pairs(self, large: list[Image.Image]) -> Pairs:
        small = [picture.resize((self.side, self.side), Image.Resampling.BICUBIC) for picture in large]
        lr, hr = (torch.from_numpy(np.stack([np.asarray(p) for p in part])) for part in (small, large))
        return lr.permute(0, 3, 1, 2).float() / 255, hr.permute(0, 3, 1, 2).float() / 255


def _photo(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB").resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BOX)


def trained(model: Hime, common: Pairs, personal: Pairs | None, steps: int, rate: float) -> Hime:
    """The mean of the weights over the second half of so many steps, which ends as quietly as a decaying rate does."""
    model, rng = deepcopy(model).train(), np.random.default_rng(1)
    mean = deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.99))
    for step in range(steps):
        chosen = torch.from_numpy(rng.choice(len(common[0]), BATCH))
        lr, hr = (part[chosen] for part in common)
        if personal is not None:
            chosen = torch.from_numpy(rng.choice(len(personal[0]), PERSONAL))
            lr, hr = (torch.cat([a[PERSONAL:], b[chosen]]) for a, b in zip((lr, hr), personal, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            sr = model(lr)
        optimizer.zero_grad()
        psnr_loss(sr.float(), hr).backward()
        optimizer.step()
        share = 1 / max(1, step + 1 - steps // 2)
        with torch.no_grad():
            for a, b in zip(mean.parameters(), model.parameters(), strict=True):
                a.lerp_(b, share)
    return mean.eval()


@torch.inference_mode()
def quality(model: Hime, pairs: Pairs) -> Tensor:
    """PSNR of each picture in dB, rounded to 8 bits."""
    lr, hr = pairs
    sr = (model(lr).clamp(0, 1) * 255).round() / 255
    return -10 * torch.log10(((sr - hr) ** 2).mean(dim=(1, 2, 3)))


if __name__ == "__main__":
    main()
