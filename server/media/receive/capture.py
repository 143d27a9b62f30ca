"""When the publisher captured what the relay sends: lip sync rests on it."""

from __future__ import annotations


class CaptureClock:
    """Of one stream: from the relay's timestamps to the publisher's NTP clock, by the publisher's sender reports.

    Watchers play together what sender reports give one NTP time (RFC 3550, 6.4.1). Reports that name the time of
    sending, as aiortc's do, hide how long the relay, and the way to it, has held each stream up. The streams of one
    publisher share its clock, whatever that shows. All of it runs in the event loop.
    """

    def __init__(self, rate: int) -> None:
        """rate: timestamps per second."""
        self.rate = rate
        self._ssrc: int | None = None
        self._shift = 0  # from the publisher's timestamps to the relay's
        self._report: tuple[int, int] | None = None  # NTP and RTP timestamps of one instant

    def counted(self, ssrc: int, sent: int, given: int) -> None:
        """What the publisher stamped `sent` is `given` in the relay's count."""
        if ssrc != self._ssrc:
            self._ssrc, self._report = ssrc, None
        self._shift = given - sent

    def reported(self, ssrc: int, ntp: int, rtp: int) -> None:
        """A sender report. An NTP time of 0 says that the publisher has no clock, or has sent nothing yet."""
        if ntp and ssrc == self._ssrc:
            self._report = ntp, rtp

    def ntp(self, timestamp: int) -> int | None:
        """NTP time of a timestamp in the relay's count, in 1/2^32 s; None while the publisher has not reported."""
        if self._report is None:
            return None
        ntp, rtp = self._report
        since = (timestamp - self._shift - rtp + (1 << 31) & 0xFFFFFFFF) - (1 << 31)
        return ntp + (since << 32) // self.rate & (1 << 64) - 1
