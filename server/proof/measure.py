"""One cell: its calls, and its faces against the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hime_core.arrays import Array
from hime_core.compositing.layout import Layout, View
from hime_core.evaluation.evaluate import infer
from hime_core.evaluation.metrics import FIGURES, Meter, mean_figures
from hime_core.evaluation.peers import Peer
from hime_core.evaluation.warp import Flow, warp_error
from hime_core.faces.geometry import LR_SIDES
from hime_core.model.hime import Hime
from server.child import RelayProcess
from server.proof.call import CallFailed, Face, Watched, call
from server.proof.plan import Cell, Timing
from server.proof.result import CallCounts, Result
from server.proof.scene import SIDE, Clip, Scene, framed, stage
from server.proof.stream import encode

PLAIN, BLANK = "plain", "0 exemplars"
FEWEST = 4  # moments that must have arrived in every view
METRICS = (*FIGURES, "warp")


def with_exemplars(count: int) -> str:
    """The row's name."""
    return f"{count} exemplar" + "s" * (count != 1)


@dataclass
class Bench:
    """What cells are measured with. relays: by the number of exemplars that they use at most, the highest first; model:
    the relays' network; moments: faces of a cell that are measured; pictures: a folder for one row of faces of each."""

    relays: Mapping[int, RelayProcess]
    model: Hime
    meter: Meter
    peers: Sequence[Peer]
    timing: Timing
    layout: Layout
    moments: int
    pictures: Path
    _scene: tuple[tuple[str, int, int, int | None], Scene] | None = field(default=None, init=False)

    def measure(self, cell: Cell, clip: Clip) -> Result:
        """Sends the cell's call once for each relay, the plain view with the first, and measures what arrived.

        Raises CallFailed and Unusable.
        """
        scene = self._staged(cell, clip)
        stream = encode(scene, cell.codec, cell.kbps, self.timing)
        watched: dict[int, Watched] = {}
        for count, relay in self.relays.items():
            views: tuple[View, ...] = ("enhanced",) if watched else ("original", "enhanced")
            watched[count] = call(relay.url, scene, stream, cell.codec, views, self.layout)
        faces = {with_exemplars(count): one.faces["enhanced"] for count, one in sorted(watched.items())}
        faces = {PLAIN: next(iter(watched.values())).faces["original"], **faces}
        moments = _moments(scene, faces, self.moments)
        sides = [face.side for number in moments if (face := scene.face(number))]
        rows, errors, truth_errors, flow = [], [], [], Flow()
        for number in moments:
            before, now = self._pictures(scene, faces, number, sides)
            truth, truth_before = now.pop("truth"), before.pop("truth")
            rows.append(self.meter.measure(now, truth))
            maps, mask = flow.between(*(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (truth_before, truth)))
            errors.append({name: warp_error(before[name], now[name], maps, mask) for name in now})
            truth_errors.append(warp_error(truth_before, truth, maps, mask))
            if number == moments[len(moments) // 2]:
                self._keep(cell, [*now.values(), truth])
        figures = {
            name: mean_figures([row[name] for row in rows]) | {"warp": _mean([e[name] for e in errors])}
            for name in rows[0]
        }
        calls: dict[str, CallCounts] = {
            str(count): {"outcomes": one.outcomes, "bypasses": one.bypasses, "bank": one.bank}
            for count, one in watched.items()
        }
        return {
            "cell": {
                "clip": clip.name, "size": cell.size, "headshot": cell.headshot, "codec": cell.codec, "kbps": cell.kbps,
            },
            "kbps": stream.kbps,
            "measured_kbps": stream.measured_kbps,
            "fps": clip.fps,
            "moments": len(moments),
            "headshot_px": float(np.median(sides)),
            "truth_px": float(np.median(sides)) / scene.geometry.scale,
            "figures": figures,
            "truth_warp": _mean(truth_errors),
            "calls": calls,
        }  # fmt: skip

    def _staged(self, cell: Cell, clip: Clip) -> Scene:
        key = clip.name, cell.width, cell.height, cell.headshot
        if self._scene is None or self._scene[0] != key:
            self._scene = key, stage(clip, framed(clip, cell.width, cell.height, cell.headshot), self.timing)
        return self._scene[1]

    def _pictures(
        self, scene: Scene, faces: Mapping[str, Mapping[int, Face]], number: int, sides: Sequence[float]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """By row and "truth": the face's place in the frame before, and the face itself."""
        face = scene.face(number)
        assert face is not None
        lr_side = next((side for side in LR_SIDES if side >= np.median(sides)), LR_SIDES[-1])
        pair = []
        for at in (number - 1, number):
            views: dict[str, Array] = {}
            for name, found in faces.items():
                view = found[at].next if at < number else found[at].now
                assert view is not None  # moments are such
                views[name] = view
            views |= self._offline(views[PLAIN], lr_side)
            pair.append({name: views[name] for name in _in_order(views)} | {"truth": scene.truth(at, face)})
        return pair[0], pair[1]

    def _offline(self, plain: Array, lr_side: int) -> dict[str, Array]:
        """What needs no exemplars: the network's own answer with a blank one, and the peers'."""
        lr = np.asarray(Image.fromarray(plain).resize((lr_side, lr_side), Image.Resampling.BICUBIC))
        hr_side = lr_side * self.model.config.scale
        made = {BLANK: infer(self.model, lr, np.zeros((1, hr_side, hr_side), np.uint8))}
        made |= {peer.name: peer.upscale(lr) for peer in self.peers}
        size = (SIDE, SIDE)
        return {n: np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for n, p in made.items()}

    def _keep(self, cell: Cell, pictures: Sequence[Array]) -> None:
        self.pictures.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.hstack(pictures)).save(self.pictures / f"{cell.name}.png")


def _mean(errors: Sequence[float]) -> float | None:
    """Of those that could be measured; None without any."""
    known = [error for error in errors if not math.isnan(error)]
    return float(np.mean(known)) if known else None


def _in_order(names: Mapping[str, object]) -> list[str]:
    """Plain, by number of exemplars, then peers."""
    return sorted(names, key=lambda name: (name != PLAIN, "exemplar" not in name, name))


def _moments(scene: Scene, faces: Mapping[str, Mapping[int, Face]], most: int) -> list[int]:
    """Evenly spread numbers of frames that arrived in every view, the ones before them too. Raises CallFailed."""
    everywhere = set.intersection(*(set(found) for found in faces.values()))
    with_next = set.intersection(
        *({n for n, face in found.items() if face.next is not None} for found in faces.values())
    )
    # The clip turns back where it is shorter than the call: there, two neighbours may be the same frame.
    usable = [
        number
        for before, number in pairwise(range(scene.first, scene.end))
        if number in everywhere and before in with_next and scene.index(number) != scene.index(before)
    ]
    if len(usable) < FEWEST:
        raise CallFailed(
            f"{len(usable)} of {scene.end - scene.first} frames arrived in every view with a face and the frame before"
        )
    chosen = np.linspace(0, len(usable) - 1, min(most, len(usable))).round().astype(int)
    return [usable[i] for i in chosen]
