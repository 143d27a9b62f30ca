"""`hime enhance`: the relay's enhancer over a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from PIL import Image, ImageOps

from hime_core.compositing.layout import Layout, View
from hime_core.compositing.render import Renderer
from hime_core.engine import Engine
from hime_core.errors import InputError
from hime_core.exemplars.exemplar import Exemplar
from hime_core.exemplars.photos import PHOTO_SUFFIXES, UnusablePhoto, exemplar_from_photo
from hime_core.faces.damage import DamageEstimator
from hime_core.faces.detector import Detector, MtcnnDetector, ScanningDetector
from hime_core.faces.recognisers import load_recogniser
from hime_core.people.people import People
from hime_core.stream.enhancer import Enhancer, EnhancerConfig
from hime_core.video.coding import Coding, CodingDecoder
from hime_core.video.picture import Picture

MP4_AUDIO = ("aac", "mp3", "opus", "ac3", "flac", "alac")  # kept as they are; others become AAC
QUALITY = {"crf": "18", "preset": "veryfast"}


def read_exemplars(folder: Path, detector: Detector, refused: Callable[[str], None]) -> list[Exemplar]:
    """The usable photos of a folder; `refused` is told of the others. Raises InputError when none is usable."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; --exemplars takes one that holds photos of the person")
    found = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES):
        try:
            with Image.open(path) as image:
                rgb = np.array(ImageOps.exif_transpose(image).convert("RGB"))
            found.append(exemplar_from_photo(rgb, detector, path.name, 0.0))
        except (OSError, Image.DecompressionBombError, UnusablePhoto) as error:
            refused(f"{path.name}: {error}")
    if not found:
        raise InputError(f"{folder} holds no usable photo ({', '.join(PHOTO_SUFFIXES)}, one clear face each)")
    return found


def frame_count(path: Path) -> int | None:
    """About how many frames the file has, None when it does not say. Raises InputError."""
    with _open(path) as container:
        stream = container.streams.video[0]
        if stream.frames:
            return stream.frames
        if container.duration and stream.average_rate:
            return round(container.duration / av.time_base * float(stream.average_rate))
    return None


def enhance_file(
    source: Path,
    target: Path,
    engine: Engine,
    view: View = "enhanced",
    layout: Layout = "upscale",
    exemplars: Callable[[Detector], list[Exemplar]] = lambda detector: [],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Writes `source` enhanced to `target`, whole or not at all; audio is kept. Returns the count of each outcome.

    Raises InputError.
    """
    detector = MtcnnDetector()
    now = [0.0]
    people = People(engine.forget, clock=lambda: now[0])
    for exemplar in exemplars(detector):
        people.expect("photos").bank.add_photo(exemplar)
    enhancer = Enhancer(
        engine,
        ScanningDetector(detector),
        people,
        EnhancerConfig(patience=None),
        clock=lambda: now[0],
        damage=DamageEstimator(),
        recogniser=load_recogniser(),
    )  # fmt: skip
    renderer = Renderer(view, layout)
    outcomes: Counter[str] = Counter()

    def enhanced(frame: av.VideoFrame, coding: Coding | None) -> av.VideoFrame:
        now[0] = frame.time
        picture = Picture.from_frame(frame)
        if frame.rotation:  # phones note how they were held; the output is upright and needs no note
            picture = Picture.from_rgb(np.ascontiguousarray(np.rot90(picture.rgb(), round(frame.rotation / 90))))
        result = enhancer.finish(enhancer.begin(picture, now[0], coding=coding))
        outcomes[result.outcome] += 1
        shown = renderer.render(result).to_frame()
        shown.pts, shown.time_base = frame.pts, frame.time_base
        advance()
        return shown

    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        with _open(source) as container:
            _transcode(container, partial, enhanced)
        partial.replace(target)
    except InputError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{source} could not be turned into {target}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
        enhancer.close()
    return dict(outcomes)


def _open(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(path))
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"{path} cannot be read as a video: {error.strerror or error}") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{path} has no video; give a file that has")
    return container


def _transcode(
    source: av.container.InputContainer,
    path: Path,
    enhanced: Callable[[av.VideoFrame, Coding | None], av.VideoFrame],
) -> None:
    """Video through `enhanced` and x264, every audio stream as it is where MP4 takes it, in the order it was read."""
    video, rate = source.streams.video[0], source.streams.video[0].average_rate or Fraction(30)
    decoder = CodingDecoder(video.codec_context)
    with av.open(str(path), "w") as target:
        out = target.add_stream("libx264", rate=rate, options=QUALITY)
        time_base = out.codec_context.time_base = video.time_base or 1 / rate
        sounds = {audio: _audio_stream(target, audio) for audio in source.streams.audio}
        # The container is begun by the first packet it gets, and must know the picture's size by then.
        sized, count = False, 0
        waiting: list[av.Packet[av.AudioStream]] = []
        for packet in source.demux([video, *sounds]):  # whose annotations do not tell streams apart
            if packet.stream is video:
                for frame, coding in decoder.decode(cast("av.Packet[av.VideoStream]", packet)):
                    if frame.pts is None:  # a bare stream: its frames come at its rate
                        frame.time_base, frame.pts = time_base, round(count / rate / time_base)
                    count += 1
                    shown = enhanced(frame, coding)
                    if not sized:
                        out.width, out.height, out.pix_fmt, sized = shown.width, shown.height, "yuv420p", True
                    target.mux(out.encode(shown.reformat(width=out.width, height=out.height)))
            elif packet.dts is not None:
                heard = cast("av.Packet[av.AudioStream]", packet)
                waiting += _sound(heard, sounds[heard.stream])
            if sized and waiting:
                target.mux(waiting)
                waiting = []
        if not sized:
            raise ValueError("it has no picture that can be decoded")
        target.mux(out.encode(None))
        for audio, sound in sounds.items():
            if audio.codec_context.name not in MP4_AUDIO:
                target.mux(sound.encode(None))


def _audio_stream(target: av.container.OutputContainer, audio: av.AudioStream) -> av.AudioStream:
    if audio.codec_context.name in MP4_AUDIO:
        return target.add_stream_from_template(audio)
    return target.add_stream("aac", rate=audio.codec_context.sample_rate)


def _sound(packet: av.Packet[av.AudioStream], sound: av.AudioStream) -> Iterator[av.Packet[av.AudioStream]]:
    if packet.stream.codec_context.name in MP4_AUDIO:
        packet.stream = sound
        yield packet
    else:
        for frame in packet.decode():
            yield from sound.encode(frame)
