"""`hime evaluate --identity`: how often faces are taken for another's, and how often a person is not known, by size.

A probe is one photo as a call shows it: its headshot reduced to a side, as it is ("clean") or from the end of a call of
320×180 over VP8 at 60 kbit/s, its landmarks as the detector finds them there. It is compared with galleries of up to
three other photos of a person, made equally coarse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from hime_core.arrays import Array
from hime_core.data.clips import CutOptions, read_clips
from hime_core.data.damaged import call_options, coded, noisy
from hime_core.errors import InputError
from hime_core.evaluation.perceptual import IDENTITY
from hime_core.evaluation.store import Record, digest, machine
from hime_core.evaluation.tables import where
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import CENTRE_ABOVE_BOX, SIDE_PER_BOX_HEIGHT, Box, crop, resized
from hime_core.faces.networks import (
    CALIBRATION,
    Calibration,
    NetworkRecogniser,
    probe,
    read_inception,
    read_own,
    read_tensors,
)
from hime_core.faces.recognisers import OWN
from hime_core.faces.recognition import SIDES, FacePicture, Limits, Recogniser, coarsened, likeness
from hime_core.training.people import People, held_out, read_faces
from hime_core.video.picture import Picture

KBPS, FRAME = 60, (320, 180)
LENGTH, APART = 37, 12  # frames of a call; those between looks at the face, of which the last counts as one probe alone
LOOKS = 3
NOISE = 1.0  # grey levels, a camera's
GALLERY = 3
CLIP_SHOTS = 12  # of a clip, at most
GALLERIES = 4  # of each person
HELD_OUT = 50  # people that limits are chosen on
PHOTOS = 8  # of a person, at most, that limits are chosen on
# What thresholds are chosen at, so that others stay within what Limits promises.
FALSE_ACCEPTS, FALSE_REJECTS = 2e-4, 0.005
MARGIN = 0.05  # of `same` beyond that: between clips of other people there were up to 14 times as many false accepts
WINDOW = 112  # pixels to which a face's surroundings are brought for the detector


@dataclass(frozen=True, eq=False)
class Scores:
    """Cosines of probes with galleries: own (P,), of the person's own, others (Q,), of other people's."""

    own: Array
    others: Array

    def rates(self, limits: Limits) -> dict[str, float]:
        """false_accepts: of others at or above `same`; false_rejects: of own below it; denied: of own below `other`;
        excluded: of others below it."""
        return {
            "false_accepts": float((self.others >= limits.same).mean()),
            "false_rejects": float((self.own < limits.same).mean()),
            "denied": float((self.own < limits.other).mean()),
            "excluded": float((self.others < limits.other).mean()),
        }


@dataclass
class IdentityEvaluation:
    """Photos by person, and what a call makes of them; each is made once, and shown to every recogniser."""

    people: People
    seed: int = 1
    moments: bool = False  # a person's pictures are of one recording, in order: its beginning and its end are compared
    _calls: dict[int, list[list[FacePicture]]] = field(default_factory=dict)

    def scores(self, recogniser: Recogniser, side: int) -> dict[str, Scores]:
        """By condition: "clean", "coded", and "coded, 3 looks", where a probe is the mean of 3 frames' embeddings."""
        faces = [self.people.face(number) for number in range(len(self.people.person))]
        exemplars = recogniser.embed([coarsened(face, side) for face in faces])
        calls = self._calls.get(side) or self._calls.setdefault(side, self._sent(faces, side))
        looks = recogniser.embed([face for call in calls for face in call]).reshape(len(faces), LOOKS, -1)
        several = looks.mean(1)
        several /= np.linalg.norm(several, axis=1, keepdims=True)
        probes = {"clean": exemplars, "coded": looks[:, -1], f"coded, {LOOKS} looks": several}
        galleries = self._galleries()
        return {name: self._compared(found, exemplars, galleries) for name, found in probes.items()}

    def _galleries(self) -> list[tuple[int, Array]]:
        """The person and photos of each."""
        rng, drawn = np.random.default_rng(self.seed), []
        for number in range(len(self.people.names)):
            own = np.flatnonzero(self.people.person == number)
            if self.moments:
                drawn.append((number, rng.permutation(own[: len(own) // 3])[:GALLERY]))
            elif len(own) > 1:
                drawn += [(number, rng.permutation(own)[:GALLERY]) for _ in range(GALLERIES)]
        return drawn

    def _compared(self, probes: Array, exemplars: Array, galleries: Sequence[tuple[int, Array]]) -> Scores:
        own, others = [], []
        for person, photos in galleries:
            for number, whose in enumerate(self.people.person):
                if whose != person:
                    others.append(likeness(probes[number], exemplars[photos]))
                elif self.moments and number <= photos.max() + np.count_nonzero(self.people.person == person) // 3:
                    continue
                elif len(rest := photos[photos != number]):
                    own.append(likeness(probes[number], exemplars[rest]))
        return Scores(np.array(own), np.array(others))

    def _sent(self, faces: Sequence[FacePicture], side: int) -> list[list[FacePicture]]:
        detector, rng = MtcnnDetector(), np.random.default_rng(self.seed + side)
        return [_call(face, side, detector, rng) for face in faces]


def _call(face: FacePicture, side: int, detector: MtcnnDetector, rng: np.random.Generator) -> list[FacePicture]:
    """The face at LOOKS moments of a call in which it moves a little, oldest first."""
    small = coarsened(face, side)
    side = small.rgb.shape[0]
    pad = [(FRAME[1] - side) // 2, FRAME[1] - side - (FRAME[1] - side) // 2,
           (FRAME[0] - side) // 2, FRAME[0] - side - (FRAME[0] - side) // 2]  # fmt: skip
    scene = np.pad(small.rgb, (pad[:2], pad[2:], (0, 0)), "edge")
    pace, phase, reach = rng.uniform(0.05, 0.15, 2), rng.uniform(0, 6.28, 2), 0.04 * side
    pictures, shifts = [], []
    for number in range(LENGTH):
        shift = reach * np.sin(pace * number + phase)
        move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        frame = cv2.warpAffine(scene, move, FRAME, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        pictures.append(Picture.from_rgb(noisy(frame, NOISE, 0.6, rng)))
        shifts.append(shift)
    received = coded(pictures, "vp8", call_options("vp8", KBPS))
    found = []
    for number in range(LENGTH - 1 - APART * (LOOKS - 1), LENGTH, APART):
        rgb = received[number][0].rgb()
        left, top = np.round(np.array([pad[2], pad[0]]) + shifts[number]).astype(int)
        landmarks = small.landmarks + (np.array([pad[2], pad[0]]) + shifts[number] - (left, top)).astype(np.float32)
        found.append(
            _looked_up(FacePicture(crop(rgb, int(left), int(top), side), landmarks), rgb, (left, top), detector)
        )
    return found


def _looked_up(face: FacePicture, frame: Array, at: tuple[int, int], detector: MtcnnDetector) -> FacePicture:
    """With the landmarks that the detector sees, or as it was where it sees none."""
    side = face.rgb.shape[0]
    height = side / SIDE_PER_BOX_HEIGHT
    window = round(2.5 * height)
    x, y = round(at[0] + side / 2 - window / 2), round(at[1] + side / 2 + CENTRE_ABOVE_BOX * height - window / 2)
    scale = WINDOW / window
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = cv2.resize(crop(frame, x, y, window), (WINDOW, WINDOW), interpolation=method)
    size = height * scale
    detection = detector.refine(shown, Box((WINDOW - size) / 2, (WINDOW - size) / 2, size, size))
    if detection is None:
        return face
    moved = detection.moved(1 / scale, x - at[0], y - at[1])
    return FacePicture(face.rgb, moved.landmarks)


@dataclass(frozen=True)
class IdentityOptions:
    """data: photos of people that nobody was trained on; train: those of whom the held-out ones choose new limits,
    which are written into `weights`; peers: a folder with InceptionResnetV1's weights, to compare with; clips:
    videos of one person each, whose beginnings and ends are compared."""

    data: Path
    runs: Path
    weights: Path | None = None
    train: Path | None = None
    peers: Path | None = None
    clips: Path | None = None


def measure(options: IdentityOptions, advance: Callable[[str], None] = lambda what: None) -> Record:
    """The contents of runs/identity.json. Raises InputError."""
    weights, known = options.weights or OWN, options.train is None
    recognisers = {"own": read_own(weights, known)}
    if options.peers:
        recognisers["casia"] = read_inception(options.peers / IDENTITY, known)
    if options.train:
        people = read_faces(options.train, only=held_out(options.train, HELD_OUT), most=PHOTOS)
        if len(people.names) < 2:
            raise InputError(f"{options.train} holds no two people with enough photos to choose limits on")
        evaluation = IdentityEvaluation(people)
        for name, recogniser in recognisers.items():
            found = calibrate(evaluation, recogniser, partial(_told, advance, name))
            if name == "own":
                keep(found, read_tensors(weights)[0], weights)
            else:
                drawn = torch.from_numpy(recogniser.embed([probe()])[0])
                keep(found, {"probe": drawn}, options.runs / CALIBRATION.name)
            recognisers[name] = recogniser.calibrated(found)
    people = read_faces(options.data)
    if len(people.names) < 2:
        raise InputError(f"{options.data} must hold photos of two people at least, in which a face is found")
    clips = clip_people(options.clips) if options.clips else None
    rows = _rates(IdentityEvaluation(people), recognisers, advance)
    calls = _rates(IdentityEvaluation(clips, moments=True), recognisers, advance) if clips else []
    return {
        "data": where(options.data),
        "people": len(people.names),
        "photos": len(people.person),
        "machine": machine(),
        "weights": digest(weights),
        "rows": rows,
        "clips": len(clips.names) if clips else 0,
        "calls": calls,
    }


def _rates(
    evaluation: IdentityEvaluation, recognisers: dict[str, NetworkRecogniser], advance: Callable[[str], None]
) -> list[Record]:
    rows: list[Record] = []
    for side in SIDES:
        for name, recogniser in recognisers.items():
            limits = recogniser.limits(side)
            for condition, scores in evaluation.scores(recogniser, side).items():
                row = {"recogniser": name, "side": side, "condition": condition, "same": limits.same}
                rows.append(row | {"other": limits.other, "comparisons": len(scores.others), **scores.rates(limits)})
            advance(f"{side} px, {name}")
    return rows


def clip_people(folder: Path) -> People:
    """Up to CLIP_SHOTS moments of every clip with one close face, as a person each. Raises InputError."""
    found = read_clips(folder, options=CutOptions(shots=CLIP_SHOTS))
    if not found:
        raise InputError(f"{folder} holds no clip of a close face")
    shots = [
        (n, shot, marks) for n, one in enumerate(found) for shot in one.shots if (marks := shot.landmarks) is not None
    ]
    return People(
        np.stack([resized(shot.rgb(), 256) for _, shot, _ in shots]),
        np.stack([marks * 256 - 0.5 for _, _, marks in shots]).astype(np.float32),
        np.array([number for number, _, _ in shots]),
        tuple(person.name for person in found),
    )


def _told(advance: Callable[[str], None], name: str, side: int) -> None:
    advance(f"limits at {side} px, {name}")


def keep(calibration: Calibration, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Writes the tensors, in half precision, with what was measured beside them, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".partial")
    halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    means = torch.from_numpy(calibration.means).half()
    save_file({**halves, "means": means}, unfinished, metadata=calibration.metadata())
    unfinished.replace(path)


def calibrate(
    evaluation: IdentityEvaluation, recogniser: NetworkRecogniser, advance: Callable[[int], None]
) -> Calibration:
    """What holds clean and coded on these people, with a margin."""
    faces = [evaluation.people.face(number) for number in range(len(evaluation.people.person))]
    means = np.stack([recogniser.embed([coarsened(face, side) for face in faces]).mean(0) for side in SIDES])
    centred, limits = recogniser.calibrated(Calibration({}, means)), {}
    for side in SIDES:
        found = evaluation.scores(centred, side).values()
        same = max(float(np.quantile(scores.others, 1 - FALSE_ACCEPTS)) for scores in found)
        other = min(float(np.quantile(scores.own, FALSE_REJECTS)) for scores in found)
        limits[side] = Limits(round(same + MARGIN, 4), round(other, 4))
        advance(side)
    return Calibration(limits, means)


FORMS = {"same": ".2f", "false_accepts": ".3%", "false_rejects": ".1%", "excluded": ".0%", "denied": ".1%"}
NAMES = {"own": "ours", "casia": "InceptionResnetV1"}


def render(kept: Record) -> str:
    """Markdown: a table by side and condition, and one of clips where there are any."""
    tables = [
        _table(
            kept["rows"],
            {"same": "same at", "false_accepts": "false", "false_rejects": "missed", "excluded": "others told"},
        )
    ]
    if kept["calls"]:
        tables.append(f"The end of {kept['clips']} clips compared with their beginning, of one person each:\n")
        tables.append(
            _table(kept["calls"], {"false_accepts": "false", "false_rejects": "missed", "denied": "taken for another"})
        )
    return "\n".join(tables)


def _table(rows: Sequence[Record], columns: dict[str, str]) -> str:
    recognisers = [name for name in NAMES if any(row["recogniser"] == name for row in rows)]
    heads = [f"{NAMES[name]}: {what}" for name in recognisers for what in columns.values()]
    lines = ["| headshot | as | " + " | ".join(heads) + " |", "|---:|---" + "|---:" * len(heads) + "|"]
    at = {(row["recogniser"], row["side"], row["condition"]): row for row in rows}
    for side, condition in dict.fromkeys((row["side"], row["condition"]) for row in rows):
        cells = [
            format(row[column], FORMS[column]) if (row := at.get((name, side, condition))) else "–"
            for name in recognisers
            for column in columns
        ]
        lines.append(f"| {side} px | {condition} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
