"""GStreamer: webrtcbin, with signalling by `gst_peer.py`."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from benchmarks.clients.check import FPS, HEIGHT, WIDTH, Seen
from benchmarks.clients.process import run

PYTHON = "/usr/bin/python3"  # Debian's: it has Debian's bindings
SCRIPT = Path(__file__).with_name("gst_peer.py")
NEEDED = """
import gi
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstWebRTC, GstSdp
Gst.init(None)
for name in "webrtcbin nicesrc dtlsdec srtpdec vp8enc vp8dec x264enc openh264dec opusenc".split():
    assert Gst.ElementFactory.find(name), name
print(".".join(map(str, Gst.version()[:3])))
"""
PACKAGES = (
    "python3-gi gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)


class GStreamer:
    name = "GStreamer"
    publishes = ("VP8", "H264")
    watches = ("VP8", "H264")

    def missing(self) -> str:
        return "" if self.version() else f"GStreamer: `apt-get install {PACKAGES}`"

    def version(self) -> str:
        try:
            asked = subprocess.run([PYTHON, "-c", NEEDED], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return asked.stdout.strip()

    async def publish(self, url: str, codec: str, over: asyncio.Event) -> None:
        await run(_command("publish", url, codec), over)

    async def watch(self, url: str, codec: str, seen: Seen, over: asyncio.Event) -> None:
        await run(_command("watch", url, codec), over, seen)


def _command(way: str, url: str, codec: str) -> list[str]:
    return [PYTHON, str(SCRIPT), way, url, codec, str(WIDTH), str(HEIGHT), str(FPS)]
