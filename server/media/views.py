"""What is watched of one stream: each view in each layout and width rendered once, and encoded once per codec.

A view is rendered in two halves: what needs no enhanced face can be done while that is awaited.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import av

from hime_core.compositing.detail import Patch
from hime_core.compositing.layout import USUAL_WIDTH, Layout, View, enlargement, width_class
from hime_core.compositing.render import Placed, Renderer
from hime_core.faces.geometry import Headshot
from hime_core.video.coding import Coding
from hime_core.video.picture import Picture
from server.load.stream import StreamLoad
from server.media.rates import Smoothed
from server.media.receive.capture import CaptureClock
from server.media.send.encoder import Codec, Encoding
from server.media.send.fanout import EncodedStream
from server.media.send.layer_encoder import Shown
from server.media.send.tracks import VideoFeed, VideoTrack
from server.observability.metrics import Metrics

Wanted = Callable[[View, Layout], bool]
Key = tuple[View, Layout, int | None]  # the last: the width class, None where frames keep their size
Faces = tuple[Headshot, ...]


@dataclass(frozen=True, eq=False)
class Received:
    """A decoded frame. time: when its last packet came, clock seconds. coding: None where it is not known."""

    frame: av.VideoFrame
    time: float
    coding: Coding | None = None


@dataclass(frozen=True, eq=False)
class _Watched:
    """One view in one layout and width. Changed in the event loop only."""

    renderer: Renderer
    plain: Renderer | None = None  # of the same at the frame's own size, where it is enlarged otherwise
    streams: dict[Codec, EncodedStream] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PlacedView:
    """A view half rendered. placed: None where that failed."""

    renderer: Renderer
    streams: list[EncodedStream]
    picture: Picture
    placed: Placed | None


class Views:
    """watch() and end_tracks() are for the event loop, the rest for the stream's threads."""

    def __init__(
        self,
        metrics: Metrics,
        capture: CaptureClock,
        encoding: Encoding,
        failed: Callable[[str], None],
        renderer: Callable[[View, Layout, int | None], Renderer] = Renderer,
        clock: Callable[[], float] = time.monotonic,
        load: StreamLoad | None = None,
    ) -> None:
        """capture: the stream's; failed: called in an exception's handler, with where it was raised. load: the stream's
        part in the machine's."""
        self._load = load or StreamLoad()
        self.watched: dict[Key, _Watched] = {}
        self.tracks: dict[VideoTrack, Key | None] = {}  # and what each is encoded for, from its start on
        self.frame_size: tuple[int, int] | None = None  # the newest frame's width and height, set by who receives it
        self.renderer = renderer
        self._metrics, self._capture, self._encoding = metrics, capture, encoding
        self._failed = failed
        self._clock = clock
        self._lock = threading.Lock()
        self._latency = Smoothed()
        self._closing: list[EncodedStream] = []

    @property
    def latency(self) -> float | None:
        """Seconds from a frame's last packet to its encoded packets, smoothed; None while nobody watches."""
        return self._latency.value

    # --- in the event loop

    def watch(
        self, view: View, layout: Layout, shown: int | None = None, track: VideoTrack | None = None
    ) -> VideoTrack:  # fmt: skip
        """A new track of that view, which is encoded from the track's start() on; stop() on it ends the watching.

        shown: pixels of the longer side that the watcher shows; None: it does not say. track: a released one, which
        goes on with that view instead.
        """
        feed = VideoFeed(
            self._capture,
            on_start=lambda track: self._start(track, view, layout, shown),
            on_sent=self._sent,
            on_skipped=lambda frames: self._metrics.unsent("slow_watcher", frames),
            on_unrepaired=self._metrics.unrepaired,
        )
        watched = VideoTrack(self._encoding.bitrates, feed, self._clock) if track is None else track
        if not watched.ended:
            self.tracks[watched] = None
            watched.on_released(lambda: self._unwatch(watched))
        if track is not None and not track.ended:
            track.bind(feed)
        return watched

    def end_tracks(self) -> None:
        for track in list(self.tracks):
            track.stop()

    def _start(self, track: VideoTrack, view: View, layout: Layout, shown: int | None) -> None:
        key = view, layout, self._width(view, layout, shown)
        watched = self.watched.get(key)
        if watched is None:
            plain = self.renderer(view, "native", None) if layout == "upscale" else None
            watched = _Watched(self.renderer(*key), plain)
        stream = watched.streams.get(track.codec)
        if stream is None:
            loop = asyncio.get_running_loop()
            stream = EncodedStream(track.codec, self._encoding, self._metrics, loop, self._clock, load=self._load)
        stream.add(track)
        with self._lock:
            watched.streams[track.codec] = stream
            self.watched[key] = watched
        self.tracks[track] = key

    def _width(self, view: View, layout: Layout, shown: int | None) -> int | None:
        """The width class. A frame that even the usual one does not enlarge is encoded once for that and all below."""
        width = width_class(view, layout, shown)
        if width is None or self.frame_size is None:
            return width
        same = enlargement(*self.frame_size, width) == enlargement(*self.frame_size)
        return max(width, USUAL_WIDTH) if same else width

    def _unwatch(self, track: VideoTrack) -> None:
        key = self.tracks.pop(track, None)
        if key is None:
            return
        watched = self.watched[key]
        stream = watched.streams[track.codec]
        if stream.remove(track):
            return
        with self._lock:
            del watched.streams[track.codec]
            if not watched.streams:
                del self.watched[key]
            if not self.watched:
                self._latency.value = None
        stream.close()
        self._closing = [other for other in self._closing if other.alive] + [stream]

    def _sent(self, latency: float) -> None:
        self._latency.add(latency)
        self._load.felt.frame(latency)
        self._metrics.frame_latency(latency)

    # --- in the stream's threads

    def any(self, wanted: Wanted) -> bool:
        """Whether a view that is wanted is watched."""
        with self._lock:
            return any(wanted(view, layout) for view, layout, _ in self.watched)

    def shrinks(self) -> float:
        """The share of the encoded pixels that is left where nothing is enlarged, 0..1."""
        if self.frame_size is None:
            return 1.0
        with self._lock:
            watched = list(self.watched)
        factors = [
            enlargement(*self.frame_size, width or USUAL_WIDTH) if layout == "upscale" else 1.0
            for _, layout, width in watched
        ]
        return len(factors) / sum(factor**2 for factor in factors) if factors else 1.0

    def show_originals(self, picture: Picture, faces: Faces, received: Received, layouts: Sequence[Layout]) -> None:
        """Renders the original views in these layouts and hands them out."""
        for renderer, streams in self._now(lambda view, layout: view == "original" and layout in layouts):
            self._hand_out(self._plain(renderer, picture, faces), streams, received)

    def place(self, picture: Picture, faces: Faces) -> list[PlacedView]:
        """The first half of those that show what is enhanced."""
        views = []
        for renderer, streams in self._now(lambda view, layout: view != "original"):
            placed = None
            try:
                placed = renderer.place(picture, faces)
            except Exception:
                self._failed("render")
            views.append(PlacedView(renderer, streams, picture, placed))
        return views

    def show(self, views: Sequence[PlacedView], patches: Sequence[Patch], received: Received) -> bool:
        """The second half, and hands them out; False where one could not be rendered and was shown as it came."""
        whole = True
        for view in views:
            picture = self._added(view, patches)
            if picture is None:
                whole, picture = False, self._plain(view.renderer, view.picture, ())
            self._hand_out(picture, view.streams, received)
        return whole

    def join(self) -> None:
        """Waits for the encoders' threads, once the tracks have ended. Blocks: not for the event loop's thread."""
        for stream in self._closing:
            stream.join()

    def _now(self, wanted: Wanted) -> list[tuple[Renderer, list[EncodedStream]]]:
        plain = not self._load.rung.enlarges
        with self._lock:
            return [
                (one.plain if plain and one.plain else one.renderer, list(one.streams.values()))
                for (view, layout, _), one in self.watched.items()
                if wanted(view, layout)
            ]

    def _added(self, view: PlacedView, patches: Sequence[Patch]) -> Picture | None:
        if view.placed is None:
            return None
        try:
            return view.renderer.add(view.placed, patches)
        except Exception:
            self._failed("render")
            return None

    def _plain(self, renderer: Renderer, picture: Picture, faces: Faces) -> Picture:
        """Plainly enlarged if that works, else untouched."""
        try:
            return renderer.place(picture, faces).picture
        except Exception:
            self._failed("render")
            return picture

    def _hand_out(self, picture: Picture, streams: Sequence[EncodedStream], received: Received) -> None:
        frame = received.frame
        assert frame.pts is not None and frame.time_base is not None  # the receiver gave them
        for stream in streams:
            stream.put(Shown(picture, frame.pts, frame.time_base, received.time))
