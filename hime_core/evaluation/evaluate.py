"""`hime evaluate`: a checkpoint against bicubic, and against peers, on photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hime_core.arrays import Array
from hime_core.errors import InputError
from hime_core.evaluation.lists import Item
from hime_core.evaluation.metrics import Figures, Meter, mean_figures
from hime_core.evaluation.peers import Peer
from hime_core.evaluation.store import Record
from hime_core.faces.registration import Registration, luma
from hime_core.model.count import multiply_accumulates, parameter_count
from hime_core.model.hime import Hime

Pictures = dict[str, Array]  # "bicubic", "model" and each peer's by name, uint8 (side, side, 3)


class Evaluation:
    """Makes and measures the pictures of one setting: HR by BOX, LR and the baseline by Pillow's BICUBIC, 8 bits
    throughout.

    refs: number of references, 0 for no reference branch, "blank" for one black picture, or "wrong" for those of
    another person, which the items then name. registered: whether references are laid over the LR picture as in the
    relay; else they go in as they are.
    """

    def __init__(
        self,
        model: Hime,
        data: Path,
        lr_side: int,
        refs: int | str,
        meter: Meter | None = None,
        peers: Sequence[Peer] = (),
        registered: bool = True,
    ) -> None:
        self.model, self.data, self.lr_side, self.refs = model.eval(), data, lr_side, refs
        self.side = lr_side * model.config.scale
        self._meter, self._peers, self._registered = meter or Meter(), peers, registered
        self._registration = Registration()
        self._seconds: dict[str, list[float]] = {}

    def run(
        self, items: Iterable[Item], show: Callable[[Array, Pictures], None] = lambda truth, pictures: None
    ) -> Record:
        """Means over the items: {"model": {...}, "bicubic": {...}, "gain_db": ...}. show: given each item's truth and
        pictures. Raises InputError."""
        rows: list[dict[str, Figures]] = []
        for item in items:
            truth, pictures = self.pictures(item)
            rows.append(self._meter.measure(pictures, truth))
            show(truth, pictures)
        means = {name: mean_figures([row[name] for row in rows]) for name in rows[0]}
        model, bicubic = means.pop("model"), means.pop("bicubic")
        references = 1 if self.refs == "blank" else 3 if self.refs == "wrong" else int(self.refs)
        found: Record = {
            "images": len(rows),
            "scale": self.model.config.scale,
            "lr": self.lr_side,
            "refs": self.refs,
            "params": parameter_count(self.model),
            "gmacs": multiply_accumulates(self.model, self.lr_side, references),
            "ms_per_face": self._milliseconds("model"),
            "model": model,
            "bicubic": bicubic,
            "gain_db": _difference(model, bicubic, "psnr"),
            "gain_inner_db": _difference(model, bicubic, "psnr_inner"),
        }
        if self._peers:
            found["peers"] = {
                peer.name: means[peer.name]
                | {
                    "ms_per_face": self._milliseconds(peer.name),
                    "params": peer.params,
                    "gmacs": peer.gmacs(self.lr_side),
                }
                for peer in self._peers
            }
        return found

    def pictures(self, item: Item) -> tuple[Array, Pictures]:
        """The truth, uint8 (side, side, 3), and what is made of its LR picture."""
        truth = self.photo(item.target)
        small = Image.fromarray(truth).resize((self.lr_side, self.lr_side), Image.Resampling.BICUBIC)
        plain = np.asarray(small.resize((self.side, self.side), Image.Resampling.BICUBIC))
        lr = np.asarray(small)
        photos = [luma(self.photo(name)) for name in item.references]
        pictures = {"bicubic": plain, "model": self._timed("model", lambda: self._enhance(lr, photos))}
        for peer in self._peers:
            pictures[peer.name] = self._timed(peer.name, partial(peer.upscale, lr))
        return truth, pictures

    def photo(self, name: str) -> Array:
        path = self.data / name
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB").resize((self.side, self.side), Image.Resampling.BOX))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not a readable photo: {error}") from error

    def _enhance(self, lr: Array, photos: list[Array]) -> Array:
        references = None
        if self.refs == "blank":
            references = np.zeros((1, self.side, self.side), np.uint8)
        elif self.refs:
            if self._registered:
                lr_luma = luma(lr)
                photos = [self._registration.register(photo, lr_luma) for photo in photos]
            references = np.stack(photos)
        return infer(self.model, lr, references)

    def _timed(self, name: str, make: Callable[[], Array]) -> Array:
        start = time.process_time()
        made = make()
        self._seconds.setdefault(name, []).append(time.process_time() - start)
        return made

    def _milliseconds(self, name: str) -> float:
        """Median of processor time: what else runs on the machine counts less."""
        return 1e3 * float(np.median(self._seconds[name]))


@torch.inference_mode()
def infer(model: Hime, lr: Array, references: Array | None) -> Array:
    """One face. lr: uint8 (L, L, 3); references: luma uint8 (R, sL, sL) or None. Returns uint8 (sL, sL, 3)."""
    x = torch.from_numpy(lr.copy()).permute(2, 0, 1)[None].float() / 255.0
    refs = None if references is None else torch.from_numpy(references)[None, :, None].float() / 255.0
    sr: Tensor = model(x, refs)[0]
    return (sr.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _difference(a: Figures, b: Figures, name: str) -> float:
    return float(a[name] or 0.0) - float(b[name] or 0.0)
