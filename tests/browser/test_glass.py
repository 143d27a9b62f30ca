"""The glass-to-glass benchmark's ends: the time in a camera's frame is read back from what another browser shows."""

from __future__ import annotations

from playwright.sync_api import Playwright

from benchmarks.glass.browsers import Ends, Plain, Relayed
from benchmarks.glass.figures import Reading, by_marks, by_timestamps
from server.media.negotiation import PLAYOUT_DELAY
from tests.browser.conftest import Server, until


def test_the_time_of_each_frame_comes_through_the_relay(playwright: Playwright, server: Server) -> None:
    ends = Ends(playwright, (640, 360))
    way = Relayed(server.url, "/whip/glass/ann", "/whep/glass/ann?view=original&layout=upscale&width=640")
    readings: list[Reading] = []

    def enough() -> bool:
        readings.extend(call.frames())
        return len(by_marks(readings)) > 60

    try:
        call = Plain(ends, way, 320)
        until(enough, 60, "no frames that can be read")
        assert PLAYOUT_DELAY in call.watcher.evaluate("watcher.pc.remoteDescription.sdp")
        assert PLAYOUT_DELAY not in call.publisher.evaluate("publisher.pc.remoteDescription.sdp")
        call.end()
    finally:
        ends.close()
    frames = by_marks(readings)
    assert len(readings) - len(frames) < 5
    known = by_timestamps([one for one in readings if one.mark is not None], readings)
    assert all(abs(a.made - b.made) < 20 for a, b in zip(frames, known, strict=True))
    made = [frame.made for frame in frames]
    assert made == sorted(made) and len(set(made)) > 50
    assert all(frame.made < frame.received < frame.shown + 1000 and frame.width == 640 for frame in frames)
    assert all(frame.received - frame.made < 30_000 for frame in frames)  # or the mark was misread
