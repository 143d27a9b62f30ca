"""How much other photos of a person could add to what the network makes of the LR picture alone, and what hinders it.

    python -m benchmarks.network.reference_bound HEADSHOTS [--weights NAME] [--lr 32] [--limit 60]

For each photo, the residual is what the network without references misses (truth minus its answer, luma); the detail
of a reference is what it misses on the reference itself. Were the detail added with the best single weight, the error
would fall by -10 log10(1 - rho^2) dB, rho being their correlation. Three ways of laying references over the face:

  lr      flow on the LR picture, as the relay does
  answer  flow at full size between the network's answers for both
  truth   flow at full size to the truth itself, which nobody has: the bound of what alignment could give. Flow fits
          whatever it gets, so the figure for references of another person is to be taken off.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hime_core.evaluation.evaluate import infer
from hime_core.evaluation.lists import Item, draw_list
from hime_core.faces.registration import Registration, luma
from hime_core.model.hime import Hime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with <identity>/<photo>.jpg")
    parser.add_argument("--weights", default="small-x4-rec")
    parser.add_argument("--lr", type=int, default=32)
    parser.add_argument("--limit", type=int, default=60)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    items, _ = draw_list(args.data, 3)
    rng = np.random.default_rng(0)
    chosen = [items[i] for i in rng.permutation(len(items))[: args.limit]]
    bound = Bound(Hime.from_pretrained(args.weights), args.data, args.lr)
    for item in chosen:
        person = item.target.split("/")[0]
        others = [i.target for i in items if i.target.split("/")[0] != person]
        bound.add("right", item)
        bound.add("wrong", Item(item.target, tuple(rng.choice(others, 3))))
    print(f"{len(chosen)} photos, {args.weights}, LR {args.lr}, three references, mean of their details")
    for (kind, way, region), (product, detail, residual) in sorted(bound.sums.items()):
        rho = product / (detail * residual) ** 0.5
        print(f"{kind:6} {way:7} {region:6} rho {rho:+.3f}   bound {-10 * np.log10(1 - rho**2):.3f} dB")


class Bound:
    def __init__(self, model: Hime, data: Path, lr_side: int) -> None:
        self.model, self.data, self.lr_side = model, data, lr_side
        self.side = lr_side * model.config.scale
        self.sums: dict[tuple[str, str, str], np.ndarray] = defaultdict(lambda: np.zeros(3))
        self.registration = Registration()
        self.fine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self.fine.setFinestScale(0)

    def add(self, kind: str, item: Item) -> None:
        truth, lr, answer = self._picture(item.target)
        details = defaultdict(list)
        for name in item.references:
            photo, _, known = self._picture(name)
            flow = self.registration.flow(photo, lr)
            flows = {
                "lr": cv2.resize(flow, (self.side, self.side)) * np.float32(self.side / flow.shape[1]),
                "answer": self.fine.calc(answer, known, None),
                "truth": self.fine.calc(truth, photo, None),
            }
            for way, field in flows.items():
                details[way].append(_warp(photo, field) - _warp(known, field))
        residual = truth.astype(np.float32) - answer
        q = self.side // 4
        for way, found in details.items():
            detail = np.mean(found, axis=0)
            for region, part in (("whole", np.s_[:, :]), ("inner", np.s_[q:-q, q:-q])):
                d, r = detail[part], residual[part]
                self.sums[kind, way, region] += (d * r).sum(), (d**2).sum(), (r**2).sum()

    def _picture(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Luma of the photo, of its LR picture, and of the network's answer without references."""
        with Image.open(self.data / name) as image:
            photo = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BOX)
        lr = np.asarray(photo.resize((self.lr_side, self.lr_side), Image.Resampling.BICUBIC))
        return luma(np.asarray(photo)), luma(lr), luma(infer(self.model, lr, None))


def _warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    ys, xs = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    image = image.astype(np.float32)
    return cv2.remap(image, xs + flow[..., 0], ys + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


if __name__ == "__main__":
    main()
