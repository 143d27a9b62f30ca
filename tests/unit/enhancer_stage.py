"""What the enhancer's tests play with: a clock, an engine, and a scene whose detector knows where the faces are."""

from collections.abc import Sequence
from concurrent.futures import Future

import cv2
import numpy as np
from skimage import data

from hime_core.engine import FaceRequest
from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box
from hime_core.faces.recognition import FacePicture, Limits
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from hime_core.video.picture import Picture

# The astronaut's face as MTCNN finds it, in the 512 px picture.
FACE = Box(177, 66, 88, 118)
LANDMARKS = np.array([[201, 110], [243, 108], [224, 134], [206, 154], [243, 152]], np.float32)

PORTRAIT = data.astronaut()[:300, 60:400]
ANN, BOB = "ann", "bob"  # who is her in other colours


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """Keeps what it is asked until `answer`; at once when `prompt`."""

    scale = 4

    def __init__(self, prompt: bool = True) -> None:
        self.prompt = prompt
        self.asked: list[tuple[FaceRequest, Future]] = []
        self.forgotten: set[str] = set()
        self.error: Exception | None = None

    def submit(self, requests: Sequence[FaceRequest]) -> list[Future]:
        futures = []
        for request in requests:
            self.asked.append((request, Future()))
            futures.append(self.asked[-1][1])
            if self.prompt:
                self.answer()
        return futures

    def answer(self) -> None:
        request, future = self.asked[-1]
        if self.error:
            future.set_exception(self.error)
            return
        side = 4 * request.lr.shape[0]
        sharper = cv2.resize(request.lr, (side, side), interpolation=cv2.INTER_LANCZOS4).astype(int)
        noise = np.random.default_rng(0).integers(-30, 31, (side, side, 1))
        future.set_result(np.clip(sharper + noise, 0, 255).astype(np.uint8))

    def forget(self, ids) -> None:
        self.forgotten |= set(ids)

    def close(self) -> None: ...


class ByColour:
    """Knows the two portraits apart by their colour, but for faces that are tiny."""

    name = "by colour"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def embed(self, faces: Sequence[FacePicture]) -> np.ndarray:
        self.calls.append(len(faces))
        found = []
        for face in faces:
            third = face.rgb.shape[0] // 3
            red, _, blue = face.rgb[third:-third, third:-third].reshape(-1, 3).mean(0)
            found.append((red - blue, 20.0))
        return np.array([v / np.linalg.norm(v) for v in np.array(found)], np.float32)

    def limits(self, side: int) -> Limits:
        return Limits(0.9, 0.3) if side >= 24 else Limits(2.0, -2.0)


class Scene:
    """The astronaut at a scale and place in a 640x360 frame, and the detector that knows where."""

    def __init__(self) -> None:
        self.faces: list[tuple] = []  # scale, x, y, and ANN (where not said) or BOB

    def frame(self) -> Picture:
        canvas = np.full((360, 640, 3), 90, np.uint8)
        for scale, x, y, *who in self.faces:
            portrait = PORTRAIT[..., :: -1 if who == [BOB] else 1]
            small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            x, y = round(x), round(y)
            part = small[: 360 - y, : 640 - x]
            canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
        return Picture.from_rgb(canvas)

    def detect(self, rgb, last=()) -> list[Detection]:
        found = []
        for scale, x, y, *_ in self.faces:
            left, top = (FACE.x - 60) * scale + x, FACE.y * scale + y
            box = Box(left, top, FACE.width * scale, FACE.height * scale)
            points = (LANDMARKS - (60, 0)) * scale + (x, y)
            found.append(Detection(box, points.astype(np.float32), 0.99))
        return found


def enhancer_of(engine, scene, clock, **config) -> Enhancer:
    """Detection is in step, so that tests need no waiting; patience is set after."""
    people = config.pop("people", None) or People(engine.forget, clock)
    on_stage = config.pop("on_stage", lambda stage, seconds: None)
    settings = EnhancerConfig(patience=None, **config)
    return Enhancer(engine, scene, people, settings, clock, on_stage, recogniser=ByColour())


def patient(enhancer: Enhancer, patience: float | None) -> None:
    enhancer._config = EnhancerConfig(patience=patience)


def step(enhancer, scene, clock, seconds=0.05):
    clock.now += seconds
    return enhancer.finish(enhancer.begin(scene.frame(), clock.now))


FAR, CLOSE = (0.16, 300, 150), (0.9, 150, 20)
