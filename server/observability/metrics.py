"""What the relay measures: for Prometheus since it started, and for the dashboard second by second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client import generate_latest as exposition
from prometheus_client.registry import Collector

from hime_core.exemplars.decisions import DECISIONS
from hime_core.stream.demand import REFERENCES, levels
from hime_core.stream.ladder import RUNGS
from server.observability.history import History
from server.observability.machine import Usage
from server.observability.window import Names

STAGES = (
    "receive",
    "decode",
    "convert",
    "detect",
    "track",
    "recognise",
    "select",
    "queue",
    "enhance",
    "composite",
    "encode",
)
OUTCOMES = ("enhanced", "carried", "passed", "dropped")
PACKETS = ("recovered", "lost", "late")
UNSENT = ("slow_encoder", "slow_watcher", "error")
LEVELS = tuple(level.name for level in levels(REFERENCES))
BYPASSES = (
    "late",
    "error",
    "no_face",
    "close",
    "no_exemplar",
    "unrecognised",
    "too_large",
    "overload",
    "unwatched",
    "shed",
)
WORKER_STATES = ("starting", "ready", "full", "ending", "down")
RECOGNITIONS = ("recognised", "corrected", "error")

DURATIONS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0)
UNOBSERVED = 256  # durations that wait for their histogram at most
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
STEPS = (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181)  # half an octave each, from VP8's finest
GAPS = (0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800, 3600)

Kind = TypeVar("Kind", Counter, Gauge, Histogram)

disable_created_metrics()  # a `_created` series beside each counter tells nothing here


class Metrics:
    """Fed by one cheap call per event, from any thread. Durations and ages in seconds.

    A label that the design does not know raises KeyError. Keyframe reasons are the encoder's to choose.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self._durations = _Durations()
        self.registry.register(self._durations)  # first, as the registry collects in this order
        self.history = History(Names(OUTCOMES, BYPASSES, LEVELS, RECOGNITIONS, DECISIONS), clock, wall)
        ProcessCollector(registry=self.registry)

        def make(kind: type[Kind], name: str, text: str, **options: Any) -> Kind:
            return kind(f"hime_{name}", text, registry=self.registry, **options)

        def by(
            label: str, values: Sequence[str], kind: type[Kind], name: str, text: str, **options: Any
        ) -> dict[str, Kind]:  # fmt: skip
            """One for each of the label's values: those that have not come yet are told as 0."""
            metric = make(kind, name, text, labelnames=[label], **options)
            return {value: metric.labels(value) for value in values}

        self._stages = by(
            "stage",
            STAGES,
            Histogram,
            "stage_duration_seconds",
            "Time one frame or face spends in one stage",
            buckets=DURATIONS,
        )
        self._frames = by("outcome", OUTCOMES, Counter, "frames", "Received frames by what became of them")
        self._bypasses = by("reason", BYPASSES, Counter, "bypass", "Faces that were not freshly enhanced, by reason")
        self._recognitions = by(
            "outcome", RECOGNITIONS, Counter, "recognition", "Faces that were recognised, by what came of it"
        )
        text = "Faces looked at for a bank, and exemplars that went, by what was decided"
        self._decisions = by("decision", DECISIONS, Counter, "bank_decisions", text)
        # Frames, not streams: a share of time that no scrape can miss, where a gauge would show the moment of it.
        text = "Watched frames with a face to enhance, by the level of demand on the engine"
        self._demands = by("level", LEVELS, Counter, "demand_frames", text)
        self._latency = make(
            Histogram,
            "frame_latency_seconds",
            "From a frame's last received packet to its encoded packets handed on",
            buckets=DURATIONS,
        )
        self._batch = make(Histogram, "batch_size", "Faces in one batch of the network", buckets=BATCHES)
        self._gap = make(Histogram, "reference_gap_seconds", "Age of the exemplars used", buckets=GAPS)
        self._step = make(
            Histogram,
            "quantizer_step",
            "Quantizer step of received frames, in grey levels of an orthonormal transform",
            buckets=STEPS,
        )
        self._bank = make(Gauge, "bank_exemplars", "Exemplars of all streams, and of those that may come back")
        self._streams = make(Gauge, "streams", "Media streams by direction", labelnames=["direction"])
        self._gpu = make(Gauge, "gpu_share", "Share of the time that the first graphics card is busy, 0 to 1")
        self._ready = make(Gauge, "ready", "Whether the relay has all that it needs, as /readyz tells it: 1 or 0")
        self._keyframes = make(Counter, "keyframes", "Keyframes encoded, by reason", labelnames=["reason"])
        self._keyframe_requests = make(
            Counter, "keyframe_requests", "Keyframes asked of publishers, by reason", labelnames=["reason"]
        )
        text = "Publishers' video packets that did not come in their turn, by outcome"
        self._packets = by("outcome", PACKETS, Counter, "missing_packets", text)
        self._skipped = make(Counter, "frames_skipped", "Publishers' frames that packet loss made undecodable")
        self._freezes = make(Counter, "freezes", "Publishers' pictures that stood still, as in webrtc-stats")
        text = "Rendered frames that did not reach a watcher"
        self._unsent = by("reason", UNSENT, Counter, "unsent_frames", text)
        self._unrepaired = make(
            Counter, "unrepaired_packets", "Packets that a watcher asked for and its path had no room for"
        )
        self._narrow = make(Counter, "narrow_paths", "Watchers whose path fell below the lowest bitrate")
        self._layers = make(
            Counter, "layer_changes", "Watchers given another layer of a view, by which", labelnames=["layer"]
        )
        self._shed = by("rung", RUNGS, Gauge, "shed_streams", "Streams by the rung of the ladder that they are on")
        text = "Steps of streams down the ladder, as the machine was short, and up again"
        self._steps = by("direction", ("down", "up"), Counter, "shed_steps", text)
        text = "Share of watched frames that were late or lost in the last second, 0 to 1"
        self._late = make(Gauge, "late_share", text)
        text = "Share of the time in which somebody waited for a processor, as the kernel tells it, 0 to 1"
        self._stalled = make(Gauge, "processor_stalled_share", text)
        self._lag = make(Gauge, "event_loop_lag_seconds", "How late the event loop came to a timer")
        self._refused = make(
            Counter, "refused", "Requests and packets refused by a rule or a limit, by which", labelnames=["reason"]
        )
        self._failures = make(
            Counter, "failures", "Parts that failed and were started again, or replaced", labelnames=["part"]
        )
        self._workers: Gauge | None = None
        self.used = Usage()  # as it was looked at last
        for direction in ("in", "out"):
            self.set_streams(direction, 0)

    def stage(self, name: str, seconds: float) -> None:
        self._durations.add(self._stages[name], seconds)
        self.history.sample(name, seconds)

    def frame_latency(self, seconds: float) -> None:
        self._durations.add(self._latency, seconds)
        self.history.sample("frame_latency", seconds)

    def frame(self, outcome: str) -> None:
        self._frames[outcome].inc()
        self.history.count(outcome)

    def bypass(self, reason: str) -> None:
        self._bypasses[reason].inc()
        self.history.count(reason)

    def recognition(self, outcome: str) -> None:
        """recognised: a face is somebody's who was known; corrected: it had been taken for another's; error."""
        self._recognitions[outcome].inc()
        self.history.count(f"recognition {outcome}")

    def bank_decision(self, decision: str) -> None:
        """decision: one of `hime_core.exemplars.decisions.DECISIONS`."""
        self._decisions[decision].inc()
        self.history.count(f"bank {decision}")

    def demand(self, level: str) -> None:
        """A frame that something could be asked of the engine for, at that level."""
        self._demands[level].inc()
        self.history.count(level)

    def batch(self, size: int) -> None:
        self._batch.observe(size)
        self.history.sample("batch_size", size)

    def reference_gap(self, seconds: float) -> None:
        self._gap.observe(seconds)
        self.history.sample("reference_gap", seconds)

    def quantizer(self, step: float) -> None:
        """Of a received frame, as in `hime_core.video.coding.Coding`."""
        self._step.observe(step)
        self.history.sample("quantizer_step", step)

    def keyframe(self, reason: str) -> None:
        self._keyframes.labels(reason).inc()

    def packets(self, outcome: str, count: int) -> None:
        """outcome: recovered, lost or late, of video packets that did not come in turn."""
        self._packets[outcome].inc(count)

    def skipped(self, frames: int) -> None:
        """Frames received in part, or with nothing to decode them with."""
        self._skipped.inc(frames)

    def freeze(self) -> None:
        """A publisher's picture stood still until now, as W3C's webrtc-stats counts it."""
        self._freezes.inc()

    def keyframe_request(self, reason: str) -> None:
        """A keyframe asked of a publisher: start, gap, decoder, backlog or restart."""
        self._keyframe_requests.labels(reason).inc()

    def unsent(self, reason: str, frames: int = 1) -> None:
        """reason: slow_encoder (counted per encoding), slow_watcher (per watcher) or error (per encoding)."""
        self._unsent[reason].inc(frames)

    def unrepaired(self, packets: int) -> None:
        """A watcher asked for them, but they would have come too late beside the picture."""
        self._unrepaired.inc(packets)

    def narrow_path(self) -> None:
        self._narrow.inc()

    def layer(self, layer: str) -> None:
        """A watcher's path has changed, and with it the layer that it gets: full or reduced."""
        self._layers.labels(layer).inc()

    def shed_step(self, direction: str) -> None:
        """A stream has stepped `down` the ladder of `hime_core/stream/ladder.py`, or `up`."""
        self._steps[direction].inc()

    def pressure(self, late: float, lag: float, stalled: float | None, rungs: Mapping[str, int]) -> None:
        """late, stalled: shares, the latter None where nobody tells; lag: the event loop's, seconds; rungs: streams on
        each."""
        self._late.set(late)
        self._lag.set(lag)
        self.history.sample("late_share", late)
        if stalled is not None:
            self._stalled.set(stalled)
            self.history.sample("stalled_share", stalled)
        for rung, gauge in self._shed.items():
            gauge.set(rungs.get(rung, 0))
        self.history.rungs = {rung: rungs.get(rung, 0) for rung in RUNGS}

    def refused(self, reason: str) -> None:
        """Something was refused. reason: a short fixed word, never anything that the caller sent."""
        self._refused.labels(reason).inc()

    def failure(self, part: str) -> None:
        """A part failed, and was started again or replaced. part: a short fixed word."""
        self._failures.labels(part).inc()

    def fps_in(self) -> None:
        self.history.count("fps_in")

    def fps_out(self) -> None:
        self.history.count("fps_out")

    def set_streams(self, direction: str, count: int) -> None:
        """direction: in or out; count: the streams there are now."""
        self._streams.labels(direction).set(count)
        self.history.set_streams(direction, count)

    def set_bank(self, exemplars: int) -> None:
        """exemplars: those of all streams together, remembered ones included."""
        self._bank.set(exemplars)
        self.history.bank_exemplars = exemplars

    def usage(self, usage: Usage) -> None:
        """What the machine has to do. The processor's and the memory's are Prometheus' own `process_…` as well."""
        self.used = usage
        for series, value in usage._asdict().items():
            if value is not None:
                self.history.sample(series, value)
        if usage.gpu_share is not None:
            self._gpu.set(usage.gpu_share)

    def set_workers(self, states: Mapping[str, int]) -> None:
        """How many worker processes there are in each state; of a front alone."""
        if self._workers is None:
            text = "Worker processes by state"
            self._workers = Gauge("hime_workers", text, labelnames=["state"], registry=self.registry)
        for state in WORKER_STATES:
            self._workers.labels(state).set(states.get(state, 0))

    def set_ready(self, ready: bool) -> None:
        self._ready.set(ready)

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return exposition(self.registry)


class _Durations(Collector):
    """Durations on the way to their histograms, which they cost a third of the time in if many come at once."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Histogram, float]] = deque()  # from several threads

    def add(self, histogram: Histogram, seconds: float) -> None:
        self._waiting.append((histogram, seconds))
        if len(self._waiting) >= UNOBSERVED:
            self._observe()

    def collect(self) -> Iterable[Metric]:
        """Of its own it has no metric; whoever collects finds all durations in their histograms."""
        self._observe()
        return ()

    def _observe(self) -> None:
        with suppress(IndexError):
            while True:
                histogram, seconds = self._waiting.popleft()
                histogram.observe(seconds)
