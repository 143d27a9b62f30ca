"""Trains the network that sees from a face how coarsely it was once coded, and measures it.

    python -m benchmarks.faces.damage_estimator train --data HEADSHOTS/train --clips CLIPS --exclude NAMES --out FILE
    python -m benchmarks.faces.damage_estimator measure --clips CLIPS --only NAMES [--weights FILE]

Training takes about ten minutes on one core, half of it to make the faces. Measuring sends clips at given sizes and
rates, and estimates each as received and as coded again by x264 at crf 12. The truth is told twice: by the bitstream's
step, and as the step of VP8 that makes the error that there is. Five estimates, five frames apart, are averaged as a
gate may.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hime_core.data.clips import clip_files
from hime_core.data.codec import CODECS, Codec
from hime_core.data.damaged import (
    SETTLED,
    call_options,
    clip_faces,
    coded,
    cut,
    equivalent,
    error_of,
    laid,
    photo_faces,
    read_shown,
    target,
)
from hime_core.faces.damage import STEPS, WEIGHTS, DamageEstimator, DamageNetwork, prepared
from hime_core.faces.detector import MtcnnDetector
from hime_core.video.picture import Picture

SIDES, RATES, SIZE = (130, 160, 200), (60, 150, 300, 800), (640, 360)  # headshots, kbit/s, frame
FINE, COARSE, THRESHOLD = 14.0, 36.0, 24.0  # steps that the threshold is to tell apart
EVERY, MEAN_OF = 5, 5  # frames between estimates, estimates
CROPS = (64, 96, 128)  # pixels that are looked at in training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("--data", type=Path, required=True, help="folder of <identity>/<photo>.jpg headshots")
    one.add_argument("--clips", type=Path, required=True)
    one.add_argument("--exclude", default="", help="clips that are held out, by name")
    one.add_argument("--photos", type=int, default=4000, help="times a photo is coded")
    one.add_argument("--runs", type=int, default=36, help="times each clip is sent")
    one.add_argument("--steps", type=int, default=2600)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--out", type=Path, default=WEIGHTS)
    one.set_defaults(run=train)
    other = commands.add_parser("measure")
    other.add_argument("--clips", type=Path, required=True)
    other.add_argument("--only", required=True, help="clips to measure on, by name")
    other.add_argument("--weights", type=Path, default=WEIGHTS)
    other.set_defaults(run=measure)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    arguments.run(arguments)


def train(arguments: argparse.Namespace) -> None:
    rng, began = np.random.default_rng(arguments.seed), time.monotonic()
    photos = sorted(arguments.data.glob("*/*.jpg"))
    found = list(photo_faces(photos, arguments.photos, rng))
    detector = MtcnnDetector()
    for path in clip_files(arguments.clips, [name for name in arguments.exclude.split(",") if name]):
        found += clip_faces(path, detector, arguments.runs, rng)
        print(f"{time.monotonic() - began:5.0f} s, {len(found)} faces after {path.stem}", flush=True)
    network = fit(np.stack(found), arguments.steps, arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, arguments.out)


def fit(samples: np.ndarray, steps: int, seed: int) -> DamageNetwork:
    """samples: of training.damage.TYPES."""
    torch.manual_seed(seed)
    rng, began = np.random.default_rng(seed), time.monotonic()
    wanted, lumas = target(samples), samples["luma"]
    network = DamageNetwork()
    plain, normed = network.layers, []
    for layer in plain:
        normed += [layer, nn.BatchNorm2d(layer.out_channels)] if isinstance(layer, nn.Conv2d) else [layer]
    network.layers = nn.Sequential(*normed)  # without it, nothing is learned in this time
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.15)
    mean = 0.0
    for step in range(1, steps + 1):
        chosen = rng.integers(len(samples), size=32)
        side = int(rng.choice(CROPS))
        top, left = rng.integers(0, lumas.shape[1] - side + 1, 2)
        faces = lumas[chosen, top : top + side, left : left + side]
        faces = faces[..., ::-1] if rng.random() < 0.5 else faces
        found = network(prepared(torch.from_numpy(np.ascontiguousarray(faces))))
        loss = torch.nn.functional.smooth_l1_loss(found, torch.from_numpy(wanted[chosen]), beta=0.5)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean += 0.01 * (loss.item() - mean) if step > 1 else loss.item()
        if not step % 200:
            print(f"{time.monotonic() - began:5.0f} s, step {step}, loss {mean:.4f}", flush=True)
    network.eval()
    fused = [
        fuse_conv_bn_eval(normed[i], normed[i + 1]) if isinstance(normed[i], nn.Conv2d) else nn.ReLU()
        for i in range(len(normed))
        if not isinstance(normed[i], nn.BatchNorm2d)
    ]
    network.layers = nn.Sequential(*fused)
    return network


def measure(arguments: argparse.Namespace) -> None:
    estimator, detector = DamageEstimator(arguments.weights), MtcnnDetector()
    seen: dict[tuple[int, int, Codec, str], list[np.ndarray]] = defaultdict(list)
    for name in arguments.only.split(","):
        path = next(p for p in clip_files(arguments.clips) if p.stem == name)
        shown = next(iter(read_shown(path, detector, 1)))
        for side in SIDES:
            frames = [Picture.from_rgb(f) for f in laid(shown, side, SIZE, np.random.default_rng(side))]
            for kbps in RATES:
                for codec in CODECS:
                    received = coded(frames, codec, call_options(codec, kbps))
                    steps = [coding.step for _, coding in received][SETTLED::EVERY]
                    both = list(zip(frames, received, strict=True))[SETTLED::EVERY]
                    errors = np.array([error_of(cut(sent).y, cut(picture).y) for sent, (picture, _) in both])
                    losses = np.clip(2 ** equivalent(errors), *STEPS)
                    faces = [cut(picture) for picture, _ in received[SETTLED:]]
                    again = [p for p, _ in coded(faces, "h264", {"crf": 12})]
                    for way, pictures in (("received", faces), ("again", again)):
                        found = [estimator.step(picture.y) for picture in pictures[::EVERY]]
                        seen[side, kbps, codec, way].append(np.array([steps, losses, found]))
        print(f"{name}:", _right([runs[-1] for runs in seen.values()]), flush=True)
    print("step, step by the error, estimate: means over the clips, and each")
    for (side, kbps, codec, way), runs in seen.items():
        means = np.exp([np.log(run).mean(1) for run in runs])
        steps, losses, found = np.exp(np.log(means).mean(0))
        each = " ".join(":".join(f"{value:.0f}" for value in run) for run in means)
        print(f"{side} px {kbps:4} kbit/s {codec:4} {way:8} {steps:5.1f} {losses:5.1f} {found:5.1f}   {each}")
    for codec in CODECS:
        for way in ("received", "again"):
            print(codec, way, _right([run for key, runs in seen.items() if key[2:] == (codec, way) for run in runs]))
    print("all", _right([run for runs in seen.values() for run in runs]))


def _right(runs: list[np.ndarray]) -> str:
    """Shares of the frames on the right side of THRESHOLD, by single estimates and by means of MEAN_OF."""
    parts = []
    for count in (1, MEAN_OF):
        *real, found = np.exp(np.concatenate([_running(np.log(run), count) for run in runs], 1))
        for name, steps in zip(("step", "error"), real, strict=True):
            fine, coarse = found[steps <= FINE] < THRESHOLD, found[steps >= COARSE] >= THRESHOLD
            shares = [f"{part.mean():.1%}" if len(part) else "-" for part in (fine, coarse, np.append(fine, coarse))]
            parts.append(
                f"\n  {count}, by {name}: fine {shares[0]} of {len(fine)}, coarse {shares[1]} of {len(coarse)}"
            )
            parts[-1] += f", both {shares[2]}"
    return "".join(parts)


def _running(values: np.ndarray, count: int) -> np.ndarray:
    return np.stack([values[:, i : values.shape[1] - count + 1 + i] for i in range(count)]).mean(0)


if __name__ == "__main__":
    main()
