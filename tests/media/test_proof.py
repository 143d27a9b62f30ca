"""`hime prove` whole, on a film of a moving portrait: a relay of its own, a real call, and what it says of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from server.proof.command import ProveOptions, prove
from server.proof.plan import Matrix, Timing

FPS, FRAMES = 10, 34


def film(path: Path) -> None:
    """The astronaut, headshot 200 px, swaying by some pixels from frame to frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "12", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 480, 320, "yuv420p"
        for number in range(FRAMES):
            turn = cv2.getRotationMatrix2D((224.5, 122.0), 4 * math.sin(number / 5), 1.0)
            turn[:, 2] += (15.5 + 25 * math.sin(number / 4), 50 + 6 * math.sin(number / 3))
            rgb = cv2.warpAffine(data.astronaut(), turn, (480, 320), borderValue=(96, 104, 112))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.timeout(240)
def test_a_call_is_sent_measured_and_not_sent_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    film(clips / "astronaut.mp4")
    # Half the speed: a loaded machine shall drop few frames.
    timing = Timing(fps=FPS, good=1.5, settle=0.4, measured=1.4, good_kbps=500, speed=0.5)
    matrix = Matrix(kbps=(80,), sizes=((320, 180),), codecs=("VP8",))
    options = ProveOptions(clips, out, matrix=matrix, timing=timing, exemplars=(3,), moments=6)
    assert prove(options, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((out / "proof.json").read_text())

    (cell,) = told["cells"]
    print(cell["kbps"], cell["figures"], cell["calls"])
    assert 50 < cell["kbps"] < 120 and cell["moments"] >= 4
    assert 90 < cell["headshot_px"] < 102 and 180 < cell["truth_px"] < 220
    assert set(cell["figures"]) == {"plain", "0 exemplars", "3 exemplars"}
    plain = cell["figures"]["plain"]
    # A frame taken for its neighbour, or a face cut three pixels off, would be at 20 dB.
    assert plain["psnr"] > 25 and plain["lpips"] is None
    assert cell["truth_warp"] < plain["warp"] < 20
    calls = cell["calls"]["3"]
    assert sum(calls["outcomes"].values()) >= 8
    with Image.open(out / "cells" / "astronaut-320x180-96-VP8-80.png") as row:
        assert row.size == (4 * 256, 256)
    assert (out / "table.md").read_text().count("| plain |") >= 2
    assert {p.name for p in out.glob("*.png")} == {"curves-320x180.png", "sheet-320x180-96-VP8.png"}

    kept = (out / "cells" / "astronaut-320x180-96-VP8-80.json").stat().st_mtime_ns
    assert prove(options) == 0  # without a relay: nothing is left to measure
    assert "## 320x180, headshot 96 px, VP8" in capsys.readouterr().out
    assert (out / "cells" / "astronaut-320x180-96-VP8-80.json").stat().st_mtime_ns == kept
