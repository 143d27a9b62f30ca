"""How long a watcher's browser may hold frames back before it shows them.

Left to itself, libwebrtc holds frames back by what it takes for the network's unevenness, and so by that of the relay's
own work, which it cannot tell from it (the `unhurried` ways of benchmarks/glass). Where packets come evenly, frames
are to be shown as they come; where they do not, the browser is left to itself, as it would freeze otherwise.

The header extension is http://www.webrtc.org/experiments/rtp-hdrext/playout-delay: the least and the most time between
a frame's capture and its showing, in steps of 10 ms, 12 bits each. The last one that came holds.
"""

from __future__ import annotations

AT_ONCE = bytes(3)  # 0 to 0 ms
AS_NEEDED = (10_000 // 10).to_bytes(3, "big")  # 0 to 10 s, which is what libwebrtc goes by where nothing is said

UNEVEN = 0.04  # seconds that packets take longer than the quickest lately; less is a frame's time and goes unseen
SMOOTHING = 0.01  # weight of a report, of which about ten come each second
SELDOM, OFTEN = 0.01, 0.05  # shares of reports with uneven packets: to show frames at once again, and to cease to


class PlayoutDelay:
    """Of one watcher who reports when packets arrive."""

    def __init__(self) -> None:
        self.value = AT_ONCE  # as the extension has it
        self._share = 0.0

    def add(self, standing: float) -> None:
        """standing: how many seconds longer than the quickest lately a report's newest packet took."""
        self._share += SMOOTHING * ((standing > UNEVEN) - self._share)
        if self._share > OFTEN:
            self.value = AS_NEEDED
        elif self._share < SELDOM:
            self.value = AT_ONCE
