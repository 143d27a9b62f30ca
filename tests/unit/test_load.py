"""`hime load` without a network: what its figures say, when a relay is full, and what may be asked for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from hime_core.errors import InputError
from server.client.load import group, report
from server.client.load.call import CallFigures, CallPlan
from server.client.load.command import LoadOptions, call_plan, ramp_plan
from server.client.load.encoded import EncodedClip
from server.client.load.metrics import RelayCounts, relay_counts
from server.client.load.ramp import Ramp, RampPlan
from server.client.load.step import Step, Usage, is_held, step_of
from server.client.load.tally import Tally, count
from server.demo.command import CLIP

SMALL: dict[str, Any] = {"url": "http://h", "clip": CLIP, "size": "64x36"}


# --- figures


def tally(frames: int, latency: float, watchers: int = 1) -> Tally:
    made = Tally(watchers=watchers, timed=watchers, frames=frames, expected=2 * frames, octets=1000 * frames)
    for _ in range(frames):
        count(made.latencies, latency)
    return made


def figures(number: int = 0, sent: int = 100, frames: int = 100, latency: float = 0.1) -> CallFigures:
    return CallFigures(number, Counter({10: sent}), tally(frames, latency), (0.5,))


@pytest.mark.parametrize(
    ("frames", "latency", "held"), [(100, 0.29, True), (95, 0.29, True), (94, 0.01, False), (100, 0.31, False)]
)
def test_a_call_is_held_with_its_frames_in_time(frames: int, latency: float, held: bool) -> None:
    assert is_held(figures(frames=frames, latency=latency), 0.3) is held


def test_without_latencies_frames_alone_hold_a_call() -> None:
    assert is_held(CallFigures(0, Counter({0: 100}), Tally(watchers=1, frames=96), ()), 0.3)
    assert not is_held(CallFigures(0, Counter(), Tally(), ()), 0.3)


def test_watchers_are_told_together() -> None:
    whole = Tally.together([tally(90, 0.01), tally(10, 0.5)])
    assert (whole.watchers, whole.frames) == (2, 100)
    assert whole.percentile(0.9) == pytest.approx(0.01) and whole.percentile(0.91) == pytest.approx(0.5)
    assert Tally().percentile(0.5) is None
    assert tally(1, 77.0).percentile(0.5) == pytest.approx(10.0)


def test_a_step_is_a_mean_over_calls_and_watchers() -> None:
    before, after = RelayCounts(10.0, {"enhanced": 5.0}), RelayCounts(14.0, {"enhanced": 45.0})
    step = step_of([figures(0), figures(1, frames=50)], {"503": 1}, Usage(5.0, 0.5, before, after), 0.3)
    assert (step.calls, step.held, step.watchers, step.all_held) == (2, 1, 2, False)
    assert step.sent_fps == 20.0 and step.watched_fps == 15.0 and step.came == 0.75
    assert step.p95_ms == pytest.approx(100.0) and step.kbps == pytest.approx(8 * 150 / 5 / 2)
    assert step.load_cores == 0.1 and step.relay_cores == 0.8 and step.outcomes == {"enhanced": 4.0}
    assert step.first_frame_p50_ms == 500.0 and step.load_late_ms == pytest.approx(1.0)
    unknown = step_of([], {}, Usage(5.0, 0.5, before, None), 0.3)
    assert unknown.relay_cores is None and unknown.p95_ms is None and unknown.outcomes == {}


def a_step(*calls: CallFigures, refused: dict[str, int] | None = None) -> Step:
    return step_of(calls, refused or {}, Usage(5.0, 0.5, None, None), 0.3)


def test_the_table_has_a_cell_under_each_head_and_the_summary_says_what_matters() -> None:
    step = a_step(figures(0), figures(1, frames=50), refused={"503": 2})
    assert len(report.line(step)) == len(report.heading())
    told = report.summary([step], 0.3, False, 20.0)
    assert told.startswith("held: 1 of 2 calls") and "refused: 2 × 503" in told and "itself" not in told
    assert "too slow: it sent 20.0 of 25.0 frames/s, up to 1.0 ms late" in report.summary([step], 0.3, False, 25.0)
    late = CallFigures(0, Counter({10: 90, 300: 10}), tally(100, 0.1), ())
    assert report.is_behind(a_step(late), 20.0) and not report.is_behind(step, 20.0)
    good = a_step(figures(0))
    assert report.summary([good], 0.3, True, 20.0).startswith("held: 1 or more call")
    assert report.summary([good, step], 0.3, True, 20.0).startswith("held: 1 call ")
    document = json.loads(json.dumps(report.document([good, step], {"view": "original"}, 20.0)))
    assert document["held"] == 1 and [one["all_held"] for one in document["steps"]] == [True, False]
    assert document["steps"][1]["refused"] == {"503": 2} and document["steps"][0]["load_behind"] is False


METRICS = """# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.5
# TYPE hime_frames_total counter
hime_frames_total{outcome="enhanced"} 7.0
hime_frames_total{outcome="passed"} 2.0
"""
OURS = RelayCounts(12.5, {"enhanced": 7.0, "carried": 0.0, "passed": 2.0, "dropped": 0.0})


@pytest.mark.parametrize(
    ("status", "text", "counts"),
    [
        (200, METRICS, OURS),
        (200, METRICS[: METRICS.index("# TYPE hime")], RelayCounts(12.5, {})),
        (200, "<html>a page</html>", None),
        (200, "", None),
        (401, METRICS, None),
    ],
)
async def test_a_relays_own_counts_are_read_where_it_serves_them(
    status: int, text: str, counts: RelayCounts | None
) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, text=text))
    async with httpx.AsyncClient(base_url="http://h", transport=transport) as http:
        assert await relay_counts(http, {}) == counts


# --- the ramp


class FakeGroup:
    """Holds so many calls, and takes so many; bad: windows in which nothing is held."""

    def __init__(self, holds: int = 100, takes: int = 100, bad: Sequence[int] = ()) -> None:
        self.holds, self.takes, self.bad = holds, takes, bad
        self.calls, self.windows = 0, 0

    async def add(self, number: int) -> str:
        if self.calls >= self.takes:
            return "503"
        self.calls += 1
        return ""

    async def begin(self, window: int) -> None: ...

    async def figures(self, window: int) -> list[CallFigures]:
        self.windows += 1
        late = self.calls > self.holds or self.windows in self.bad
        return [figures(number, latency=0.5 if late else 0.1) for number in range(self.calls)]

    async def cpu_seconds(self) -> float:
        return 0.0

    async def close(self) -> None: ...


async def ramped(group: FakeGroup, plan: RampPlan, over_after: float = 1e9) -> tuple[list[Step], Ramp, list[float]]:
    now, waited = [0.0], list[float]()

    async def wait(seconds: float) -> bool:
        waited.append(seconds)
        await asyncio.sleep(0)
        now[0] += seconds
        return now[0] > over_after

    async def relay() -> None:
        return None

    ramp = Ramp(plan, group, relay, wait, lambda: now[0])
    return [step async for step in ramp.steps()], ramp, waited


async def test_a_plain_load_is_measured_once_with_what_came_about() -> None:
    steps, ramp, waited = await ramped(FakeGroup(takes=2), RampPlan((3,), 0.5, 2.0, 10.0, 0.3))
    assert [step.calls for step in steps] == [2] and steps[0].refused == {"503": 1} == dict(ramp.refused)
    assert waited == [0.5, 0.5, 0.5, 2.0, 10.0, 1.0]


async def test_until_full_ends_with_the_call_that_is_not_held_twice() -> None:
    group = FakeGroup(holds=3)
    steps, _, _ = await ramped(group, RampPlan(range(1, 9), 0.5, 2.0, 4.0, 0.3, until_full=True))
    assert [(step.calls, step.held) for step in steps] == [(1, 1), (2, 2), (3, 3), (4, 0)]
    assert group.windows == 5 and report.most_held(steps) == 3


async def test_until_full_forgives_one_bad_window() -> None:
    steps, _, _ = await ramped(FakeGroup(bad=(2,)), RampPlan((1, 2, 4), 0.5, 2.0, 4.0, 0.3, until_full=True))
    assert [(step.calls, step.held) for step in steps] == [(1, 1), (2, 2), (4, 4)]


async def test_until_full_ends_with_the_call_that_is_refused() -> None:
    group = FakeGroup(takes=5)
    steps, _, _ = await ramped(group, RampPlan((4, 8, 16), 0.5, 2.0, 4.0, 0.3, until_full=True))
    assert [(step.calls, dict(step.refused)) for step in steps] == [(4, {}), (5, {"503": 1})]


@pytest.mark.parametrize(("seconds", "count"), [(0.1, 0), (5.0, 0), (8.0, 1)])
async def test_a_signal_ends_it_with_the_steps_that_are_whole(seconds: float, count: int) -> None:
    steps, _, _ = await ramped(FakeGroup(), RampPlan((1, 2), 0.5, 2.0, 4.0, 0.3), over_after=seconds)
    assert len(steps) == count


async def test_a_join_that_lasts_too_long_in_the_end_leaves_before_the_connection_to_the_relay_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joining, closed = asyncio.Event(), list[bool]()

    class SlowCall:
        def __init__(self, plan: CallPlan, number: int, http: httpx.AsyncClient, *args: Any) -> None:
            self._http = http

        async def join(self) -> None:
            joining.set()
            await asyncio.Event().wait()

        async def leave(self) -> None:
            await asyncio.sleep(0.01)
            closed.append(self._http.is_closed)

    monkeypatch.setattr(group, "Call", SlowCall)
    monkeypatch.setattr(group, "JOINING", 0.0)
    calls = group.LocalGroup(CallPlan("http://127.0.0.1:9", EncodedClip("VP8", (b"",), (0,), 0, 25.0, (16, 16))))
    adding = asyncio.create_task(calls.add(0))
    await joining.wait()
    await calls.close()
    assert closed == [False]
    with pytest.raises(asyncio.CancelledError):
        await adding


# --- what is asked for


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"view": "compare"}, "--view compare: give enhanced or original"),
        ({"codec": "AV1"}, "--codec AV1"),
        ({"size": "640"}, "--size 640"),
        ({"size": "641x360"}, "even numbers"),
        ({"kbps": 1}, "--kbps 1"),
        ({"width": 9999}, "--width 9999"),
        ({"steps": "1,3,2"}, "--steps 1,3,2"),
        ({"steps": "two"}, "--steps two"),
        ({"steps": "1,2", "calls": 2}, "--steps and --calls"),
        ({"clip": Path("/nowhere.mp4")}, "/nowhere.mp4"),
        ({"key": "secret alone"}, "--key"),
        ({"whip": "whip"}, "--whip whip"),
        ({"url": "ftp://h"}, "ftp://h"),
        ({"room": "a b"}, "--room"),
        ({"token": "a.b.c"}, "JWT"),
    ],
)
def test_bad_input_is_said_in_one_line(changes: dict[str, Any], says: str) -> None:
    options = LoadOptions(**{**SMALL, **changes})
    with pytest.raises(InputError) as raised:
        call_plan(options, ramp_plan(options).steps[-1])
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.fixture
def token() -> Iterator[Callable[[str, str], str]]:
    yield lambda room, name: jwt.encode({"sub": name, "video": {"room": room}}, "nobody checks this" * 3, "HS256")


def test_a_room_token_is_for_one_call_under_its_names(token: Callable[[str, str], str]) -> None:
    options = LoadOptions(**{**SMALL, "url": f"http://h/#token={token('r', 'ann')}"})
    link = call_plan(options, 1).link(0)
    assert (link.room, link.name) == ("r", "ann") and link.token
    with pytest.raises(InputError, match="--calls 1, or --key"):
        call_plan(options, 2)


def test_rooms_are_the_calls_own_unless_they_are_together() -> None:
    apart = call_plan(LoadOptions(**SMALL), 2)
    assert [(apart.link(n).room, apart.link(n).name) for n in (0, 1)] == [("load-0", "load-0"), ("load-1", "load-1")]
    together = call_plan(LoadOptions(**SMALL, room="r", together=True, token="opaque"), 2)
    assert [(together.link(n).room, together.link(n).name) for n in (0, 1)] == [("r", "load-0"), ("r", "load-1")]
    assert together.link(1).headers == {"Authorization": "Bearer opaque"} and "opaque" not in repr(together)
    assert ramp_plan(LoadOptions(**SMALL, until_full=True, calls=3)).steps == range(1, 4)
    assert ramp_plan(LoadOptions(**SMALL)).steps == (1,)


def test_the_document_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "load.md").read_text()
    (step,) = report.document([a_step(figures())], {}, 20.0)["steps"]
    assert [name for name in step if f"`{name}`" not in text] == []
