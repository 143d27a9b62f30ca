"""`hime prove` without calls: the plan, what a call shows when, resuming, curves and reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hime_core.errors import InputError
from hime_core.faces.geometry import Headshot
from server.proof import command, plan
from server.proof.call import CallFailed
from server.proof.measure import with_exemplars
from server.proof.pictures import draw_curves, draw_sheet
from server.proof.report import describe, report
from server.proof.scene import Clip, Geometry, Unusable, cut, framed, moved, stage
from server.proof.stream import encode
from server.proof.summary import delta_rates, gains, gather, worse_cells

TIMING = plan.Timing(fps=10, good=2.0, settle=0.5, measured=1.0, good_kbps=500)
ROWS = ("plain", "0 exemplars", "1 exemplar", "3 exemplars")


def clip(frames: int = 35, split: int = 20, size: tuple[int, int] = (320, 240), side: float = 120.0) -> Clip:
    """Noise that differs from frame to frame; the face stays where it is."""
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (size[1], size[0], 3), np.uint8) for _ in range(frames)]
    return Clip("clip", pictures, 10.0, split, dict.fromkeys(range(split, frames), Headshot(160.0, 110.0, side)))


def result(name: str, kbps: int, gain: float = 2.0, codec: str = "VP8") -> dict:
    """A cell whose figures follow from its rate: every doubling is worth 2 dB, 3 exemplars `gain` dB."""
    figures = {}
    for number, row in enumerate(ROWS):
        better = gain if number == 3 else 0.0
        quality = 2 * np.log2(kbps) + better
        figures[row] = {
            "psnr": 20 + quality, "psnr_inner": 18 + quality, "ssim": 0.9, "lpips": 0.5 - 0.02 * quality,
            "identity": 0.8 + 0.01 * quality, "warp": 2.0,
        }  # fmt: skip
    outcomes = {"enhanced": 6, "carried": 3, "passed": 0, "dropped": 1}
    return {
        "cell": {"clip": name, "size": "320x180", "headshot": 96, "codec": codec, "kbps": kbps},
        "kbps": 1.1 * kbps, "figures": figures,
        "calls": {count: {"outcomes": outcomes, "bypasses": {}, "bank": 3} for count in ("1", "3")},
    }  # fmt: skip


# --- the plan


def test_near_and_far_clips_are_sent_as_they_are_and_the_others_at_a_headshot():
    cells = list(plan.Matrix(kbps=(20, 80)).cells([Path("close_a.mp4"), Path("far_b.mkv")]))
    assert len(cells) == 2 * 2 * 2 * 2
    assert {(c.size, c.headshot) for c in cells if c.clip.stem == "close_a"} == {("320x180", 96), ("640x360", 160)}
    assert {c.headshot for c in cells if c.clip.stem == "far_b"} == {None}
    assert len({c.name for c in cells}) == len(cells)


def test_headshots_that_do_not_fit_a_size_are_not_sent_at_it():
    matrix = plan.Matrix(kbps=(20,), codecs=("VP8",), headshots=(128, 240))
    assert [(c.size, c.headshot) for c in matrix.cells([Path("a.mp4")])] == [
        ("320x180", 128), ("640x360", 128), ("640x360", 240),
    ]  # fmt: skip


def test_short_takes_the_ends_and_the_middle_of_the_rates():
    matrix, timing = plan.short(plan.Matrix(), plan.Timing(speed=0.5))
    assert (matrix.kbps, matrix.sizes, matrix.codecs) == ((20, 80, 320), ((320, 180),), ("VP8",))
    assert timing.seconds < plan.Timing().seconds and timing.speed == 0.5
    assert plan.estimate(2, 2, timing) == pytest.approx(2 * plan.estimate(1, 2, timing))
    assert plan.estimate(1, 1, timing) > plan.estimate(1, 1, replace(timing, speed=1.0))


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (plan.parse_kbps, "20,x", "--kbps"),
        (plan.parse_kbps, "1", "5 and 5000"),
        (plan.parse_sizes, "320", "--sizes"),
        (plan.parse_sizes, "321x180", "even"),
        (plan.parse_codecs, "VP8,AV1", "AV1"),
        (plan.parse_headshots, "7", "16 and 1080"),
        (plan.parse_exemplars, "0,3", "1 and 3"),
        (plan.parse_layout, "zoom", "upscale"),
    ],
)
def test_wrong_options_say_what_would_be_right(parse, text, says):
    with pytest.raises(InputError, match=says):
        parse(text)


def test_options_are_read_in_any_order():
    assert plan.parse_kbps("80, 20,80") == (20, 80)
    assert plan.parse_exemplars("1,3") == (3, 1)
    assert plan.parse_sizes("640x360,320x180") == ((640, 360), (320, 180))
    assert plan.parse_codecs("h264") == ("H264",)


# --- what a call shows


@pytest.mark.parametrize("frames", [16, 20, 35, 90])
def test_no_frame_that_fills_the_bank_is_measured(frames):
    split = min(20, round(frames * 20 / 35))
    scene = stage(clip(frames, split), Geometry(64, 48, 0.2), TIMING)
    good = {scene.index(n) for n in range(scene.lead, scene.low)}
    low = {scene.index(n) for n in range(scene.low, scene.end)}
    assert good and low and max(good) < min(low)
    steps = [abs(scene.index(n + 1) - scene.index(n)) for n in range(scene.lead, scene.end - 1)]
    assert set(steps) == {1}, "a jump in time would be a cut that a camera does not make"


def test_the_frame_shows_the_face_where_the_scene_says():
    """A bright square where the face is, in the frame that is sent and in the truth."""
    source = clip()
    for frame in source.frames:
        frame[:] = 40
        frame[80:140, 130:190] = 220  # the middle half of the headshot: 160 ± 30, 110 ± 30
    scene = stage(source, framed(source, 160, 90, 60), TIMING)
    face = scene.face(scene.first)
    assert face is not None and face.side == pytest.approx(60)
    sent = cut(scene.picture(scene.first).rgb(), face)
    truth = scene.truth(scene.first, face)
    for picture in (sent, truth):
        bright = np.argwhere(picture[..., 1] > 130)
        assert np.abs(bright.min(0) - 64).max() <= 4 and np.abs(bright.max(0) - 191).max() <= 4
    enlarged = np.repeat(np.repeat(scene.picture(scene.first).rgb(), 2, 0), 2, 1)
    again = cut(enlarged[10:], moved(face, 2.0, 0, 10))
    assert np.abs(again.astype(int) - sent).mean() < 2


def test_a_clip_is_never_enlarged_and_needs_faces():
    with pytest.raises(Unusable, match="120 px"):
        framed(clip(), 640, 360, 160)
    faceless = replace(clip(), faces=dict.fromkeys(range(20, 35)))
    with pytest.raises(Unusable, match="show a face"):
        framed(faceless, 320, 180, 96)
    with pytest.raises(Unusable, match="show a face"):
        stage(faceless, framed(faceless, 320, 180, None), TIMING)


def test_a_clip_sent_as_it_is_keeps_its_shape():
    geometry = framed(clip(size=(240, 480)), 640, 360, None)
    assert (geometry.width, geometry.height, geometry.scale) == (180, 360, 0.75)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_the_rate_falls_to_what_is_asked_without_a_keyframe(codec):
    """Clouds that change at random take any rate that they are given."""
    source, timing = clip(), plan.Timing(fps=10, good=2, settle=1, measured=3, good_kbps=600)
    source.frames[:] = [cv2.GaussianBlur(frame, (0, 0), 4) for frame in source.frames]
    scene = stage(source, Geometry(320, 240, 1.0), timing)
    low, high = encode(scene, codec, 60, timing), encode(scene, codec, 300, timing)
    assert 45 < low.kbps < 130 and 200 < high.kbps < 390
    assert low.packets[: scene.low] == high.packets[: scene.low], "the beginning is the same at every rate"
    sizes = [len(packet or b"") for packet in low.packets]
    assert max(sizes[scene.low :]) < max(sizes[scene.lead : scene.low]) / 2
    assert [low.number(low.pts(n) + 3) for n in (0, 7, 40)] == [0, 7, 40]


@pytest.mark.parametrize("keyframe", [False, True])
def test_the_low_rate_begins_with_a_keyframe_where_that_is_asked_for(keyframe):
    scene = stage(clip(), Geometry(64, 48, 0.2), TIMING)
    packets = encode(scene, "VP8", 60, replace(TIMING, keyframe=keyframe)).packets
    found = [number for number, packet in enumerate(packets) if packet and not packet[0] & 1]  # RFC 6386, 9.1
    assert found == [0, scene.lead, *([scene.low] if keyframe else [])]


def test_slow_motion_sends_the_same_pictures_more_slowly():
    scene = stage(clip(), Geometry(64, 48, 0.2), TIMING)
    usual, slow = encode(scene, "VP8", 60, TIMING), encode(scene, "VP8", 60, replace(TIMING, speed=0.5))
    assert slow.packets == usual.packets and slow.kbps == usual.kbps
    assert slow.pts(10) == 2 * usual.pts(10)


# --- curves and reports


def test_curves_are_means_over_the_clips_that_are_whole():
    results = [result("a", k) for k in (20, 80, 320)] + [result("b", k, gain=4.0) for k in (20, 80, 320)]
    (one,) = gather([*results, result("c", 20)])
    assert one.clips == ("a", "b") and [round(p.kbps) for p in one.points] == [22, 88, 352]
    assert one.points[0].figures["3 exemplars"]["psnr"] == pytest.approx(20 + 2 * np.log2(20) + 3)
    assert one.points[0].outcomes["3"]["enhanced"] == 12 and one.points[0].bank["3"] == 3


def test_two_db_are_half_the_uplink_where_a_doubling_is_worth_two_db():
    (one,) = gather([result("a", k) for k in (20, 40, 80, 160, 320)])
    found = delta_rates(one)
    assert set(found) == set(ROWS[1:])
    for metric in ("psnr", "lpips", "identity"):
        assert found["3 exemplars"][metric].share == pytest.approx(0.5, rel=1e-6)
        assert found["1 exemplar"][metric].share == pytest.approx(1.0)
    (beyond,) = gather([result("a", k, gain=50.0) for k in (20, 40)])
    words = describe("lpips", delta_rates(beyond)["3 exemplars"]["lpips"])
    assert "do not overlap" in words and "22 kbit/s" in words and "0.50 ×" in words


def test_cells_that_came_out_worse_are_named():
    better, worse = result("a", 20), result("b", 20, gain=-1.0)
    (found,) = worse_cells([better, worse])
    assert found["clip"] == "b" and found["by"] == {
        "psnr": pytest.approx(-1.0), "lpips": pytest.approx(-0.02), "identity": pytest.approx(-0.01),
    }  # fmt: skip
    assert gains([better])["3 exemplars"]["psnr_gain"] == pytest.approx(2.0)


def test_the_report_shows_rates_figures_and_what_is_missing():
    results = [result("a", k) for k in (20, 40, 80)] + [result("a", k, -1.0, "H264") for k in (20, 40, 80)]
    text = report(results, TIMING, "The relay runs X.", ["c: too small"], ["cell-1: no frames"])
    assert "| 22 | plain | 28.64 | 0.327 | 0.886 | 2.00 |" in text
    assert "| 320x180, headshot 96 px, VP8 | 3 exemplars | 0.50 × (0.247 to 0.287) | 0.50 × (0.906 to 0.926) |" in text
    assert "3 of 6" in text and "- c: too small" in text and "- cell-1: no frames" in text
    assert "| 22 | 3 | 3.0 | 60 % | 30 % | 0 % | 10 % |" in text


def test_metrics_that_nobody_measured_are_left_out():
    results = [result("a", k) for k in (20, 40)]
    for one in results:
        for row in one["figures"].values():
            row["lpips"] = row["identity"] = None
    text = report(results, TIMING, "", [], [])
    assert "LPIPS |" not in text.split("## 320x180")[1] and "PSNR" in text
    assert set(delta_rates(gather(results)[0])["3 exemplars"]) == {"psnr"}


def test_pictures_are_written(tmp_path):
    draw_curves(gather([result("a", k) for k in (20, 40, 80)]), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.width > 1000
    names = [*ROWS, "truth"]
    row = np.concatenate([np.full((256, 256, 3), 20 * n, np.uint8) for n in range(len(names))], axis=1)
    Image.fromarray(row).save(tmp_path / "row.png")
    rows = [("a, 22 kbit/s", tmp_path / "row.png"), ("b", tmp_path / "missing.png")]
    draw_sheet(rows, names, ["plain", "3 exemplars", "truth"], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] == 3 * 256 and sheet.shape[0] < 2 * 256
    assert [int(sheet[150, 256 * n + 200, 0]) for n in range(3)] == [0, 60, 80]


# --- resuming


class Bench:
    """Stands in for the relays: notes what it is asked, and fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str] = []
        self.fails = fails

    def measure(self, cell, clip) -> dict:
        self.asked.append(cell.name)
        if cell.name.endswith(self.fails) and self.fails:
            raise CallFailed("no frames")
        return result(cell.clip.stem, cell.kbps)


