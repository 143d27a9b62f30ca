"""A thread of a stream that meets an error goes on with the next frame, and the error is counted."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
from aiortc.codecs import get_encoder

from hime_core.people.people import People
from server.app import create_app
from server.media.receive import decode
from server.media.receive.decode import Decoder
from server.settings import Settings
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine
from tests.unit.test_failing_engine import Backend, Stream
from tests.unit.test_receiver import VP8, Clock, Sink, encoded, frame, vp8_depayload


def _decoded(sink: Sink, frames: int, failed: list[bool]) -> None:
    """Runs a decoder over that many frames, of which every second is a keyframe."""
    decoder = Decoder(sink, lambda: None, lambda: failed.append(True), Clock())
    encoder = get_encoder(VP8)
    for number in range(frames):
        payloads, _ = encoder.encode(frame(number), force_keyframe=number % 2 == 0)
        decoder.put("VP8", encoded(number, b"".join(map(vp8_depayload, payloads)), 0.0))
    decoder._queue.put(None)
    decoder.run()


@pytest.mark.parametrize("error", [ValueError("of our own"), MemoryError()])
def test_a_decoder_that_breaks_is_made_anew_and_a_keyframe_asked_for(monkeypatch: pytest.MonkeyPatch, error) -> None:
    made, make = [], decode.make_decoder

    def make_decoder(codec: str, pixels: int, device: str | None):
        made.append(make(codec, pixels, device))
        if len(made) == 1:
            monkeypatch.setattr(made[0], "decode", lambda packet: _raise(error))
        return made[-1]

    monkeypatch.setattr(decode, "make_decoder", make_decoder)
    sink, failed = Sink(), []
    _decoded(sink, 4, failed)
    assert sink.failures == ["decoder"] and len(made) == 2
    assert failed  # by which a keyframe is asked for
    assert [one.pts for one, _ in sink.frames] == [6000, 9000]  # the second frame needs the lost first


def test_a_sink_that_raises_does_not_end_the_decoder() -> None:
    class Failing(Sink):
        def receive(self, frame, received, coding) -> None:
            if frame.pts == 0:
                raise RuntimeError("of the pipeline")
            super().receive(frame, received, coding)

    sink = Failing()
    _decoded(sink, 4, [])
    assert sink.failures == ["decoder"]
    assert [one.pts for one, _ in sink.frames] == [6000, 9000]


def test_no_decoder_at_all_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], decode.make_decoder

    def make_decoder(codec: str, pixels: int, device: str | None):
        made.append(codec)
        return make(codec, pixels, device) if len(made) > 2 else _raise(OSError(12, "Cannot allocate memory"))

    monkeypatch.setattr(decode, "make_decoder", make_decoder)
    sink = Sink()
    _decoded(sink, 4, [])
    assert sink.failures == ["decoder"] * 2 and len(sink.frames) == 2


def _raise(error: Exception):
    raise error


@pytest.mark.parametrize("part", ["show_originals", "any", "place", "show"])
def test_whatever_fails_around_the_views_costs_its_frames_only(part: str) -> None:
    made = Stream(Backend(lambda faces: None))
    views, failing = made.pipeline.views, True
    works = getattr(views, part)

    def fails(*arguments, **options):
        if failing:
            raise RuntimeError("on purpose")
        return works(*arguments, **options)

    setattr(views, part, fails)
    try:
        made.send(0.5)
        assert made.outcome("dropped") > 0
        assert made.count("hime_bypass_total", "error") > 0
        failing = False
        made.send_until(lambda: made.outcome("enhanced") + made.outcome("passed") > 10)
        assert made.pipeline._in_flight <= 1 or made.send(0.3) is None
        assert all(thread.is_alive() for thread in made.pipeline._threads)
    finally:
        made.pipeline.close()
        made.engine.close()
    assert sum(made.outcome(name) for name in ("enhanced", "carried", "passed", "dropped")) == made.sent


def test_a_pipeline_without_threads_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from server.media.pipeline import VideoPipeline
    from server.observability.metrics import Metrics

    closed, start = [], threading.Thread.start

    class Enhancer:
        people = People()

        def close(self) -> None:
            closed.append(True)

    def scarce(self: threading.Thread) -> None:
        if self.name == "video-finish":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    before = threading.active_count()
    pipeline = VideoPipeline(Enhancer(), Metrics())
    with pytest.raises(RuntimeError, match="new thread"):
        pipeline.start()
    pipeline.close()
    assert closed and threading.active_count() == before


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
async def test_broken_weights_leave_the_relay_serving_and_unready(tmp_path, content: bytes) -> None:
    weights = tmp_path / "broken.safetensors"
    weights.write_bytes(content)
    settings = Settings(data=tmp_path / "data", weights=str(weights))
    app = create_app(settings, detector=FakeDetector(), recogniser=ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        ready = await client.get("/readyz")
        assert ready.status_code == 503 and ready.json()["status"] == "not ready"
        (reason,) = ready.json()["reasons"]
        assert reason.startswith("engine: ") and "\n" not in reason
        assert (await client.get("/healthz")).status_code == 200
        (future,) = app.state.relay.engine.submit([object()])
        assert future.exception(timeout=0) is not None


async def test_an_engine_that_does_not_come_back_leaves_the_relay_unready(tmp_path) -> None:
    app = create_app(Settings(data=tmp_path), FakeEngine(), FakeDetector(), ByColour())
    async with app.router.lifespan_context(app):
        relay = app.state.relay
        relay.lasting = SimpleNamespace(missing_for=10.0)
        assert await relay.reasons() == []  # it may be there again at any time
        relay.lasting = SimpleNamespace(missing_for=31.0)
        assert await relay.reasons() == ["engine: it was lost 31 s ago, and is not back"]


async def test_a_graphics_card_that_cannot_be_used_at_start_leaves_the_cpu(tmp_path, monkeypatch) -> None:
    from hime_core import engine as engines
    from tests.unit.test_failover import Answering

    built = []

    def build_engine(weights, device, *args, **options):
        built.append(device)
        return Answering("from the CPU") if device == "cpu" else _raise(RuntimeError("CUDA driver error"))

    monkeypatch.setattr(engines, "best_device", lambda: "cuda")
    monkeypatch.setattr(engines, "build_engine", build_engine)
    app = create_app(Settings(data=tmp_path), detector=FakeDetector(), recogniser=ByColour())
    async with app.router.lifespan_context(app):
        relay = app.state.relay
        assert built == ["cuda", "cpu"] and not relay.failures
        assert relay.metrics.registry.get_sample_value("hime_failures_total", {"part": "engine"}) == 1
        (future,) = relay.engine.submit([object()])
        assert future.result(timeout=5) == "from the CPU"
