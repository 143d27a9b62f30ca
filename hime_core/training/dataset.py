"""Training pairs from headshots by person, drawn so that references pay from the first step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from hime_core.arrays import Array
from hime_core.data.degradations import degrade_lr, degrade_reference, relight, tint, turn_with
from hime_core.data.headshots import (
    PHOTO_SIDE,
    Person,
    Shot,
    mirrored,
    read_identities,
    resize,
)
from hime_core.data.packed import read_people
from hime_core.errors import InputError
from hime_core.faces.registration import Registration, luma, similarity

__all__ = ["PHOTO_SIDE", "PairDataset", "PairOptions", "read_identities"]

Flips = Literal["even", "uneven", "none"]
FLIPS: tuple[Flips, ...] = ("even", "uneven", "none")
MOMENT = 10  # frames of 1/30 s: shots of a clip this near are coded as one sequence


def parse_flips(text: str) -> Flips:
    """Raises InputError for a word that is none of FLIPS."""
    for flips in FLIPS:
        if flips == text:
            return flips
    raise InputError(f"flips {text!r} are not available; choose one of: {', '.join(FLIPS)}")


@dataclass(frozen=True)
class PairOptions:
    """How pairs are drawn.

    scale: of the network; window: side of the LR windows trained on, None for whole pictures; batch: samples that
    share a number of references;
    lr_sides: LR sizes of the whole headshot and their shares; counts: shares of 0, 1, 2 and 3 references, which double
    a step's time and add little to photos;
    degraded, called: shares of LR pictures with light damage and of those that went through a call, the rest is clean;
    self_share, other_share, wrong_share, blank_share: what a reference is: the target a moment later, another photo
    of the person or another moment of the clip, a photo of another person, or black; gap: frames of 1/30 s between a
    moment and its references; clip_share: share of targets from clips, where there are both clips and photos;
    lone: weight of a photo whose person has no other; those with one other weigh at least 1/3, with three or more 1;
    registered: references are laid over the LR picture by their landmarks and by flow, as at runtime; otherwise they
    are only resized, as in the paper; landmark_error: of the LR face's landmarks, shares of the side;
    zoom: half of the targets are cut up to this share tighter than their shot, so that a photo is never twice the same;
    varied: share of the target photos that are turned, warped and relit, as a face that nobody has: a few thousand
    photos are learned by heart in minutes on a GPU (on 386 people, +0.3 dB on those trained on over others at x4);
    finer: HR pictures and references come at twice their size where photos have the pixels, to be warped and reduced;
    flips: input and references mirrored together, each by itself, or not at all (Table 7).
    """

    scale: int = 4
    window: int | None = 24
    batch: int = 8
    lr_sides: tuple[tuple[int, float], ...] = ((32, 0.7), (48, 0.15), (64, 0.15))
    counts: tuple[float, float, float, float] = (0.5, 0.25, 0.1, 0.15)
    degraded: float = 0.0
    called: float = 0.0
    self_share: float = 0.4
    other_share: float = 0.5
    wrong_share: float = 0.05
    blank_share: float = 0.05
    gap: tuple[int, int] = (15, 300)
    clip_share: float = 0.3
    lone: float = 0.15
    registered: bool = True
    landmark_error: float = 0.01
    zoom: float = 0.06
    varied: float = 0.6
    finer: bool = False
    flips: Flips = "even"

    def __post_init__(self) -> None:
        parse_flips(self.flips)
        if self.window and min(side for side, _ in self.lr_sides) < self.window:
            raise InputError(f"windows of {self.window} pixels do not fit into LR pictures of {self.lr_sides}")

    @classmethod
    def for_recipe(cls, recipe: str, scale: int) -> PairOptions:
        """What `rec`, `perceptual` and `call` are trained on at a scale."""
        options = cls(scale=scale)
        if scale == 8:  # whole pictures of 16
            options = replace(options, window=16, batch=16, lr_sides=((16, 0.75), (24, 0.1), (32, 0.15)))
        elif recipe == "call":  # from 32 on: the runtime takes smaller faces too, but nothing below is recognisable
            options = replace(options, lr_sides=((32, 0.3), (48, 0.2), (64, 0.25), (80, 0.1), (96, 0.15)))
        if recipe == "call":
            counts = (0.35, 0.25, 0.1, 0.3)  # calls are enhanced with the references there are, mostly three
            options = replace(options, degraded=0.05, called=0.9, clip_share=0.5, counts=counts)
        return options

    @property
    def varies(self) -> bool:
        """Whether the echo pool varies pictures: not where LR pictures are more than a plain reduction of them."""
        return bool(self.varied) and not self.called and not self.degraded

    def whole(self) -> PairOptions:
        """Whole pictures with three references each, to cut batches of these options from (`EchoPool`)."""
        varied = 0 if self.varies else self.varied
        return replace(self, window=None, batch=16, counts=(0, 0, 0, 1), varied=varied, finer=self.varies)

    @classmethod
    def paper(cls, scale: int) -> PairOptions:
        """Section 4 to the letter: clean LR, three raw photos of the person, who has at least two others at hand."""
        options = cls(
            scale=scale, lr_sides=((32, 1.0),), counts=(0, 0, 0, 1), self_share=0, other_share=1, wrong_share=0,
            blank_share=0, lone=0, clip_share=0, registered=False, zoom=0, varied=0,
        )  # fmt: skip
        return replace(options, window=16, batch=16, lr_sides=((16, 1.0),)) if scale == 8 else options


class PairDataset(Dataset[dict[str, torch.Tensor]]):
    """Sample number i is always the same for one seed, so that training resumes where it stopped.

    A sample is {"lr": (3, w, w), "hr": (3, s*w, s*w), "references": (R, 1, s*w, s*w)}, uint8, R from 0.
    """

    def __init__(
        self,
        source: Path | Sequence[Person],
        options: PairOptions,
        seed: int,
        length: int,
        clips: Path | None = None,
        exclude: Collection[str] = (),
        cache: Path | None = None,
    ) -> None:
        """source: what `read_people` takes, or people already read; clips: folder of videos, without those named in
        `exclude`, which counts for clips in a packed file too; cache: where cut clips are kept. Raises InputError."""
        cv2.setNumThreads(1)  # here: a worker that is forked hangs when it ends the threads of OpenCV's pool
        people = list(read_people(source) if isinstance(source, Path) else source)
        people = [person for person in people if not (person.clip and person.name in exclude)]
        if clips:
            from hime_core.data.clips import read_clips

            people += read_clips(clips, exclude, cache)
        self.options, self.seed, self.length, self.people = options, seed, length, people
        self.photos: list[Shot] = [shot for person in people for shot in person.shots]
        if not self.photos:
            raise InputError("no headshots to train on; give a folder with <identity>/<photo>.jpg or close clips")
        self._person_of = np.repeat(np.arange(len(people)), [len(person.shots) for person in people])
        self._first = np.cumsum([0] + [len(person.shots) for person in people])
        self._chances = np.cumsum(self._weights())
        self._decoded: tuple[int, Array] | None = None
        self._registration: Registration | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self._registration is None:  # made in the worker: OpenCV's objects do not travel
            self._registration = Registration()
        o = self.options
        batch_rng = np.random.default_rng((self.seed, index // o.batch))
        references = int(batch_rng.choice(4, p=np.array(o.counts) / sum(o.counts)))
        rng = np.random.default_rng((self.seed, index // o.batch, index % o.batch))

        target = min(int(np.searchsorted(self._chances, rng.random(), side="right")), len(self.photos) - 1)
        flip = o.flips != "none" and rng.random() < 0.5
        photo, points = self._look(target, flip)
        if (
            not self.people[self._person_of[target]].clip and rng.random() < o.varied
        ):  # moments of clips are coded whole
            photo, points = turn_with(np.ascontiguousarray(photo), points, rng, rng.random())
            photo = tint(relight(photo, rng), rng)
        side = self._side(photo.shape[0], rng)
        window = o.window or side
        scale = o.scale * (2 if o.finer and 2 * o.scale * side <= PHOTO_SIDE else 1)
        box = self._box(photo.shape[0], side * scale, rng)
        hr = _framed(photo, side * scale, box)
        lr, native = self._lr(target, hr, side, box, flip, rng)
        if native:
            from hime_core.training.call import softened

            hr = softened(hr, native)
        if points is not None:
            points = (points - box[:2]) / np.float32(box[2])
            points = points + np.float32(o.landmark_error) * rng.standard_normal((5, 2), np.float32)

        # Window and margin are cut before registration; the margin lets detail come in from outside the window.
        margin = min(4, (side - window) // 2)
        outer = window + 2 * margin
        x, y = (int(v) for v in rng.integers(0, side - outer + 1, 2))
        lr_outer = np.ascontiguousarray(lr[y : y + outer, x : x + outer])
        lr_luma = luma(lr_outer)
        cut = np.s_[margin * scale : (margin + window) * scale]
        found = np.zeros((references, 1, window * scale, window * scale), np.uint8)
        for number in range(references):
            mirror = not flip if o.flips == "uneven" and rng.random() < 0.5 else flip
            reference = self._reference(target, mirror, side * scale, points, native, rng)
            if reference is None:
                continue
            reference = reference[y * scale : (y + outer) * scale, x * scale : (x + outer) * scale]
            if o.registered:
                reference = self._registration.register(np.ascontiguousarray(reference), lr_luma)
            found[number, 0] = reference[cut, cut]
        hr = hr[y * scale : (y + outer) * scale, x * scale : (x + outer) * scale][cut, cut]
        inner = np.s_[margin : margin + window]
        return {
            "lr": _tensor(lr_outer[inner, inner].transpose(2, 0, 1)),
            "hr": _tensor(hr.transpose(2, 0, 1)),
            "references": _tensor(found),
        }

    def whole(self) -> PairDataset:
        """The same shots, as whole pictures with three references each."""
        other = copy(self)
        other.options = self.options.whole()
        return other

    def _weights(self) -> Array:
        """Each shot's chance to be a target: clips together clip_share; photos by how many others their person has."""
        o = self.options
        clip = np.array([self.people[p].clip for p in self._person_of])
        others = np.array([len(self.people[p].shots) - 1 for p in self._person_of])
        weights = np.where(others == 0, o.lone, np.minimum(others, 3) / 3)
        if not weights.any():
            raise InputError("no person has two photos; references would be of nobody")
        for mask, share in ((clip, o.clip_share), (~clip, 1 - o.clip_share)):
            if clip.any() and not clip.all() and weights[mask].any():
                weights[mask] *= share / weights[mask].sum()
        chances: Array = weights / weights.sum()
        return chances

    def _look(self, index: int, flip: bool) -> tuple[Array, Array | None]:
        """A shot and its landmarks in shares of its side."""
        shot = self.photos[index]
        if self._decoded is None or self._decoded[0] != index:  # a target is often its own reference
            self._decoded = index, shot.rgb()
        rgb = self._decoded[1]
        if not flip:
            return rgb, shot.landmarks
        return rgb[:, ::-1], None if shot.landmarks is None else mirrored(shot.landmarks)

    def _side(self, native: int, rng: np.random.Generator) -> int:
        """LR side: one whose HR picture the shot has the pixels for, give or take; the smallest where there is none."""
        o = self.options
        fitting = [(s, p) for s, p in o.lr_sides if s * o.scale <= 1.1 * native] or [min(o.lr_sides)]
        shares = np.array([p for _, p in fitting])
        return int(rng.choice([s for s, _ in fitting], p=shares / shares.sum()))

    def _box(self, native: int, side: int, rng: np.random.Generator) -> Array:
        """What of a shot is the target: its left, top and side, in shares of the shot's."""
        least = max(side / native, 1 - self.options.zoom)
        if rng.random() < 0.5 or least >= 1:
            return np.array([0, 0, 1], np.float32)
        share = rng.uniform(least, 1)
        return np.array([*rng.uniform(0, 1 - share, 2), share], np.float32)

    def _lr(
        self, target: int, hr: Array, side: int, box: Array, flip: bool, rng: np.random.Generator
    ) -> tuple[Array, int | None]:
        """The LR picture, and how many pixels the call has of the face at most, where that matters."""
        o = self.options
        kind = rng.random()
        if kind < o.called:
            from hime_core.training.call import CALL, call_lr, draw_native  # codecs: only where they are used

            before = [_framed(self._look(i, flip)[0], hr.shape[0], box) for i in self._moments(target)]
            native = draw_native(side, hr.shape[0], rng)
            lr = call_lr([*before, hr], side, rng, native=native)
            return lr, native if rng.random() < CALL.steady else None
        lr = np.asarray(Image.fromarray(hr).resize((side, side), Image.Resampling.BICUBIC))
        return degrade_lr(lr, rng) if kind < o.called + o.degraded else lr, None

    def _moments(self, target: int) -> list[int]:
        """Up to two shots of the same clip just before."""
        person = self._person_of[target]
        if not self.people[person].clip:
            return []
        found, frame = [], self.photos[target].frame
        for index in range(target - 1, max(target - 3, self._first[person] - 1), -1):
            if frame - self.photos[index].frame > MOMENT:
                break
            found.append(index)
            frame = self.photos[index].frame
        return found[::-1]

    def _others(self, target: int) -> Array:
        """Shots of the same person; of a clip those within the gap, or as far away as there are."""
        person = self._person_of[target]
        all_of = np.arange(self._first[person], self._first[person + 1])
        if not self.people[person].clip:
            others: Array = all_of[all_of != target]
            return others
        gaps = np.array([abs(self.photos[i].frame - self.photos[target].frame) for i in all_of])
        low, high = self.options.gap
        within = all_of[(gaps >= low) & (gaps <= high)]
        return within if len(within) else all_of[gaps >= max(1, min(low, gaps.max()))]

    def _reference(
        self,
        target: int,
        flip: bool,
        side: int,
        points: Array | None,
        native: int | None,
        rng: np.random.Generator,
    ) -> Array | None:
        """A reference's luma, uint8 (side, side), laid over the target by its landmarks; None for a blank one.

        native: as `call_reference` has it."""
        o = self.options
        others = self._others(target)
        kind = rng.random() * (o.self_share + o.other_share + o.wrong_share + o.blank_share)
        if kind < o.blank_share:
            return None
        kind -= o.blank_share
        chosen = target
        if kind < o.wrong_share:
            chosen = int(rng.integers(len(self.photos)))
        elif kind < o.wrong_share + o.other_share and len(others):
            chosen = int(rng.choice(others))
        rgb, marks = self._look(chosen, flip)
        rgb = np.ascontiguousarray(rgb)
        if chosen == target:
            rgb, marks = turn_with(rgb, marks, rng)
            rgb = relight(rgb, rng)
        if rgb.shape[0] != side:
            method = cv2.INTER_AREA if rgb.shape[0] > side else cv2.INTER_CUBIC
            rgb = cv2.resize(rgb, (side, side), interpolation=method)
        if o.called:
            from hime_core.training.call import call_reference

            picture = luma(call_reference(rgb, rng, native=native))
        elif o.degraded:
            picture = degrade_reference(luma(rgb), rng)
        else:
            picture = luma(rgb)
        if not o.registered or marks is None or points is None:
            return picture
        move = similarity(*(p.astype(np.float64) * side - 0.5 for p in (marks, points)))
        return cv2.warpAffine(picture, move, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _framed(rgb: Array, side: int, box: Array) -> Array:
    """The square `box` of a picture, (left, top, side) in shares of its own side, brought to (side, side)."""
    if box[2] == 1:
        return resize(rgb, side)
    left, top, width = (float(v) * rgb.shape[0] for v in box)
    area = (left, top, min(left + width, rgb.shape[0]), min(top + width, rgb.shape[0]))
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((side, side), Image.Resampling.BICUBIC, area))


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
