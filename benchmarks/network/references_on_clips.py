"""What references are worth on real clips: the paper's Table 5 through the relay's own path.

    python -m benchmarks.network.references_on_clips CLIPS_DIR [--weights NAME] [--gaps 30,120] [--lr 32]
        [--registration opencv|torch|none] [--json OUT.json]

Every 30th frame with a face is a target: its headshot is the truth at (scale x L)^2 by BOX, the network gets Pillow's
BICUBIC of it at L^2. References are the same clip's frames `gap` before and after, cut and laid over as in a call, and
registered by OpenCV as on a CPU, by PyTorch as on a GPU, or not at all. Figures are PSNR over all targets that have
references at every gap, and the mean over clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

from hime_core.arrays import Array
from hime_core.evaluation.clips import ClipEvaluation, LandmarksOnly, clips_in
from hime_core.evaluation.store import write_json
from hime_core.exemplars.references import ReferenceCutter
from hime_core.faces.dense import register
from hime_core.model.checkpoint import DEFAULT_WEIGHTS
from hime_core.model.hime import Hime


class Dense(ReferenceCutter):
    """References registered as a GPU does it."""

    @torch.inference_mode()
    def _register(self, cut: Array, lr_luma: Array) -> Array:
        picture, lr = (torch.from_numpy(one).float() for one in (cut, lr_luma))
        return register(picture[None, None], lr[None])[0, 0].to(torch.uint8).numpy()


CUTTERS = {"opencv": ReferenceCutter, "torch": Dense, "none": LandmarksOnly}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--gaps", default="30,120")
    parser.add_argument("--lr", type=int, default=32)
    parser.add_argument("--only", default="", help="clips whose names begin so, with commas between")
    parser.add_argument("--registration", choices=tuple(CUTTERS), default="opencv", help="none: what it is worth")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = Hime.from_pretrained(options.weights)
    cutter = CUTTERS[options.registration](model.config.scale)
    evaluation = ClipEvaluation(model, options.lr, cutter=cutter)
    clips = clips_in(options.clips, [name for name in options.only.split(",") if name])
    gaps, results = [int(g) for g in options.gaps.split(",")], {}
    for path in track(clips, description="clips", transient=True):
        figures, targets = evaluation.gaps(path, gaps)
        if targets:
            results[path.stem] = {name: row["psnr"] for name, row in figures.items()} | {"targets": targets}
    keys = ["bicubic", "blank", *map(str, gaps)]
    results["mean over clips"] = {k: float(np.mean([r[k] for r in results.values()])) for k in keys}
    print(f"{'':24}{'targets':>8}" + "".join(f"{k:>9}" for k in keys) + "".join(f"  {g} over blank" for g in gaps))
    for name, row in results.items():
        figures = "".join(f"{row[k]:9.2f}" for k in keys)
        over = "".join(f"{row[str(g)] - row['blank']:+{12 + len(str(g))}.2f}" for g in gaps)
        print(f"{name:24}{row.get('targets', ''):>8}{figures}{over}")
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
