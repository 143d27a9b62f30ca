"""`hime enhance` on a file made from the astronaut: close first, far later, with a tone."""

import json
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

from benchmarks.shared.portrait import CLOSE_FRAMES, WALK_FRAMES, Portrait
from hime_core.stream.enhancer import Enhancer
from server.cli import main

FRAMES = (*range(0, 40, 4), *range(60, CLOSE_FRAMES + WALK_FRAMES, 2), *range(CLOSE_FRAMES + WALK_FRAMES, 108))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    portrait = Portrait(frames=1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=20, options={"crf": "15"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout="mono")
        for number in FRAMES:
            container.mux(video.encode(av.VideoFrame.from_ndarray(portrait.shown(number))))
        samples = round(48000 * len(FRAMES) / 20)
        wave = (np.sin(2 * np.pi * 440 * np.arange(samples) / 48000) * 8000).astype(np.int16)
        for start in range(0, samples - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def hime(*arguments, monkeypatch) -> int:
    monkeypatch.setattr("sys.argv", ["hime", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_a_file_comes_out_enhanced_with_its_sound(clip, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.mp4"
    assert hime("enhance", clip, out, "--json", monkeypatch=monkeypatch) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["frames"] == len(FRAMES)
    assert report["enhanced"] >= 8
    with av.open(str(clip)) as before, av.open(str(out)) as after:
        video = after.streams.video[0]
        assert (video.width, video.height) == (1280, 720)
        times = [[f.time for f in c.decode(video=0)] for c in (before, after)]
        assert times[1] == pytest.approx(times[0], abs=1e-3)
    with av.open(str(clip)) as before, av.open(str(out)) as after:
        packets = [[bytes(p) for p in c.demux(audio=0) if p.size] for c in (before, after)]
    assert packets[0] == packets[1]
    assert list(tmp_path.iterdir()) == [out]


def test_the_enhancer_is_told_how_each_frame_was_coded(clip, tmp_path, monkeypatch, capsys):
    codings, begin = [], Enhancer.begin

    def noted(self, *arguments, coding):
        codings.append(coding)
        return begin(self, *arguments, coding=coding)

    monkeypatch.setattr(Enhancer, "begin", noted)
    assert hime("enhance", clip, tmp_path / "out.mp4", "--layout", "native", monkeypatch=monkeypatch) == 0
    assert len(codings) == len(FRAMES) and None not in codings
    with av.open(str(clip)) as container:
        sizes = {packet.pts: packet.size for packet in container.demux(video=0) if packet.size}
    assert [coding.bytes for coding in codings] == [sizes[pts] for pts in sorted(sizes)]


def test_compare_is_twice_as_wide_and_photos_are_taken(clip, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    Image.fromarray(data.astronaut()).save(tmp_path / "photos" / "a.jpg", quality=95)
    Image.fromarray(data.coffee()).save(tmp_path / "photos" / "b.jpg")
    arguments = ("enhance", clip, tmp_path / "out.mp4", "--compare", "--layout", "native", "--exemplars")
    assert hime(*arguments, tmp_path / "photos", monkeypatch=monkeypatch) == 0
    assert "b.jpg: no face" in capsys.readouterr().err
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (640, 180)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("IN", "out.mp4", "--layout", "wide"), "upscale, zoom, native"),
        (("absent.mp4", "out.mp4"), "absent.mp4"),
        (("IN", "no-folder/out.mp4"), "no-folder"),
        (("IN", "out.mp4", "--exemplars", "no-folder"), "no-folder"),
        (("IN", "out.mp4", "--weights", "no-weights"), "no-weights"),
        (("text.mp4", "out.mp4"), "text.mp4"),
        (("IN", "out.xyz"), "out.xyz"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_left(clip, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    given = [clip if a == "IN" else a for a in arguments]
    assert hime("enhance", *given, monkeypatch=monkeypatch) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert says in lines[-1]
    assert lines[-1].startswith("hime: ")
    assert [p.name for p in tmp_path.iterdir()] == ["text.mp4"]


def test_times_that_are_not_even_are_kept(tmp_path, monkeypatch, capsys):
    """Phones and screen recorders write such files."""
    times = [0, 10, 20, 500, 510, 2000]
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * i, np.uint8))
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    assert hime("enhance", path, tmp_path / "out.mp4", "--layout", "native", monkeypatch=monkeypatch) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [f.time for f in container.decode(video=0)] == pytest.approx([t / 1000 for t in times], abs=1e-3)


def test_a_bare_stream_gets_its_rate(tmp_path, monkeypatch, capsys):
    with av.open(str(tmp_path / "in.h264"), "w", format="h264") as container:
        video = container.add_stream("libx264", rate=20)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(6):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * i, np.uint8))))
        container.mux(video.encode(None))
    out = tmp_path / "out.mp4"
    assert hime("enhance", tmp_path / "in.h264", out, "--layout", "native", monkeypatch=monkeypatch) == 0
    with av.open(str(out)) as container:
        steps = np.diff([f.time for f in container.decode(video=0)])
    assert len(steps) == 5
    assert steps == pytest.approx(steps[0], abs=2e-3)
    assert steps[0] > 0.01


def test_a_picture_that_was_held_sideways_comes_out_upright(tmp_path, monkeypatch, capsys):
    """A phone's note of a quarter turn clockwise, written into the track header as phones write it."""
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=20)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        picture = np.full((48, 64, 3), 40, np.uint8)
        picture[:24, :32] = 220  # top left, which a turn clockwise brings to the top right
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(video.encode(None))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(data)
    assert hime("enhance", path, tmp_path / "out.mp4", "--layout", "native", monkeypatch=monkeypatch) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        shown = next(container.decode(video=0))
        assert shown.rotation == 0
        corners = shown.to_ndarray(format="gray")
    assert corners.shape == (64, 48)
    assert corners[8, 40] > 180
    assert corners[8, 8] < 100
    assert corners[56, 40] < 100
