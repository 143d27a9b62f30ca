"""ncnn, the fastest way to run the network on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import ncnn
import numpy as np

from hime_core.arrays import U8, Array
from hime_core.engine.ncnn_graph import face_network, flow_network, head_network, reference_network, trunk_network
from hime_core.model.alignment import TAPS
from hime_core.model.flow import LEVELS, MULTIPLE, FlowEstimator
from hime_core.model.hime import LUMA, Hime
from hime_core.threads import cpu_lanes

TILE = (16, 32)  # of the map before the last doubling: what is computed from it stays in a core's L2 cache
HALO = 1  # the tile's neighbours that the two 3x3 convolutions at HR size see


class NcnnBackend:
    """One CPU thread a face; Winograd convolutions."""

    max_batch = cutters = 1

    def __init__(self, model: Hime) -> None:
        self.scale = model.config.scale
        self.lanes = cpu_lanes()
        self._aggregation, self._mirrored = model.config.aggregation, model.config.mirrored
        self._face, self._reference = face_network(model), reference_network(model)
        self._trunk, self._head = trunk_network(model), head_network(model)
        self._flow = None if model.flow is None else Flow(model.flow)
        self._taps = model.config.groups * TAPS

    def infer(self, lr: U8, references: U8) -> U8:
        return np.stack([self._one(face, refs) for face, refs in zip(lr, references, strict=True)])

    def _one(self, lr: Array, references: Array) -> Array:
        face = lr.astype(np.float32) / np.float32(255)
        sr = self.run(face, references.astype(np.float32) / np.float32(255))
        return np.clip(sr * 255 + 0.5, 0, 255).astype(np.uint8)

    def run(self, lr: Array, references: Array) -> Array:
        """lr: RGB float32 (h, w, 3); references: luma float32 (R, s*h, s*w), R at least 1; all in [0, 1].
        Returns I^SR, (s*h, s*w, 3), not clamped."""
        answer = self._answer(lr, references)
        if not self._mirrored:
            return answer
        return (answer + self._answer(lr[:, ::-1].copy(), references[..., ::-1])[:, ::-1]) / 2

    def _answer(self, lr: Array, references: Array) -> Array:
        matched = ("beside", "query") if self._aggregation == "cofa" else ("beside",)
        f_lr, beside, *query = _run(self._face, {"lr": lr.transpose(2, 0, 1)}, "f_lr", *matched)
        names = ("aligned", "keys")[: len(matched)]
        found = [_run(self._reference, {"beside": beside, **inputs}, *names) for inputs in self._inputs(lr, references)]
        fused = f_lr + self._aggregate(found, *query)
        residual = self._reconstruct(fused)
        skip = cv2.resize(lr, residual.shape[:0:-1], interpolation=cv2.INTER_CUBIC)  # a = -0.75, as torch has it
        return skip + residual.transpose(1, 2, 0)

    def _inputs(self, lr: Array, references: Array) -> Iterator[dict[str, Array]]:
        """What the network is given of each reference."""
        target = self._flow.enlarged(lr @ np.array(LUMA, np.float32)) if self._flow else None
        for reference in references:
            inputs = {"reference": unshuffled(reference, self.scale)}
            if self._flow and target is not None:
                height, width = lr.shape[:2]
                small = cv2.resize(reference, (width, height), interpolation=cv2.INTER_AREA)
                flow = self._flow.between(target, self._flow.enlarged(small))[:, :height, :width]
                places, reach = _grid(height, width)
                inputs |= {"grid": places + flow * reach, "shift": np.tile(flow[::-1], (self._taps, 1, 1))}
            yield inputs

    def _aggregate(self, found: Sequence[Sequence[Array]], query: Array | None = None) -> Array:
        """Of each reference aligned (C, h, w), and with CoFA its g1 beside the LR features' g2, to F_a, (C, h, w)."""
        aligned = [maps[0] for maps in found]
        if query is None:
            plain: Array = np.mean(aligned, axis=0) if self._aggregation == "average" else np.max(aligned, axis=0)
            return plain
        mu = [1 / (1 + np.exp(-np.einsum("chw,chw->hw", keys, query))) for _, keys in found]  # Eq. 7
        weighted: Array = sum(weight * maps for weight, maps in zip(mu, aligned, strict=True))  # Eq. 5
        weighted /= np.maximum(sum(mu), np.float32(1e-6))
        return weighted

    def _reconstruct(self, fused: Array) -> Array:
        if self._head is None:
            return _run(self._trunk, {"fused": fused}, "residual")[0]
        (rising,) = _run(self._trunk, {"fused": fused}, "rising")
        _, height, width = rising.shape
        factor = self.scale // 2
        residual = np.empty((3, height * factor, width * factor), np.float32)
        for y in range(0, height, TILE[0]):
            for x in range(0, width, TILE[1]):
                top, left = max(0, y - HALO), max(0, x - HALO)
                bottom, right = min(height, y + TILE[0]), min(width, x + TILE[1])
                window = rising[:, top : bottom + HALO, left : right + HALO]
                (part,) = _run(self._head, {"rising": window}, "residual")
                residual[:, y * factor : bottom * factor, x * factor : right * factor] = part[
                    :, (y - top) * factor : (bottom - top) * factor, (x - left) * factor : (right - left) * factor
                ]
        return residual


