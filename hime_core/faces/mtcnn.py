"""MTCNN's three networks (Zhang et al. 2016), with the weights of facenet-pytorch: each caller's own, or shared."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from facenet_pytorch import MTCNN
from torch import Tensor

MOST = 32  # callers whose pictures go together

log = logging.getLogger(__name__)

Outputs = tuple[Tensor, ...]
Network = Callable[[Tensor], Outputs]


class Networks(Protocol):
    """Pictures and crops are float32 (N, 3, H, W) on the CPU, normalised; so are what they give. For any thread, inside
    `torch.inference_mode`."""

    def propose(self, pictures: Sequence[Tensor]) -> list[Outputs]:
        """The first one on pictures of different sizes: offsets (N, 4, h, w) and scores (N, 2, h, w) of each."""
        ...

    def refine(self, crops: Tensor) -> Outputs:
        """The second one on crops of 24 pixels: offsets (N, 4) and scores (N, 2)."""
        ...

    def judge(self, crops: Tensor) -> Outputs:
        """The third one on crops of 48 pixels: offsets (N, 4), landmarks (N, 10) and scores (N, 2)."""
        ...


class OwnNetworks:
    """Run by each caller for itself: on a CPU, nothing is gained by waiting for others
    (`python -m benchmarks.faces.detector_batches`)."""

    def __init__(self) -> None:
        self._propose, self._refine, self._judge = _loaded(torch.device("cpu"))

    def propose(self, pictures: Sequence[Tensor]) -> list[Outputs]:
        return [self._propose(picture) for picture in pictures]

    def refine(self, crops: Tensor) -> Outputs:
        return self._refine(crops)

    def judge(self, crops: Tensor) -> Outputs:
        return self._judge(crops)


class SharedNetworks:
    """Run on a device for all callers: what they ask for at the same time goes there together.

    A lone caller never waits for others. Each has one question open at a time, so that no more wait than there are
    callers. Where the device fails, the networks go on on the CPU.
    """

    def __init__(self, device: str) -> None:
        cpu = OwnNetworks()
        networks = _loaded(torch.device(device))
        alone = (cpu._propose, cpu._refine, cpu._judge)
        self._propose, self._refine, self._judge = (
            Gathered(network, torch.device(device), spare) for network, spare in zip(networks, alone, strict=True)
        )

    def propose(self, pictures: Sequence[Tensor]) -> list[Outputs]:
        return self._propose(pictures)

    def refine(self, crops: Tensor) -> Outputs:
        return self._refine([crops])[0]

    def judge(self, crops: Tensor) -> Outputs:
        return self._judge([crops])[0]


@dataclass(eq=False)
class _Asked:
    inputs: Sequence[Tensor]
    outputs: list[Outputs] | None = None
    error: Exception | None = None


class Gathered:
    """A network that whoever finds it free runs for all who wait."""

    def __init__(self, network: Network, device: torch.device, spare: Network | None = None) -> None:
        """spare: on the CPU, takes over when the device fails; without one, errors are its callers'."""
        self._network, self._device, self._spare = network, device, spare
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self._stream is not None:  # weights may still be being laid out
            self._stream.wait_stream(torch.cuda.current_stream(device))
        self._waiting: list[_Asked] = []
        self._busy = False
        self._changed = threading.Condition()

    def __call__(self, inputs: Sequence[Tensor]) -> list[Outputs]:
        """The network's outputs for each of the inputs, batches of any length and size."""
        asked = _Asked(inputs)
        with self._changed:
            self._waiting.append(asked)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: asked.outputs is not None or asked.error or not self._busy)
                if asked.error:
                    raise asked.error
                if asked.outputs is not None:
                    return asked.outputs
                self._busy = True
                together, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                self._answer(together)
            except Exception as error:
                for one in together:
                    one.error = error
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _answer(self, together: list[_Asked]) -> None:
        alike: defaultdict[torch.Size, list[tuple[int, Tensor]]] = defaultdict(list)
        pictures = [picture for asked in together for picture in asked.inputs]
        for n, picture in enumerate(pictures):
            alike[picture.shape[1:]].append((n, picture))
        found: dict[int, Outputs] = {}
        answers = self._run([torch.cat([picture for _, picture in some]) for some in alike.values()])
        for some, outputs in zip(alike.values(), answers, strict=True):
            lengths = [len(picture) for _, picture in some]
            parts = zip(*(output.split(lengths) for output in outputs), strict=True)
            found |= {n: part for (n, _), part in zip(some, parts, strict=True)}
        numbers = iter(range(len(pictures)))
        for asked in together:
            asked.outputs = [found[next(numbers)] for _ in asked.inputs]

    def _run(self, batches: list[Tensor]) -> list[Outputs]:
        try:
            with torch.cuda.stream(self._stream):  # nothing where there is none
                there = [self._network(_laid_out(batch).to(self._device, non_blocking=True)) for batch in batches]
                return [tuple(output.cpu() for output in outputs) for outputs in there]
        except RuntimeError:
            if self._spare is None:
                raise
            log.warning("a network of the face detector failed on %s and goes on on the CPU", self._device.type)
            self._network, self._device, self._stream, self._spare = self._spare, torch.device("cpu"), None, None
            return self._run(batches)


def _loaded(device: torch.device) -> tuple[Network, Network, Network]:
    networks = MTCNN(device=torch.device("cpu")).eval()
    loaded = (networks.pnet, networks.rnet, networks.onet)
    p, r, o = (network.to(device, memory_format=torch.channels_last) for network in loaded)
    return p, r, o


def _laid_out(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last)