@pytest.fixture
def clips(tmp_path, monkeypatch):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(name.encode())
    monkeypatch.setattr("server.proof.scene.read_clip", lambda path, timing: clip())
    return folder


def proving(monkeypatch, options, bench) -> tuple[int, dict]:
    monkeypatch.setattr(command._Run, "_bench", lambda self, stack: bench)
    code = command.prove(options, as_json=True)
    return code, json.loads((options.out / "proof.json").read_text())


def test_finished_cells_are_not_sent_again(clips, tmp_path, monkeypatch, capsys):
    matrix = plan.Matrix(kbps=(20, 80), sizes=((320, 180),), codecs=("VP8",))
    options = command.ProveOptions(clips, tmp_path / "out", matrix=matrix)
    first = Bench(fails="b-320x180-96-VP8-80")
    code, found = proving(monkeypatch, options, first)
    assert code == 1 and len(first.asked) == 4 and len(found["cells"]) == 3
    assert found["missing"] == ["b-320x180-96-VP8-80: no frames"]
    assert json.loads(capsys.readouterr().out) == found

    again = Bench()
    code, found = proving(monkeypatch, options, again)
    assert code == 0 and again.asked == ["b-320x180-96-VP8-80"] and len(found["cells"]) == 4

    more = Bench()
    proving(monkeypatch, replace(options, matrix=replace(matrix, kbps=(20, 40, 80))), more)
    assert more.asked == ["a-320x180-96-VP8-40", "b-320x180-96-VP8-40"]


def test_other_settings_and_another_clip_are_measured_anew(clips, tmp_path, monkeypatch):
    matrix = plan.Matrix(kbps=(20,), sizes=((320, 180),), codecs=("VP8",))
    options = command.ProveOptions(clips, tmp_path / "out", matrix=matrix)
    proving(monkeypatch, options, Bench())
    (clips / "a.mp4").write_bytes(b"another film")
    changed = Bench()
    proving(monkeypatch, options, changed)
    assert changed.asked == ["a-320x180-96-VP8-20"]
    slower = Bench()
    proving(monkeypatch, replace(options, timing=plan.Timing(speed=0.5)), slower)
    assert len(slower.asked) == 2


def test_rows_are_named_by_their_exemplars():
    assert [with_exemplars(n) for n in (0, 1, 3)] == list(ROWS[1:])