class Flow:
    """FlowEstimator, in ncnn."""

    def __init__(self, estimator: FlowEstimator) -> None:
        self._upscale = estimator.upscale
        self._network = flow_network(estimator)

    def enlarged(self, luma: Array) -> Array:
        """float32 (h, w) in [0, 1] to (1, H, W): sides grown to what SpyNet takes, then times `upscale`."""
        multiple = MULTIPLE // self._upscale
        below, right = (-side % multiple for side in luma.shape)
        padded = cv2.copyMakeBorder(luma, 0, below, 0, right, cv2.BORDER_REPLICATE)
        size = (padded.shape[1] * self._upscale, padded.shape[0] * self._upscale)
        return cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)[None]

    def between(self, target: Array, source: Array) -> Array:
        """Of two `enlarged` pictures: where the target's content lies in the source, float32 (2, h, w) as (x, y), in
        pixels of the size before they were enlarged."""
        inputs = {"target": target, "source": source}
        _, height, width = target.shape
        for level in range(1, LEVELS):
            shrunk = LEVELS - 1 - level
            inputs[f"places{level}"], inputs[f"reach{level}"] = _grid(height >> shrunk, width >> shrunk)
        (flow,) = _run(self._network, inputs, "flow")
        k = self._upscale
        means: Array = flow.reshape(2, height // k, k, width // k, k).mean(axis=(2, 4)) / k
        return means


@lru_cache(maxsize=64)
def _grid(height: int, width: int) -> tuple[Array, Array]:
    """Each pixel's place, float32 (2, h, w), (x, y) with -1 and 1 at the centres of the outermost pixels; and what one
    pixel is of that, (2, 1, 1). Not to be written to."""
    reach = np.array([2 / max(width - 1, 1), 2 / max(height - 1, 1)], np.float32)[:, None, None]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack((xs, ys)) * reach - 1, reach


def unshuffled(luma: Array, factor: int) -> Array:
    """Space to depth: (f*h, f*w) to (f*f, h, w)."""
    height, width = luma.shape[0] // factor, luma.shape[1] // factor
    return luma.reshape(height, factor, width, factor).transpose(1, 3, 0, 2).reshape(factor**2, height, width)


def _run(network: ncnn.Net, inputs: dict[str, Array], *outputs: str) -> list[Array]:
    """Outputs in the network's order: one that is needed later is dropped as soon as it has been read."""
    extractor = network.create_extractor()
    kept = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}  # ncnn.Mat borrows them
    for name, value in kept.items():
        extractor.input(name, ncnn.Mat(value))
    found = []
    for name in outputs:
        code, mat = extractor.extract(name)
        if code:
            raise RuntimeError(f"ncnn gave no {name}: error {code}")
        found.append(np.array(mat))  # a copy: the memory is the extractor's
    return found
