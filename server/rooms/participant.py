"""One participant of a room: what it publishes, who watches it, and what its enhancer knows of it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2

from hime_core.compositing.layout import Layout, View
from hime_core.enhancer import Enhancer
from hime_core.exemplar import Exemplar
from hime_core.faces.geometry import crop
from server.media.negotiation import Offer
from server.media.pipeline import VideoPipeline
from server.media.send.encoder import Encoding
from server.media.send.tracks import AudioRelay
from server.media.session import Session
from server.observability.metrics import Metrics

STALLED = 0.5  # frames per second, below which a stream that was live is stalled
THUMBNAIL = 96  # pixels


class Participant:
    """Lives from the answer to its offer until it leaves. person: whose photos it takes along, if anyone's."""

    def __init__(
        self,
        name: str,
        person: str | None,
        session: Session,
        enhancer: Enhancer | None,
        metrics: Metrics,
        encoding: Encoding,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """enhancer: None without video. on_media may be set: called when the first frame or packet has come."""
        loop = asyncio.get_running_loop()
        self.on_media: Callable[[], None] = lambda: None
        self.name = name
        self.person = person
        self.session = session
        self.enhancer = enhancer
        self.watchers: dict[str, Session] = {}
        self.joined = False
        self._clock = clock
        self._forgotten: set[str] = set()
        self.video: VideoPipeline | None = None
        if enhancer is not None:
            first = lambda: loop.call_soon_threadsafe(lambda: self.on_media())  # noqa: E731
            self.video = VideoPipeline(enhancer, metrics, first, encoding, clock=clock)
        self.audio = AudioRelay(
            on_first_packet=lambda: None if self.video else self.on_media(),
            clock=clock,
        )

    async def watch(self, session: Session, offer: Offer, view: View, layout: Layout, shown: int | None = None) -> None:
        """Answers a watcher's offer. shown: pixels of the longer side that it shows. Raises InvalidOffer."""
        video = self.video.watch(view, layout, shown) if self.video and "video" in offer.receives else None
        audio = self.audio.watch(video.audio_delay if video else lambda: 0.0) if "audio" in offer.receives else None
        self.watchers[session.id] = session
        try:
            await session.watch(offer, video, audio)
        except BaseException:
            self.watchers.pop(session.id, None)
            raise

    def add_photos(self, exemplars: Sequence[Exemplar]) -> None:
        """What the person's stream starts with, less what has been deleted while it was being read."""
        if self.enhancer is not None and self.person is not None:
            for exemplar in exemplars:
                if exemplar.id not in self._forgotten:
                    self.enhancer.bank.add_photo(exemplar)

    def forget(self, exemplar_ids: Iterable[str] | None) -> None:
        """Drops these exemplars; None drops the person: all exemplars, and photos that come later."""
        if self.enhancer is None:
            return
        ids = None if exemplar_ids is None else list(exemplar_ids)
        if ids is None:
            self.person = None
            self._forgotten.update(exemplar.id for exemplar in self.enhancer.bank.exemplars())
        else:
            self._forgotten.update(ids)
        self.enhancer.forget(ids)

    async def close(self) -> None:
        """Ends every session and thread of the participant."""
        sessions = [self.session, *self.watchers.values()]
        self.watchers.clear()
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
        self.audio.close()
        if self.video is not None:
            self.video.end_tracks()
            await asyncio.to_thread(self.video.close)

    def stats(self) -> dict[str, Any]:
        """Rates per second, the frames' outcomes since the start, and the smoothed latency in ms (None: unwatched)."""
        video = self.video
        if video is None:
            return {"fps_in": 0.0, "fps_out": 0.0, "state": "live", "outcomes": {}, "latency_ms": None}
        fps_in = video.rate_in.rate()
        return {
            "fps_in": round(fps_in, 1),
            "fps_out": round(video.rate_out.rate(), 1),
            "state": "live" if fps_in >= STALLED else "stalled",
            "outcomes": {name: video.outcomes[name] for name in ("enhanced", "carried", "passed", "dropped")},
            "latency_ms": None if video.latency is None else round(1000 * video.latency, 1),
        }

    def bank(self) -> list[dict[str, Any]]:
        """The exemplars in use, with thumbnails as data: URLs. Encodes JPEGs: not for the event loop's thread."""
        if self.enhancer is None or self.video is None:
            return []
        return [self._described(exemplar, self.video.frames) for exemplar in self.enhancer.bank.exemplars()]

    def _described(self, exemplar: Exemplar, frame: int) -> dict[str, Any]:
        return {
            "id": exemplar.id,
            "source": exemplar.source,
            "age_frames": max(0, frame - exemplar.frame),
            "age_seconds": round(max(0.0, self._clock() - exemplar.time), 2),
            "sharpness": round(float(exemplar.sharpness), 4),
            "yaw": round(float(exemplar.yaw), 1),
            "native_px": exemplar.native_px,
            "thumbnail": _thumbnail(exemplar),
        }


def _thumbnail(exemplar: Exemplar) -> str:
    shot = exemplar.headshot
    face = crop(exemplar.image, round(shot.cx - shot.side / 2), round(shot.cy - shot.side / 2), round(shot.side))
    small = cv2.resize(face, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
