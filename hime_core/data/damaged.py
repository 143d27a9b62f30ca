"""Faces that a codec has damaged by a known amount, as `hime_core.faces.damage` is trained on and measured with.

Photos that move a little go through constant quantizers, clips of people through the rate control of a call. Half of
all are then sent on as others do: rescaled, with noise, coded again finely or as JPEG. All is drawn from one generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np

from hime_core.arrays import Array
from hime_core.data.codec import CODECS, ENCODERS, Codec
from hime_core.data.degradations import decoded
from hime_core.faces.damage import LARGEST, STEPS
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import Headshot, headshot_of
from hime_core.video.coding import Coding, CodingDecoder
from hime_core.video.picture import Picture

FPS = 30
SETTLED = 30  # frames of a call that are left out: rate control is still finding its quantizer
RUN = 78  # frames of a call
SIDES = (96, 240)  # of headshots, pixels
RATES = {(320, 180): (20, 600), (640, 360): (40, 1500)}  # kbit/s, by the size of the frame
QUANTIZERS: dict[Codec, tuple[int, int]] = {"vp8": (4, 60), "h264": (14, 46)}
UNHARMED = 0.15  # share that is not coded at first
# Step of VP8 that leaves a photo as far from its source as a step of 1 of each of CODECS: H264 1.5 to 1.7 at steps of
# 6 to 36, in the settled frames of calls 2 and more.
AS_VP8 = (1.0, 1.5)
# Log2 of the step with which VP8 has an error of 1 grey level in a photo, and how much more per doubling of the error:
# fitted over 1,566 photos at steps of 4 to 120, about which the errors scatter by 9 %.
AT_ONE, PER_DOUBLING = 3.48, 1.37
KEPT = 4  # frames that are sent on, the last of which is looked at
AREA = 192  # pixels around the face that are sent on
TYPES = np.dtype([("luma", np.uint8, (LARGEST, LARGEST)), ("step", np.float32), ("codec", np.uint8),
                  ("scale", np.float32), ("again", np.float32), ("error", np.float32)])  # fmt: skip
# step, codec: of the coding that harmed the face, 0 where there was none; scale: by which it was resized since; again:
# the step of the coding after that; error: what the first coding took, grey levels (error_of).


@dataclass(frozen=True, eq=False)
class Shown:
    """Frames of a clip, RGB with at most about SIDES[1] pixels of headshot, and where that is at first."""

    frames: Sequence[Array]
    headshot: Headshot


def target(samples: Array) -> Array:
    """What the network is to say of samples of TYPES: log2 of VP8's step, H264's counted AS_VP8.

    The coarser of both codings; a rescaled face's in proportion to its size, as a step takes less of a larger face;
    within STEPS. Trained on `equivalent` instead, it told coarse VP8 from fine less surely:
    hime_core/weights/faces/damage.md.
    """
    first = samples["step"] * np.take(AS_VP8, samples["codec"]) * samples["scale"]
    wanted: Array = np.log2(np.clip(np.maximum(first, samples["again"]), *STEPS))
    return wanted.astype(np.float32)


def equivalent(error: Array) -> Array:
    """log2 of the step of VP8 that takes an error (error_of) from a photo."""
    return AT_ONE + PER_DOUBLING * np.log2(np.maximum(error, 0.1))


def coded(pictures: Sequence[Picture], codec: Codec, options: dict[str, object]) -> list[tuple[Picture, Coding]]:
    """The pictures as they are received, and how each was coded. options: of the encoder, realtime where not said."""
    context = av.CodecContext.create(ENCODERS[codec], "w")
    context.width, context.height, context.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.gop_size, context.thread_count = 3000, 1
    realtime: dict[Codec, dict[str, object]] = {
        "vp8": {"deadline": "realtime", "cpu-used": -7, "lag-in-frames": 0},
        "h264": {"preset": "veryfast", "tune": "zerolatency", "profile": "baseline"},
    }
    settings = realtime[codec] | options
    if "b" in settings:
        context.bit_rate = int(str(settings.pop("b")))
    if "qmin" in settings:
        context.qmin, context.qmax = int(str(settings.pop("qmin"))), int(str(settings.pop("qmax")))
    context.options = {name: str(value) for name, value in settings.items()}
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    reader, received = CodingDecoder(decoder), []
    for number, picture in enumerate(pictures):
        frame = picture.to_frame()
        frame.pts, frame.time_base = number, Fraction(1, FPS)
        for packet in context.encode(frame):
            received += reader.decode(packet)
    for packet in context.encode(None):
        received += reader.decode(packet)
    received += reader.decode(None)
    if len(received) != len(pictures) or any(coding is None for _, coding in received):
        raise RuntimeError(f"{codec}: {len(pictures)} frames went in, {len(received)} came out")
    return [(Picture.from_frame(frame), coding) for frame, coding in received if coding]


def call_options(codec: Codec, kbps: int) -> dict[str, object]:
    """Rate control as WebRTC senders set it."""
    rate = 1000 * kbps
    if codec == "vp8":
        return {"b": rate, "minrate": rate, "maxrate": rate, "bufsize": rate, "qmin": 2, "qmax": 56}
    return {"b": rate, "maxrate": rate, "bufsize": rate // 2}


def constant_options(codec: Codec, quantizer: int) -> dict[str, object]:
    if codec == "vp8":
        return {"b": 10_000_000, "qmin": quantizer, "qmax": quantizer}
    return {"qp": quantizer}


def photo_faces(photos: Sequence[Path], count: int, rng: np.random.Generator) -> Iterator[Array]:
    """`count` times two samples of TYPES from headshots that move a little."""
    for _ in range(count):
        rgb = decoded(photos[int(rng.integers(len(photos)))].read_bytes())[..., ::-1]
        side = int(rng.integers(LARGEST, min(SIDES[1], rgb.shape[0]) + 1)) & ~1
        rgb = cv2.resize(np.ascontiguousarray(rgb), (side, side), interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            rgb = np.ascontiguousarray(rgb[:, ::-1])
        drift, frames = rng.standard_normal(2) * rng.uniform(0, 1.5), []
        for number in range(KEPT + int(rng.integers(0, 5)), -1, -1):
            x, y = number * drift + (rng.standard_normal(2) * 0.3 if number else 0)
            move = np.array([[1, 0, x], [0, 1, y]], np.float32)
            frames.append(cv2.warpAffine(rgb, move, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
        taken = _camera(frames, rng)
        codec = CODECS[rng.integers(2)]
        options = constant_options(codec, int(rng.integers(QUANTIZERS[codec][0], QUANTIZERS[codec][1] + 1)))
        yield from _samples(taken, codec, options | _preset(codec, rng), [len(taken) - 1], rng)


def clip_faces(path: Path, detector: MtcnnDetector, runs: int, rng: np.random.Generator) -> Iterator[Array]:
    """Samples of TYPES from a clip that was sent `runs` times over a path of some rate."""
    shown = list(read_shown(path, detector))
    for run in range(runs if shown else 0):
        one = shown[run % len(shown)]
        size = (320, 180) if rng.random() < 0.7 else (640, 360)
        side = rng.uniform(SIDES[0], min(0.85 * size[1], SIDES[1], max(SIDES[0], one.headshot.side)))
        codec = CODECS[rng.integers(2)]
        kbps = round(np.exp(rng.uniform(*np.log(RATES[size]))))
        taken = _camera(list(laid(one, float(side), size, rng)), rng)
        options = call_options(codec, kbps) | _preset(codec, rng)
        yield from _samples(taken, codec, options, range(min(SETTLED, len(taken) // 2), len(taken), 12), rng)


def read_shown(path: Path, detector: MtcnnDetector, parts: int = 4, after: int = 0) -> Iterator[Shown]:
    """Up to `parts` of RUN frames each in which there is a face at first, from frame `after` on."""
    part: list[Array] = []
    headshot, given, scale = None, 0, 1.0
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number < after:
                continue
            rgb = frame.to_ndarray(format="rgb24")
            if headshot is None:
                headshot = _find(rgb, detector)
                if headshot is None:
                    return
                scale = min(1.0, 1.08 * SIDES[1] / headshot.side)
            part.append(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgb)
            if len(part) == RUN:
                yield Shown(part, Headshot(headshot.cx * scale, headshot.cy * scale, headshot.side * scale))
                part, headshot, given = [], None, given + 1
                if given == parts:
                    return
    if headshot is not None and len(part) > RUN // 2 and not given:
        yield Shown(part, Headshot(headshot.cx * scale, headshot.cy * scale, headshot.side * scale))


def laid(shown: Shown, side: float, size: tuple[int, int], rng: np.random.Generator) -> Iterator[Array]:
    """The clip in frames of `size` with a headshot of `side` pixels about in their middle."""
    scale = side / shown.headshot.side
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shift = np.round(
        np.array(size) / 2 - scale * np.array([shown.headshot.cx, shown.headshot.cy]) + rng.uniform(-8, 8, 2)
    )
    for rgb in shown.frames:
        small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=method)
        move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
        yield cv2.warpAffine(small, move, size, borderMode=cv2.BORDER_REPLICATE)


def _find(rgb: Array, detector: MtcnnDetector) -> Headshot | None:
    scale = min(1.0, 480 / max(rgb.shape[:2]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
    faces = [face.moved(1 / scale, 0, 0) for face in detector.detect(small, min_face=32)]
    return headshot_of(max(faces, key=lambda face: face.box.height).box) if faces else None


def _camera(frames: Sequence[Array], rng: np.random.Generator) -> list[Picture]:
    """What a camera makes of a scene, none of which is a codec's damage: blur, sharpening, noise, JPEG of its own."""
    blur = rng.uniform(0.4, 1.8) if rng.random() < 0.3 else 0.0
    sharpen = rng.uniform(0.3, 1.2) if rng.random() < 0.2 else 0.0
    noise = rng.uniform(0.5, 5.0) if rng.random() < 0.5 else 0.0
    grain = rng.choice((0.0, 0.6, 0.9))
    quality = int(rng.integers(80, 96)) if rng.random() < 0.15 else 0
    taken = []
    for rgb in frames:
        rgb = cv2.GaussianBlur(rgb, (0, 0), blur) if blur else rgb
        if sharpen:
            rgb = cv2.addWeighted(rgb, 1 + sharpen, cv2.GaussianBlur(rgb, (0, 0), 1.2), -sharpen, 0)
        rgb = noisy(rgb, noise, grain, rng) if noise else rgb
        if quality:
            rgb = decoded(cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
        taken.append(Picture.from_rgb(rgb))
    return taken


def noisy(image: Array, sigma: float, grain: float, rng: np.random.Generator) -> Array:
    """With noise of `sigma` grey levels that is white, or smoothed over `grain` pixels."""
    cv2.setRNGSeed(int(rng.integers(1 << 31)))
    noise = np.empty(image.shape, np.float32)
    cv2.randn(noise, cast(Array, 0), cast(Array, sigma))  # numbers do; in colour they are the first channel's
    if grain:
        noise = cv2.GaussianBlur(noise, (0, 0), grain) * np.float32(1 + 2.2 * grain)
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def _preset(codec: Codec, rng: np.random.Generator) -> dict[str, object]:
    if codec == "vp8":
        return {"cpu-used": -int(rng.integers(6, 9))}
    ultrafast: dict[str, object] = {"preset": "ultrafast", "x264-params": f"no-deblock={int(rng.random() < 0.3)}"}
    return ultrafast if rng.random() < 0.5 else {"preset": "veryfast"}


def _samples(
    taken: list[Picture], codec: Codec, options: dict[str, object], at: Sequence[int], rng: np.random.Generator
) -> Iterator[Array]:
    """Of each of the frames `at`, one sample as it was received and one as it was sent on."""
    unharmed = rng.random() < UNHARMED
    received: Sequence[tuple[Picture, Coding | None]]
    received = [(picture, None) for picture in taken] if unharmed else coded(taken, codec, options)
    for last in at:
        window = [cut(picture) for picture, _ in received[max(0, last - KEPT + 1) : last + 1]]
        coding = received[last][1]
        step = coding.step if coding else 0.0
        error = error_of(cut(taken[last]).y, window[-1].y)
        sample = np.zeros((), TYPES)
        sample["step"], sample["codec"], sample["error"] = step, CODECS.index(codec), error
        sample["luma"], sample["scale"] = _face(window[-1].y, rng), 1
        yield sample.copy()
        sent, scale, again = _sent_on(window, rng)
        sample["luma"], sample["scale"], sample["again"] = _face(sent, rng), scale, again
        yield sample


def cut(picture: Picture) -> Picture:
    """The middle AREA pixels, on the codec's grid."""
    x, y = (max(0, (side - AREA) // 2) // 16 * 16 for side in (picture.width, picture.height))
    rows, columns = np.s_[y : y + AREA], np.s_[x : x + AREA]
    half_rows, half_columns = np.s_[y // 2 : (y + AREA) // 2], np.s_[x // 2 : (x + AREA) // 2]
    return Picture(picture.y[rows, columns], picture.u[half_rows, half_columns], picture.v[half_rows, half_columns])


def _sent_on(window: list[Picture], rng: np.random.Generator) -> tuple[Array, float, float]:
    """The luma of the last picture after rescaling, noise and fine coding; the scale, and the last coding's step."""
    scale = 1.0
    if rng.random() < 0.35:
        scale = float(rng.uniform(0.8, 1.25))
        method = int(rng.choice((cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
        size = (round(window[0].width * scale / 2) * 2, round(window[0].height * scale / 2) * 2)
        half = (size[0] // 2, size[1] // 2)

        def scaled(plane: Array, size: tuple[int, int]) -> Array:
            return cv2.resize(plane, size, interpolation=method)

        window = [
            Picture(*(scaled(p, s) for p, s in zip((w.y, w.u, w.v), (size, half, half), strict=True))) for w in window
        ]
    if rng.random() < 0.25:
        sigma, grain = rng.uniform(0.5, 3.0), rng.choice((0.0, 0.6))
        window = [Picture(noisy(w.y, sigma, grain, rng), w.u, w.v) for w in window]
    again: Codec
    options: dict[str, object]
    way = rng.random()
    if way < 0.4:
        again, options = "h264", {"crf": int(rng.integers(10, 21)), "preset": "veryfast"}
    elif way < 0.65:
        again, options = "vp8", constant_options("vp8", int(rng.integers(2, 17)))
    elif way < 0.85:
        encoded = cv2.imencode(".jpg", window[-1].y, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(90, 98))])[1]
        return decoded(encoded, cv2.IMREAD_GRAYSCALE), scale, 0.0
    else:
        return window[-1].y, scale, 0.0
    sent = coded(window, again, options)
    return sent[-1][0].y, scale, sent[-1][1].step


def _face(luma: Array, rng: np.random.Generator) -> Array:
    """LARGEST pixels about the middle, anywhere on the codec's grid."""
    below, right = (max(0, LARGEST - side) for side in luma.shape)
    luma = cv2.copyMakeBorder(luma, below, 0, right, 0, cv2.BORDER_REFLECT)
    y, x = (int(np.clip((side - LARGEST) // 2 + rng.integers(-12, 13), 0, side - LARGEST)) for side in luma.shape)
    return luma[y : y + LARGEST, x : x + LARGEST]


def error_of(sent: Array, received: Array) -> float:
    """Root mean square, grey levels, over the middle, of what is not the finest noise."""
    margin = [side // 6 for side in sent.shape]
    difference = cv2.GaussianBlur(received.astype(np.float32) - sent, (0, 0), 0.8)
    return float(np.sqrt(np.square(difference[margin[0] : -margin[0], margin[1] : -margin[1]]).mean()))
