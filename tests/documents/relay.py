"""`hime serve` for the commands of documents, and the files that they speak of."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image
from skimage.data import astronaut

from benchmarks.shared.peers import numbered_frame
from tests.conformance.relay import offer

ROOT = Path(__file__).resolve().parents[2]
READY = re.compile(r"HIME Relay is ready on http://localhost:(\d+)")
STARTING = 120.0  # seconds, on a machine that is busy


def environment(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """A reader's, whose shell has `hime` and no settings but the given ones. An error of HTTP fails curl."""
    (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HIME_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict(given)


@contextmanager
def serving(command: list[str], cwd: Path, given: Mapping[str, str]) -> Iterator[int]:
    """The port of a relay that a command starts."""
    process = subprocess.Popen(command, cwd=cwd, env=environment(cwd, given), stdout=subprocess.PIPE, text=True)
    ends = threading.Timer(STARTING, process.kill)
    ends.start()
    try:
        assert process.stdout is not None
        port = next((int(found[1]) for line in process.stdout if (found := READY.search(line))), None)
        ends.cancel()
        assert port is not None, f"the relay ended, or was not ready within {STARTING:.0f} s"
        yield port
    finally:
        ends.cancel()
        process.terminate()
        process.wait(60)


def put_files(folder: Path) -> None:
    """What the documents call by name, and the way to what is in the repository."""
    for name in ("benchmarks", "docker", "docs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    Image.fromarray(astronaut()).save(folder / "me.jpg", quality=95)
    for name, direction in (("offer.sdp", "sendonly"), ("watch.sdp", "recvonly")):
        (folder / name).write_text(asyncio.run(offer(direction)), newline="")
    with av.open(str(folder / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number in range(60):
            frame = numbered_frame(number)
            frame.pts, frame.time_base = number, Fraction(1, 20)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
