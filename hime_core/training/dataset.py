"""Training pairs from a folder of identities, drawn so that references pay from the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from hime_core.errors import InputError
from hime_core.registration import Registration, luma
from hime_core.training.degradations import degrade_lr, degrade_reference, relight, turn

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PHOTO_SIDE = 256


@dataclass(frozen=True)
class PairOptions:
    """How pairs are drawn.

    scale: of the network; window: side of the LR windows trained on; batch: samples that share a number of references;
    lr_sides: LR sizes of the whole headshot and their shares; degraded: share of LR pictures that are not clean;
    self_share, other_share, wrong_share, blank_share: what a reference is: the target a moment later, another photo
    of the person, of another person, or black.
    """

    scale: int = 4
    window: int = 24
    batch: int = 8
    lr_sides: tuple[tuple[int, float], ...] = ((32, 0.7), (48, 0.15), (64, 0.15))
    degraded: float = 0.3
    self_share: float = 0.45
    other_share: float = 0.44
    wrong_share: float = 0.05
    blank_share: float = 0.06


def read_identities(root: Path) -> dict[str, list[Path]]:
    """`<identity>/<photo>` below root, sorted. Raises InputError when there is none."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give one that holds <identity>/<photo>.jpg")
    found = {
        folder.name: sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
        for folder in sorted(root.iterdir())
        if folder.is_dir()
    }
    found = {name: photos for name, photos in found.items() if photos}
    if not found:
        raise InputError(f"{root} holds no photos; it must hold <identity>/<photo>.jpg")
    return found


class PairDataset(Dataset):
    """Sample number i is always the same for one seed, so that training resumes where it stopped.

    A sample is {"lr": (3, w, w), "hr": (3, s*w, s*w), "references": (R, 1, s*w, s*w)}, float in [0, 1], the references
    registered to the LR picture as at runtime.
    """

    def __init__(self, root: Path, options: PairOptions, seed: int, length: int) -> None:
        identities = read_identities(root)
        self.options, self.seed, self.length = options, seed, length
        self.photos: list[np.ndarray] = []
        self.members: list[list[int]] = []
        self.identity_of: list[int] = []
        for number, paths in enumerate(identities.values()):
            self.members.append([])
            for path in paths:
                self.members[-1].append(len(self.photos))
                self.identity_of.append(number)
                self.photos.append(_read(path))
        self._registration: Registration | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self._registration is None:  # made in the worker: OpenCV's objects do not travel
            cv2.setNumThreads(1)
            self._registration = Registration()
        o = self.options
        batch_rng = np.random.default_rng((self.seed, index // o.batch))
        references = int(batch_rng.choice((1, 2, 3), p=(0.4, 0.3, 0.3)))
        rng = np.random.default_rng((self.seed, index // o.batch, index % o.batch))

        target = int(rng.integers(len(self.photos)))
        side = int(rng.choice([s for s, _ in o.lr_sides], p=[p for _, p in o.lr_sides]))
        flip = rng.random() < 0.5  # even: input and references together
        hr = _resize(self._photo(target, flip), side * o.scale)
        lr = np.asarray(Image.fromarray(hr).resize((side, side), Image.Resampling.BICUBIC))
        if rng.random() < o.degraded:
            lr = degrade_lr(lr, rng)

        # Window and margin are cut before registration; the margin lets detail come in from outside the window.
        margin = min(4, (side - o.window) // 2)
        outer = o.window + 2 * margin
        x, y = (int(v) for v in rng.integers(0, side - outer + 1, 2))
        lr_outer = np.ascontiguousarray(lr[y : y + outer, x : x + outer])
        lr_luma = luma(lr_outer)
        cut = np.s_[margin * o.scale : (margin + o.window) * o.scale]
        found = []
        for _ in range(references):
            reference = self._reference(target, flip, side * o.scale, rng)
            reference = reference[y * o.scale : (y + outer) * o.scale, x * o.scale : (x + outer) * o.scale]
            reference = np.ascontiguousarray(reference)
            if reference.any():
                reference = self._registration.register(reference, lr_luma)
            found.append(reference[cut, cut][None])
        hr = hr[y * o.scale : (y + outer) * o.scale, x * o.scale : (x + outer) * o.scale][cut, cut]
        inner = np.s_[margin : margin + o.window]
        return {
            "lr": _tensor(lr_outer[inner, inner].transpose(2, 0, 1)),
            "hr": _tensor(hr.transpose(2, 0, 1)),
            "references": _tensor(np.stack(found)),
        }

    def _photo(self, index: int, flip: bool) -> np.ndarray:
        photo = self.photos[index]
        return photo[:, ::-1] if flip else photo

    def _reference(self, target: int, flip: bool, side: int, rng: np.random.Generator) -> np.ndarray:
        """A reference's luma, uint8 (side, side), not yet registered."""
        o = self.options
        others = [i for i in self.members[self.identity_of[target]] if i != target]
        kind = rng.random()
        if kind < o.blank_share:
            return np.zeros((side, side), np.uint8)
        kind -= o.blank_share
        if kind < o.wrong_share:
            chosen = int(rng.integers(len(self.photos)))
        elif kind < o.wrong_share + o.other_share and others:
            chosen = int(rng.choice(others))
        else:
            chosen = target
        photo = luma(np.ascontiguousarray(self._photo(chosen, flip)))
        if chosen == target:
            photo = relight(turn(photo, rng), rng)
        return degrade_reference(cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA), rng)


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return _resize(np.asarray(image.convert("RGB")), PHOTO_SIDE)
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable photo: {error}") from error


def _resize(rgb: np.ndarray, side: int) -> np.ndarray:
    if rgb.shape[:2] == (side, side):
        return np.ascontiguousarray(rgb)
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((side, side), Image.Resampling.BOX))


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float().div_(255.0)
