"""The body of `hime bench`: what a face costs, by LR size, number of references and batch."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from hime_core.arrays import Array
from hime_core.engine import Backend, NcnnBackend, TorchBackend
from hime_core.errors import InputError
from hime_core.evaluation.store import Record
from hime_core.faces.registration import Registration
from hime_core.model import alignment
from hime_core.model.count import multiply_accumulates, parameter_count
from hime_core.model.hime import Hime

SIDES = (32, 64)
REFERENCES = (1, 3)
BATCHES = (1, 4)
WARM_UP = 2


class TorchvisionBackend(TorchBackend):
    """PyTorch on a CPU with torchvision's kernel for the deformable convolution, as most write it."""

    def infer(self, lr: Array, references: Array) -> Array:
        with patch.object(alignment, "modulated_deform_conv", _by_torchvision):
            return super().infer(lr, references)


def _by_torchvision(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, groups: int
) -> Tensor:
    out: Tensor = deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    return out


def bench(weights: str, device: str, rounds: int = 10, sides: tuple[int, ...] = SIDES) -> Iterator[Record]:
    """One row a setting: milliseconds per face of every backend for the device, medians over interleaved rounds, so
    that what else runs on the machine meets all of them alike. On a CPU, one thread and processor time, and PyTorch
    with both forms of its deformable convolution: `torch`, the faster one, and `torchvision`, that package's kernel.
    "ncnn_over" holds ncnn's speed against each.

    device: "cpu" or "cuda". Raises InputError.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is no CUDA device here; give --device cpu")
    model = Hime.from_pretrained(weights)
    backends: dict[str, Backend] = {"torch": TorchBackend(model, device)}
    if device == "cpu":
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        backends["torchvision"] = TorchvisionBackend(model, device)
        backends["ncnn"] = NcnnBackend(model)
    clock = time.process_time if device == "cpu" else time.perf_counter
    rng = np.random.default_rng(0)
    for side in sides:
        for count in REFERENCES:
            for batch in BATCHES:
                lr = rng.integers(0, 256, (batch, side, side, 3), np.uint8)
                large = side * model.config.scale
                refs = rng.integers(0, 256, (batch, count, large, large), np.uint8)
                calls = [partial(backend.infer, lr, refs) for backend in backends.values()]
                seconds = dict(zip(backends, medians(calls, rounds, clock), strict=True))
                row: Record = {
                    "lr": side,
                    "refs": count,
                    "batch": batch,
                    "gmacs": multiply_accumulates(model, side, count),
                    "ms_per_face": {name: 1e3 * value / batch for name, value in seconds.items()},
                    "faces_per_s": {name: batch / value for name, value in seconds.items()},
                    "over_torch": {name: seconds["torch"] / value for name, value in seconds.items()},
                }
                if "ncnn" in seconds:
                    row["ncnn_over"] = {name: value / seconds["ncnn"] for name, value in seconds.items()}
                yield row


def stages(sides: tuple[int, ...] = SIDES, rounds: int = 10) -> dict[str, float]:
    """Milliseconds of the steps around the network: registration of one reference by LR size."""
    registration, rng = Registration(), np.random.default_rng(0)
    found = {}
    for side in sides:
        # Flow takes as long as its input needs: smooth pictures, as faces are.
        large = cv2.GaussianBlur(rng.integers(0, 256, (4 * side, 4 * side), np.uint8), (0, 0), 4)
        small = cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
        call = partial(registration.register, large, small)
        found[f"register_lr{side}"] = 1e3 * medians([call], rounds, time.process_time)[0]
    return found


def machine(weights: str, device: str) -> Record:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {
        "weights": weights,
        "device": device,
        "machine": name,
        "params": parameter_count(Hime.from_pretrained(weights)),
    }


def medians(calls: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float]) -> list[float]:
    """Median seconds of each call; the calls take turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + WARM_UP):
        for call, times in zip(calls, taken, strict=True):
            start = clock()
            call()
            if number >= WARM_UP:
                times.append(clock() - start)
    return [float(np.median(times)) for times in taken]
