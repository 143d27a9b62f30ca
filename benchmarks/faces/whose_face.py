"""Whether faces keep their own exemplars, and get nobody else's, in clips of people who leave, return and swap places.

    python -m benchmarks.faces.whose_face CLIPS [--only NAMES] [--sides 24,32,48] [--kbps 300] [--recogniser WEIGHTS]
        [--cases returns,chair,…] [--real NAMES] [--json OUT]

Each clip shows one person, who is laid into frames of 640x360 and sent as VP8: close (a headshot of 160 px) for two and
a half seconds, then far (a headshot of each of the sides). Every case is played twice: with the recogniser, and without
one ("before": exemplars last as long as an unbroken track, photos go to nobody).

    stays     close, then far at once: the track is mostly lost as well
    returns   close, gone for five seconds, far
    reconnect close, then far in a new stream of the same publisher
    chair     close, gone for one second, then the next clip's person far in the same place
    cut       close, then the next clip's person far in the next frame, same place
    swap      two people side by side who change places, one before the other, while they go away from the camera
    photo     far from the first frame on, with a photo of one's own
    wrong     far from the first frame on, with a photo of the next clip's person

Figures: share of far faces that are enhanced with exemplars of their own, the seconds until the first is (median), the
number of faces that were given another's, and looks per second. --real: these clips as they are (share only).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

from hime_core.data import damaged as damage
from hime_core.data.damaged import FPS, Shown, call_options, laid, read_shown
from hime_core.engine import FaceRequest
from hime_core.evaluation.clips import clips_in
from hime_core.evaluation.store import write_json
from hime_core.exemplars.exemplar import Exemplar, cut_exemplar
from hime_core.faces.detector import MtcnnDetector, ScanningDetector
from hime_core.faces.recognisers import load_recogniser
from hime_core.faces.recognition import Recogniser
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from hime_core.video.coding import Coding, CodingDecoder
from hime_core.video.picture import Picture

SIZE, CLOSE = (640, 360), 160
CASES = ("stays", "returns", "reconnect", "chair", "cut", "swap", "photo", "wrong")
REAL = "face_leaves,face_enters,far_walking"


class Enlarging:
    """An engine that enlarges: who is asked for with what is all that counts here."""

    scale = 4

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future[np.ndarray]]:
        answers = []
        for request in requests:
            answer: Future[np.ndarray] = Future()
            side = self.scale * request.lr.shape[0]
            answer.set_result(cv2.resize(request.lr, (side, side), interpolation=cv2.INTER_CUBIC))
            answers.append(answer)
        return answers

    def forget(self, ids: object) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Person:
    """Frames of a clip that lie apart."""

    name: str
    close: Shown
    far: Shown


@dataclass(frozen=True, eq=False)
class Frame:
    """who: the people in it, by where their faces are (x, pixels). counted: whether its faces are far ones."""

    rgb: np.ndarray
    who: tuple[tuple[float, str], ...]
    counted: bool
    restart: bool = False


@dataclass
class Tally:
    faces: int = 0
    own: int = 0
    others: int = 0
    first: list[float] = field(default_factory=list)
    seconds: float = 0.0
    looks: int = 0
    cases: int = 0

    def line(self) -> str:
        share = 100 * self.own / max(1, self.faces)
        first = f"{np.median(self.first):.2f} s" if self.first else "–"
        return (
            f"{share:5.1f} % own, first after {first} in {len(self.first)} of {self.cases}, "
            f"{self.others} of {self.faces} with another's, {self.looks / max(self.seconds, 1e-9):.2f} looks/s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--only", default="close_,webcam,desk", help="clips whose names begin so, by commas")
    parser.add_argument("--sides", default="24,32,48")
    parser.add_argument("--kbps", type=int, default=300)
    parser.add_argument("--recogniser", default=None)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--real", default=REAL)
    parser.add_argument("--json", type=Path)
    o = parser.parse_args()
    recogniser = load_recogniser(o.recogniser)
    people = list(read_people(o.clips, tuple(o.only.split(","))))
    print(f"{recogniser.name}; {len(people)} people: {', '.join(one.name for one in people)}")
    found: dict[str, Tally] = defaultdict(Tally)
    for case in filter(None, o.cases.split(",")):
        for side in map(int, o.sides.split(",")):
            for number, one in enumerate(people):
                other = people[(number + 1) % len(people)]
                frames = list(coded(list(played(case, one, other, side)), o.kbps))
                for way, ours in (("before", None), ("now", recogniser)):
                    tally = found[f"{case} {side} {way}"]
                    play(frames, ours, photos(case, one, other), tally)
            for way in ("before", "now"):
                print(f"{case:9} {side:3} {way:6} {found[f'{case} {side} {way}'].line()}", flush=True)
    for path in clips_in(o.clips) if o.real else ():
        if path.stem in o.real.split(","):
            for way, ours in (("before", None), ("now", recogniser)):
                play(real(path), ours, (), found[f"{path.stem} {way}"])
                print(f"{path.stem:13} {way:6} {found[f'{path.stem} {way}'].line()}", flush=True)
    if o.json:
        write_json(o.json, {name: vars(tally) for name, tally in found.items()})


def read_people(folder: Path, only: tuple[str, ...]) -> Iterator[Person]:
    detector = MtcnnDetector()
    for path in clips_in(folder):
        if not path.stem.startswith(only):
            continue
        parts = list(read_shown(path, detector))
        if len(parts) >= 2:
            yield Person(path.stem, parts[0], parts[-1])


def photos(case: str, one: Person, other: Person) -> tuple[Exemplar, ...]:
    if case not in ("photo", "wrong"):
        return ()
    who = one if case == "photo" else other
    rgb = who.close.frames[0]
    face = max(MtcnnDetector().detect(rgb, min_face=32), key=lambda face: face.box.height)
    return (cut_exemplar(rgb, face.box, face.landmarks, f"photo of {who.name}", "photo", 0, 0.0),)


def played(case: str, one: Person, other: Person, side: int) -> Iterator[Frame]:
    if case == "swap":
        yield from swapped(one, other, side)
        return
    if case in ("photo", "wrong"):
        yield from alone(one.far, one.name, side, True)
        return
    yield from alone(one.close, one.name, CLOSE, False)
    gone = {"returns": 5.0, "chair": 1.0}.get(case, 0.0)
    for _ in range(round(gone * FPS)):
        yield Frame(np.full((SIZE[1], SIZE[0], 3), 110, np.uint8), (), False)
    who = other if case in ("chair", "cut") else one
    yield from alone(who.far, who.name, side, True, case == "reconnect")


def alone(shown: Shown, name: str, side: int, counted: bool, restart: bool = False) -> Iterator[Frame]:
    for number, rgb in enumerate(laid(shown, side, SIZE, np.random.default_rng(1))):
        yield Frame(rgb, ((SIZE[0] / 2, name),), counted, restart and number == 0)


def swapped(one: Person, other: Person, side: int) -> Iterator[Frame]:
    """Side by side for the close parts; then each walks to the other's place, going away from the camera."""
    half = (SIZE[0] // 2, SIZE[1])
    pairs = [list(laid(who.close, 130, half, np.random.default_rng(1))) for who in (one, other)]
    for left, right in zip(*pairs, strict=False):
        yield Frame(np.hstack([left, right]), ((160, one.name), (480, other.name)), False)
    count = min(len(one.far.frames), len(other.far.frames))
    for number in range(count):
        walked = min(1.0, number / (0.6 * count))
        size = 130 + (side - 130) * walked
        canvas = np.hstack([left, right])
        canvas = cv2.GaussianBlur(canvas, (0, 0), 25)
        who = []
        for person, start, end in ((other, 480, 160), (one, 160, 480)):  # the second passes before the first
            x = start + (end - start) * walked
            scale = size / person.far.headshot.side
            small = cv2.resize(person.far.frames[number], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            cx, cy, reach = person.far.headshot.cx * scale, person.far.headshot.cy * scale, 0.75 * size
            crop_ = small[max(0, round(cy - reach)) : round(cy + reach), max(0, round(cx - reach)) : round(cx + reach)]
            left_edge = round(x - min(cx, reach))
            top = round(SIZE[1] / 2 - min(cy, reach))
            place = canvas[max(0, top) : top + crop_.shape[0], max(0, left_edge) : left_edge + crop_.shape[1]]
            part = crop_[max(0, -top) :, max(0, -left_edge) :][: place.shape[0], : place.shape[1]]
            place[: part.shape[0], : part.shape[1]] = part
            who.append((x, person.name))
        yield Frame(canvas, tuple(who), walked == 1.0)


def coded(frames: Sequence[Frame], kbps: int) -> Iterator[tuple[Frame, Picture, Coding | None]]:
    """As they are received from a call."""
    pictures = [Picture.from_rgb(frame.rgb) for frame in frames]
    for frame, (picture, coding) in zip(frames, damage.coded(pictures, "vp8", call_options("vp8", kbps)), strict=True):
        yield frame, picture, coding


def real(path: Path) -> Iterator[tuple[Frame, Picture, Coding | None]]:
    with av.open(str(path)) as container:
        decoder = CodingDecoder(container.streams.video[0].codec_context)
        for packet in container.demux(video=0):
            for decoded, coding in decoder.decode(packet):
                yield Frame(np.empty(0), ((0.0, path.stem),), True), Picture.from_frame(decoded), coding


def play(frames: Sequence | Iterator, recogniser: Recogniser | None, photos: Sequence[Exemplar], tally: Tally) -> None:
    clock, owner = Clock(), {photo.id: photo.id.removeprefix("photo of ") for photo in photos}
    people = People(clock=clock)
    for photo in photos:
        people.expect(owner[photo.id]).bank.add_photo(photo)
    counted = _Counted(recogniser) if recogniser else None
    enhancer = stream(people, counted, clock)
    tally.cases += 1
    begun: float | None = None
    first: float | None = None
    for frame, picture, coding in frames:
        now = clock.now = clock.now + 1 / FPS
        if frame.restart:
            enhancer.close()
            enhancer = stream(people, counted, clock)
        job = enhancer.begin(picture, now, coding=coding)
        enhancer.finish(job)
        places = {face.track: headshot.cx for face, headshot in zip(job.faces, job.headshots, strict=True)}
        for exemplar in people.exemplars():
            if exemplar.id not in owner:
                owner[exemplar.id] = nearest(frame.who, places[exemplar.sighting])
        if not frame.counted:
            continue
        begun = now if begun is None else begun
        tally.faces += len(frame.who)
        for face in job.eligible:
            who = nearest(frame.who, places[face.face.track])
            whose = {owner[e.id] for e in face.exemplars}
            tally.others += bool(whose - {who})
            tally.own += whose == {who}
            if whose == {who} and first is None:
                first = now - begun
    if first is not None:
        tally.first.append(first)
    tally.seconds += clock.now
    tally.looks += counted.looks if counted else 0
    enhancer.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class _Counted:
    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser, self.name, self.looks = recogniser, recogniser.name, 0
        self.limits = recogniser.limits

    def embed(self, faces: Sequence) -> np.ndarray:
        self.looks += len(faces)
        return self._recogniser.embed(faces)


def stream(people: People, recogniser: Recogniser | None, clock) -> Enhancer:
    return Enhancer(
        Enlarging(), ScanningDetector(), people, EnhancerConfig(patience=None), clock=clock, recogniser=recogniser
    )


def nearest(who: Sequence[tuple[float, str]], x: float) -> str:
    return min(who, key=lambda one: abs(one[0] - x))[1] if who else "nobody"


if __name__ == "__main__":
    main()
