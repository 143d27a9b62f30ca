"""Faces for training recognition: photos of people, people made of two others', and what a call does to all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hime_core.arrays import Array
from hime_core.data.codec import CODECS, transmit
from hime_core.data.damaged import QUANTIZERS, noisy
from hime_core.data.degradations import relight, tint
from hime_core.data.headshots import read_identities, read_photo
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import CENTRE_ABOVE_BOX, SIDE_PER_BOX_HEIGHT, Box, resized
from hime_core.faces.networks import ABOVE, LANDMARKS, SIDE, aligned
from hime_core.faces.recognition import FacePicture
from hime_core.faces.registration import similarity

KEPT_SIDE = 192  # pixels of a headshot that training keeps
ENOUGH = 8  # photos of a person whom thresholds are chosen on
FACES = 24  # of one picture that is coded
LEAST, MOST = 16, 160  # pixels of a headshot in a call
ALIKE = (0.35, 0.65)  # how much of the second person there is in a made one
ELSEWHERE = 0.75  # share of the faces that get another picture's surroundings
_KNOTS = 25


@dataclass(frozen=True, eq=False)
class People:
    """rgb: uint8 (N, side, side, 3), headshots; landmarks: float32 (N, 5, 2), pixels; person: (N,), of `names`."""

    rgb: Array
    landmarks: Array
    person: Array
    names: tuple[str, ...]

    def face(self, number: int) -> FacePicture:
        return FacePicture(self.rgb[number], self.landmarks[number])


def read_faces(folder: Path, side: int = 256, only: Sequence[str] | None = None, most: int | None = None) -> People:
    """The photos of `<identity>/<photo>` headshots in which a face is found; where said, of `only` these people, and at
    `most` so many of each. Raises InputError."""
    detector, names = MtcnnDetector(), list[str]()
    rgbs, points, person = [], [], []
    for name, paths in read_identities(folder).items():
        if only is not None and name not in only:
            continue
        found = [
            (rgb, face)
            for rgb in (read_photo(path).rgb() for path in paths[:most])
            if (face := _landmarks(rgb, detector)) is not None
        ]
        for rgb, face in found:
            points.append((face + 0.5) * (side / rgb.shape[0]) - 0.5)
            rgbs.append(resized(rgb, side))
            person.append(len(names))
        if found:
            names.append(name)
    shape = (0, side, side, 3)
    return People(
        np.stack(rgbs) if rgbs else np.zeros(shape, np.uint8),
        np.array(points, np.float32),
        np.array(person),
        tuple(names),
    )


def held_out(folder: Path, count: int = 50) -> tuple[str, ...]:
    """Names of people, always the same, who are not trained on, so that thresholds can be chosen on them."""
    enough = [name for name, paths in read_identities(folder).items() if len(paths) >= ENOUGH]
    return tuple(sorted(enough, key=lambda name: hashlib.sha256(name.encode()).digest())[:count])


def _landmarks(rgb: Array, detector: MtcnnDetector) -> Array | None:
    """Of the headshot's own face, whose box follows from the headshot's geometry."""
    side = rgb.shape[0]
    height = side / SIDE_PER_BOX_HEIGHT
    top = side / 2 + (CENTRE_ABOVE_BOX - 0.5) * height
    face = detector.refine(rgb, Box(side / 2 - 0.4 * height, top, 0.8 * height, height))
    if face is None:
        faces = detector.detect(rgb, min_face=side / 5)
        face = max(faces, key=lambda one: one.box.height) if faces else None
    return None if face is None else face.landmarks


def made_people(people: People, count: int, photos: int, rng: np.random.Generator) -> People:
    """`count` people who look between two others, with `photos` pictures each: two photos in which both hold their
    heads alike, brought onto the landmarks between, and mixed, always in one proportion."""
    groups = [np.flatnonzero(people.person == number) for number in range(len(people.names))]
    shares = np.array([len(group) >= 3 for group in groups], float)
    side = people.rgb.shape[1]
    rgbs, points, person = [], [], []
    for made in range(count):
        first, second = (groups[n] for n in rng.choice(len(groups), 2, replace=False, p=shares / shares.sum()))
        share = rng.uniform(*ALIKE)
        for a in rng.choice(first, photos, replace=len(first) < photos):
            candidates = [(b, flip) for b in second for flip in (False, True)]
            moved = [_onto(people.landmarks[a], _turned(people, b, flip)[1]) for b, flip in candidates]
            nearest = sorted(range(len(moved)), key=lambda n: float(np.abs(moved[n][0] - people.landmarks[a]).sum()))[
                :3
            ]
            chosen = int(rng.choice(nearest))
            other = _turned(people, *candidates[chosen])[0]
            there, move = moved[chosen]
            other = cv2.warpAffine(other, move, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            middle = (1 - share) * people.landmarks[a] + share * there
            one = _warped(people.rgb[a], people.landmarks[a], middle)
            rgbs.append(cv2.addWeighted(one, 1 - share, _warped(other, there, middle), share, 0))
            points.append(middle)
            person.append(made)
    return People(
        np.stack(rgbs), np.array(points, np.float32), np.array(person), tuple(f"made-{n}" for n in range(count))
    )


def mirrored_points(points: Array, side: int) -> Array:
    """Landmarks (..., 5, 2) of the picture seen in a mirror: left and right change places."""
    return (np.array([side - 1, 0], np.float32) + np.array([-1, 1], np.float32) * points)[..., [1, 0, 2, 4, 3], :]


def _turned(people: People, number: int, flip: bool) -> tuple[Array, Array]:
    rgb, points = people.rgb[number], people.landmarks[number]
    return (np.ascontiguousarray(rgb[:, ::-1]), mirrored_points(points, rgb.shape[0])) if flip else (rgb, points)


def _onto(target: Array, points: Array) -> tuple[Array, Array]:
    """Points brought onto the target by turn, scale and shift; and that move, (2, 3)."""
    move = similarity(points, target)
    return points @ move[:, :2].T + move[:, 2], move


def _warped(rgb: Array, points: Array, target: Array) -> Array:
    """The picture with its points moved to the target, smoothly, and its border as it was."""
    side = rgb.shape[0]
    edge = np.array([[x, y] for x in (0, 0.5, 1) for y in (0, 0.5, 1) if (x, y) != (0.5, 0.5)], np.float32) * (side - 1)
    at, shift = np.concatenate([target, edge]), np.concatenate([points - target, np.zeros_like(edge)])
    grid = np.stack(np.meshgrid(*[np.linspace(0, side - 1, _KNOTS, dtype=np.float32)] * 2), 2)
    near = 1 / (((grid[:, :, None] - at) ** 2).sum(3) + 4.0) ** 1.2
    field = (near[..., None] * shift).sum(2) / near.sum(2)[..., None]
    field = cv2.resize(field.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    xs, ys = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    return cv2.remap(rgb, xs + field[..., 0], ys + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class Callers:
    """Endless faces as a call shows them: crops uint8 (FACES, SIDE, SIDE, 3), which of the pictures they are,
    and which are mirrored. All faces of one draw have one size and one coding."""

    def __init__(self, people: People, seed: int) -> None:
        self._people, self._rng = people, np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[Array, Array, Array]]:
        while True:
            for picks in self._rng.permutation(len(self._people.person))[
                : len(self._people.person) // FACES * FACES
            ].reshape(-1, FACES):
                flips = self._rng.random(FACES) < 0.5
                yield self.seen(picks, flips), picks, flips

    def seen(self, picks: Array, flips: Array) -> Array:
        rng = self._rng
        side = round(float(np.exp(rng.uniform(np.log(LEAST), np.log(MOST)))))
        blur = rng.uniform(0.3, 1.2) if rng.random() < 0.3 else 0.0
        noise = rng.uniform(0.5, 6.0) if rng.random() < 0.5 else 0.0
        faces = [self._small(pick, flip, side) for pick, flip in zip(picks, flips, strict=True)]
        faces = [self._elsewhere(rgb, points) if rng.random() < ELSEWHERE else (rgb, points) for rgb, points in faces]
        faces = [(_lit(rgb, rng), points) for rgb, points in faces]
        tiles = [rgb for rgb, _ in faces]
        if blur:
            tiles = [cv2.GaussianBlur(rgb, (0, 0), blur * max(1.0, side / 64)) for rgb in tiles]
        if noise:
            tiles = [noisy(rgb, noise, float(rng.choice((0.0, 0.6))), rng) for rgb in tiles]
        if rng.random() < 0.5:
            tiles = _coded(tiles, rng)
        spread = rng.random() * (0.4 + 0.02 * side)  # pixels by which a detector errs
        return np.stack([
            aligned(FacePicture(rgb, points + _error(side, spread, rng)), SIDE)
            for rgb, (_, points) in zip(tiles, faces, strict=True)
        ])  # fmt: skip

    def _small(self, pick: int, flip: bool, side: int) -> tuple[Array, Array]:
        rgb, points = _turned(self._people, pick, flip)
        return cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), (points + 0.5) * (side / rgb.shape[0]) - 0.5

    def _elsewhere(self, rgb: Array, points: Array) -> tuple[Array, Array]:
        """The inner face with another picture's hair and surroundings, which say as little of whom it shows as the
        place does: the teacher's embeddings of such faces have a cosine of 0.90 to 0.94 with the face's own, and of 0
        with the other's. Without them the network learns the photos by heart, by their colours."""
        rng, side = self._rng, rgb.shape[0]
        other, theirs = self._small(int(rng.integers(len(self._people.person))), rng.random() < 0.5, side)
        move = similarity(theirs, points)
        other = cv2.warpAffine(other, move, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        back = similarity(points, LANDMARKS)  # to shares of a headshot
        x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
        across, down = (row[0] * x + row[1] * y + row[2] for row in back)
        width, height = rng.uniform(0.21, 0.31), rng.uniform(0.29, 0.40)
        far = ((across - 0.5) / width) ** 2 + ((down - 0.5 + ABOVE) / height) ** 2
        inner = (1 / (1 + np.exp(np.clip((far - 1) / rng.uniform(0.08, 0.25), -20, 20))))[..., None]
        return (inner * rgb + (1 - inner) * other).round().astype(np.uint8), points


def _lit(rgb: Array, rng: np.random.Generator) -> Array:
    if rng.random() < 0.8:
        rgb = tint(relight(rgb, rng), rng)
    if rng.random() < 0.3:  # of all colour, or of some
        gray = cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        rgb = cv2.addWeighted(rgb, share := float(rng.choice((0.0, 0.0, rng.random()))), gray, 1 - share, 0)
    return rgb


def _error(side: int, spread: float, rng: np.random.Generator) -> Array:
    """How far off landmarks (5, 2) are: each by itself, and all of them together."""
    return (rng.standard_normal((5, 2)) * spread + rng.standard_normal(2) * 0.015 * side).astype(np.float32)


def _coded(tiles: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Side by side through a codec, moving a little."""
    side, columns = tiles[0].shape[0], 6
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * side, columns * side, 3), np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // columns * side, number % columns * side
        sheet[y : y + side, x : x + side] = tile
    height, width = (max(32, -(-n // 2) * 2) for n in sheet.shape[:2])
    sheet = cv2.copyMakeBorder(sheet, 0, height - sheet.shape[0], 0, width - sheet.shape[1], cv2.BORDER_REPLICATE)
    drift = rng.standard_normal(2) * rng.uniform(0, 1.5)
    frames = [
        cv2.warpAffine(sheet, np.array([[1, 0, n * drift[0]], [0, 1, n * drift[1]]], np.float32), (width, height),
                       flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for n in range(int(rng.integers(1, 4)), -1, -1)
    ]  # fmt: skip
    codec = CODECS[rng.integers(2)]
    finest, coarsest = QUANTIZERS[codec]
    received = transmit(frames, codec, int(rng.integers(finest, coarsest + 1)))[-1]
    return [
        received[n // columns * side : n // columns * side + side, n % columns * side : n % columns * side + side]
        for n in range(len(tiles))
    ]
