"""`hime doctor`: whether everything that the relay needs is here, how fast it is, and whether media find their way."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from importlib.metadata import version
from typing import cast

import numpy as np

from server.checkup.check import Check, attempt
from server.checkup.network import network
from server.checkup.remote import remote
from server.settings import Settings, load_settings

PACKAGES = (
    "hime-relay",
    "torch",
    "torchvision",
    "av",
    "numpy",
    "fastapi",
    "facenet-pytorch",
)
# Of these, what is not documented is used as well (server/media/aiortc_door.py): the minors that were tested.
TESTED = {"aiortc": "1.16", "aioice": "0.13", "pylibsrtp": "1.0"}
LR_SIDE = 32
REFERENCES = 3
REPEATS = 10


def run(as_json: bool = False, url: str | None = None) -> int:
    """Prints each check's result; 0 when all that is required is there, otherwise 1. url: of a relay that runs, to be
    looked at from here, in place of this machine. Raises InputError where it is none."""
    checks = []
    for check in examine(load_settings()) if url is None else remote(url):
        checks.append(check)
        if not as_json:
            print(f"{check.mark:4}  {check.name:11}  {check.detail}", flush=True)
            if check.advice:
                print(f"{'':19}{check.advice}", flush=True)
    healthy = all(check.ok or not check.required for check in checks)
    if as_json:
        print(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
    return 0 if healthy else 1


def examine(settings: Settings) -> Iterator[Check]:
    yield Check("python", (3, 11) <= sys.version_info[:2] <= (3, 13), f"{platform.python_version()} (3.11 to 3.13)")
    yield attempt("packages", _packages)
    yield attempt("webrtc", _webrtc)
    yield attempt("device", lambda: _device(settings))
    yield attempt("weights", lambda: _weights(settings))
    yield attempt("detector", _detector)
    yield attempt("recogniser", lambda: _recogniser(settings))
    yield attempt("engine", lambda: _engine(settings))
    for codec, encoder, required in (
        ("VP8", "libvpx", True),
        ("H264", "libx264", True),
        ("NVENC", "h264_nvenc", False),
    ):
        yield attempt(codec, partial(_encode, encoder), required)
    yield attempt("client", lambda: _client(settings))
    yield attempt("storage", lambda: _storage(settings))
    yield attempt("data key", lambda: _data_key(settings))
    yield from network(settings)


def _packages() -> str:
    import cv2  # which comes from opencv-python or opencv-python-headless

    return ", ".join([*(f"{name} {version(name)}" for name in PACKAGES), f"opencv {cv2.__version__}"])


def _webrtc() -> str:
    """Raises RuntimeError where a version is another than was tested."""
    found = {name: version(name) for name in TESTED}
    wrong = [name for name, minor in TESTED.items() if not found[name].startswith(f"{minor}.")]
    if wrong:
        others = ", ".join(f"{name} is {found[name]} and not {TESTED[name]}" for name in wrong)
        wanted = " ".join(f"'{name}~={TESTED[name]}.0'" for name in wrong)
        raise RuntimeError(f"{others}, which was tested; run pip install {wanted}")
    return ", ".join(f"{name} {found[name]}" for name in TESTED)


def _device(settings: Settings) -> str:
    import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    if settings.device == "cuda":
        raise RuntimeError("HIME_DEVICE is cuda, but torch finds no CUDA device")
    return f"cpu: {platform.processor() or platform.machine()}"


def _weights(settings: Settings) -> str:
    from hime_core.engine import best_device, weights_for
    from hime_core.model.hime import Hime

    name = weights_for(settings.weights, best_device() if settings.device == "auto" else settings.device)
    parameters = sum(parameter.numel() for parameter in Hime.from_pretrained(name).parameters())
    return f"{name}, {parameters / 1e6:.2f} M parameters"


def _detector() -> str:
    from hime_core.faces.detector import MtcnnDetector

    detector = MtcnnDetector()
    picture = np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8)
    detector.detect(picture)
    start = time.perf_counter()
    detector.detect(picture)
    return f"MTCNN, {(time.perf_counter() - start) * 1000:.0f} ms at 320x180"


def _recogniser(settings: Settings) -> str:
    """Times one face, as a call embeds it."""
    from hime_core.faces.recognisers import load_recogniser
    from hime_core.faces.recognition import FacePicture

    recogniser = load_recogniser(settings.identity_weights or None)
    points = np.array([[38, 42], [58, 42], [48, 54], [39, 64], [57, 64]], np.float32)
    face = FacePicture(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8), points)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        recogniser.embed([face])
        times.append(time.perf_counter() - start)
    return f"{recogniser.name}, {float(np.median(times)) * 1000:.0f} ms per face"


def _engine(settings: Settings) -> str:
    """Times one face of LR 32 with three references, their registration included."""
    from hime_core.engine import FaceRequest, build_engine
    from hime_core.exemplars.exemplar import Exemplar
    from hime_core.faces.geometry import Headshot

    device = None if settings.device == "auto" else settings.device
    engine = build_engine(settings.weights, device)
    try:
        random = np.random.default_rng(0)
        side = LR_SIDE * engine.scale
        points = np.array([[0.35, 0.42], [0.65, 0.42], [0.5, 0.55], [0.38, 0.7], [0.62, 0.7]], np.float32)
        exemplars = tuple(
            Exemplar(
                id=f"doctor-{i}",
                image=random.integers(0, 255, (2 * side, 2 * side, 3), np.uint8),
                headshot=Headshot(side - 0.5, side - 0.5, side),
                landmarks=points * side + side / 2,
                sharpness=1.0,
                yaw=0.0,
                light=0.5,
                source="photo",
                frame=0,
                time=0.0,
                resolved=float(side),
            )
            for i in range(REFERENCES)
        )
        request = FaceRequest(random.integers(0, 255, (LR_SIDE, LR_SIDE, 3), np.uint8), points * LR_SIDE, exemplars)
        times = []
        for _ in range(REPEATS + 2):  # the first ones fill the cache
            start = time.perf_counter()
            engine.submit([request])[0].result(timeout=60)
            times.append(time.perf_counter() - start)
    finally:
        engine.close()
    ms = float(np.median(times[2:])) * 1000
    return f"{ms:.0f} ms per face of {LR_SIDE} px with {REFERENCES} references: {speed_class(ms)}"


def speed_class(ms: float) -> str:
    """What a call may expect of an engine that takes so many milliseconds per face."""
    if ms <= 10:
        return "every face of several calls in every frame"
    if ms <= 40:
        return "one face in every frame"
    if ms <= 125:
        return "one face, enhanced 8 times a second or more, carried along between"
    return "too slow for calls: most frames pass as they are"


def _encode(encoder: str) -> str:
    import av

    codec = cast(av.VideoCodecContext, av.CodecContext.create(encoder, "w"))
    codec.width, codec.height, codec.pix_fmt = 320, 192, "yuv420p"
    codec.framerate, codec.bit_rate = Fraction(30), 1_000_000
    frame = av.VideoFrame(320, 192, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts = 0
    if not [*codec.encode(frame), *codec.encode(None)]:
        raise RuntimeError(f"{encoder} gave no packet")
    return encoder


def _client(settings: Settings) -> str:
    missing = [name for name in ("index.html", "dashboard.html") if not (settings.client / name).is_file()]
    if missing:
        raise FileNotFoundError(f"the web client is not built: {', '.join(missing)} missing; run `make run`")
    return "built"


def _storage(settings: Settings) -> str:
    """Looks only: the relay itself makes and migrates the database, and makes the key."""
    from server.exemplars.database import connect, schema_of
    from server.exemplars.files import Files
    from server.exemplars.store import PhotoStore

    Files(settings.photos).check()
    engine = connect(settings.database)
    try:
        with engine.connect() as connection:
            schema = schema_of(connection)
    finally:
        engine.dispose()
    kind = engine.dialect.name
    if schema.current is None:
        return f"{kind} is empty; `hime serve` makes schema {schema.newest}; the photos' files can be written"
    if schema.known and schema.current != schema.newest:
        return f"{kind} has schema {schema.current}; `hime serve` brings it to {schema.newest}, the current one"
    store = PhotoStore(settings)
    try:
        store.check()
    finally:
        store.close()
    return f"{kind} has schema {schema.current}, which is current; it and the photos' files can be written"


def _data_key(settings: Settings) -> str:
    from server.exemplars.keys import KeySource

    source = KeySource.of(settings)
    if source.embedded and not source.given and not source.file.exists():
        return f"none yet: `hime serve` makes {source.file} for an empty database"
    return source.place()
