"""Milliseconds per face of the two backends on one CPU thread, interleaved in one run, and of registration.

python -m benchmarks.engine [--weights NAME]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from hime_core.engine import OnnxBackend, TorchBackend
from hime_core.model.checkpoint import DEFAULT_WEIGHTS, load_weights
from hime_core.registration import Registration

ROUNDS = 15


def milliseconds(*calls: Callable[[], object]) -> list[float]:
    """Median processor time of each call; the calls take turns, so that what else runs meets all of them alike."""
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(ROUNDS + 2):
        for call, times in zip(calls, taken, strict=True):
            start = time.process_time()
            call()
            if number >= 2:
                times.append((time.process_time() - start) * 1e3)
    return [float(np.median(times)) for times in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    model = load_weights(parser.parse_args().weights)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    backends, rng = (TorchBackend(model, "cpu"), OnnxBackend(model)), np.random.default_rng(0)
    registration = Registration()
    print(f"{'LR':>4}{'refs':>6}{'torch':>9}{'onnx':>9}{'ratio':>8}{'registration of one':>22}")
    for side in (32, 48, 64):
        lr = rng.integers(0, 256, (1, side, side, 3), np.uint8)
        gray = np.ascontiguousarray(lr[0, :, :, 0])
        for count in (1, 2, 3):
            refs = rng.integers(0, 256, (1, count, 4 * side, 4 * side), np.uint8)
            one, other, moved = milliseconds(
                lambda lr=lr, refs=refs: backends[0].infer(lr, refs),
                lambda lr=lr, refs=refs: backends[1].infer(lr, refs),
                lambda gray=gray, refs=refs: registration.register(refs[0, 0], gray),
            )
            print(f"{side:4}{count:6}{one:9.1f}{other:9.1f}{one / other:8.2f}{moved:22.1f}")


if __name__ == "__main__":
    main()
