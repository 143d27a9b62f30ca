"""`hime evaluate`: a checkpoint against bicubic on photos."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hime_core.errors import InputError
from hime_core.evaluation.lists import Item
from hime_core.evaluation.metrics import psnr, ssim
from hime_core.model.count import multiply_accumulates, parameter_count
from hime_core.model.hime import Hime
from hime_core.registration import Registration, luma


class Evaluation:
    """Makes the pictures of one setting: HR by BOX, LR and the baseline by Pillow's BICUBIC, 8 bits throughout.

    refs: number of references, 0 for no reference branch, or "blank" for one black picture. References are registered
    to the LR picture as in the relay.
    """

    def __init__(self, model: Hime, data: Path, lr_side: int, refs: int | str) -> None:
        self.model, self.data, self.lr_side, self.refs = model.eval(), data, lr_side, refs
        self.side = lr_side * model.config.scale
        self._registration = Registration()

    def photo(self, name: str) -> np.ndarray:
        path = self.data / name
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB").resize((self.side, self.side), Image.Resampling.BOX))
        except (OSError, Image.DecompressionBombError) as error:
            raise InputError(f"{path} is not a readable photo: {error}") from error

    def pictures(self, item: Item) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The truth, the bicubic picture, the enhanced one: uint8 (side, side, 3)."""
        hr = self.photo(item.target)
        small = Image.fromarray(hr).resize((self.lr_side, self.lr_side), Image.Resampling.BICUBIC)
        plain = np.asarray(small.resize((self.side, self.side), Image.Resampling.BICUBIC))
        lr = np.asarray(small)
        references = None
        if self.refs == "blank":
            references = np.zeros((1, self.side, self.side), np.uint8)
        elif self.refs:
            lr_luma = luma(lr)
            found = [self._registration.register(luma(self.photo(name)), lr_luma) for name in item.references]
            references = np.stack(found)
        return hr, plain, infer(self.model, lr, references)

    def run(self, items: Iterable[Item]) -> dict:
        """Means over the items: {"model": {...}, "bicubic": {...}, "gain_db": ...}."""
        rows = []
        for item in items:
            hr, plain, sr = self.pictures(item)
            rows.append((psnr(sr, hr), ssim(sr, hr), psnr(plain, hr), ssim(plain, hr)))
        means = np.mean(rows, axis=0)
        return {
            "images": len(rows),
            "scale": self.model.config.scale,
            "lr": self.lr_side,
            "refs": self.refs,
            "params": parameter_count(self.model),
            "gmacs": multiply_accumulates(self.model, self.lr_side, 1 if self.refs == "blank" else int(self.refs)),
            "model": {"psnr": means[0], "ssim": means[1], "lpips": None},
            "bicubic": {"psnr": means[2], "ssim": means[3], "lpips": None},
            "gain_db": means[0] - means[2],
        }


@torch.inference_mode()
def infer(model: Hime, lr: np.ndarray, references: np.ndarray | None) -> np.ndarray:
    """One face. lr: uint8 (L, L, 3); references: luma uint8 (R, sL, sL) or None. Returns uint8 (sL, sL, 3)."""
    x = torch.from_numpy(lr.copy()).permute(2, 0, 1)[None].float() / 255.0
    refs = None if references is None else torch.from_numpy(references)[None, :, None].float() / 255.0
    return (model(x, refs)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
