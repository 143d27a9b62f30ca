"""What several workers tell, put together as that of one relay: a room's events, and metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from server.observability.metrics import Metrics
from server.rooms.events import Event
from server.workers.exposition import Merged
from server.workers.merged_room import MergedRoom


def joined(name: str) -> Event:
    return Event("joined", {"participant": name})


def left(name: str) -> Event:
    return Event("left", {"participant": name})


def lost(name: str) -> Event:
    return Event("reconnecting", {"participant": name})


def stats(*names: str, lost: tuple[str, ...] = ()) -> Event:
    told = {"reconnecting": list(lost)} if lost else {}
    return Event("stats", {"participants": {name: {"fps_in": 1} for name in names}} | told)


def named(events: list[Event]) -> list[tuple[str, object]]:
    return [(one.name, one.data.get("participant") or sorted(one.data["participants"])) for one in events]


class TestMergedRoom:
    def test_statistics_are_of_all_workers_and_come_once_a_round(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob")):
            assert room.take(worker, joined(name)) == [joined(name)]
        assert room.take(1, stats("ann")) == []  # Bob would be taken to have left
        assert named(room.take(2, stats("bob"))) == [("stats", ["ann", "bob"])]
        assert room.take(2, stats("bob")) == []
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann", "bob"])]

    def test_a_worker_that_is_late_holds_nothing_up(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob")):
            room.take(worker, joined(name))
            room.take(worker, stats(name))
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann", "bob"])]
        assert room.take(1, stats("ann")) == []
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann", "bob"])]

    def test_who_has_left_or_is_lost_is_in_no_later_statistics(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob")):
            room.take(worker, joined(name))
            room.take(worker, stats(name))
        assert room.take(1, left("ann")) == [left("ann")]
        assert room.take(2, lost("bob")) == [lost("bob")]
        (told,) = room.take(1, stats())
        assert told.data == {"participants": {}, "reconnecting": ["bob"]}
        assert room.first() == [lost("bob")]

    def test_when_a_worker_dies_its_participants_have_left(self):
        room = MergedRoom()
        for worker, name in ((1, "ann"), (2, "bob"), (2, "carl")):
            room.take(worker, joined(name))
        room.take(2, lost("carl"))
        assert room.gone(2) == [left("bob"), left("carl")]
        assert room.first() == [joined("ann")]
        assert named(room.take(1, stats("ann"))) == [("stats", ["ann"])]

    def test_what_an_old_worker_says_of_a_name_that_is_elsewhere_counts_no_longer(self):
        room = MergedRoom()
        room.take(1, joined("ann"))
        room.take(2, joined("ann"))
        assert room.take(1, left("ann")) == []
        assert room.first() == [joined("ann")]

    def test_events_that_were_missed_are_made_up_for(self):
        room = MergedRoom()
        room.take(1, joined("ann"))
        room.take(1, joined("bob"))
        assert named(room.take(1, stats("bob"))) == [("left", "ann"), ("stats", ["bob"])]

    def test_that_one_worker_ends_tells_nobody_that_the_relay_does(self):
        assert MergedRoom().take(1, Event("draining", {"seconds": 3})) == []


class TestExposition:
    @staticmethod
    def values(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        families = text_string_to_metric_families(text.decode())
        return {(one.name, tuple(sorted(one.labels.items()))): one.value for each in families for one in each.samples}

    @staticmethod
    def counted(frames: int, streams: int = 0) -> Metrics:
        metrics = Metrics()
        for _ in range(frames):
            metrics.frame("enhanced")
            metrics.stage("decode", 0.002)
        metrics.set_streams("in", streams)
        return metrics

    def test_counts_are_sums_and_the_front_says_whether_it_is_ready(self):
        front, merged = Metrics(), Merged()
        front.set_ready(True)
        front.refused("host")
        texts = {"front": front, 1: self.counted(3, 2), 2: self.counted(4, 1)}
        text = merged.merge({name: metrics.exposition().decode() for name, metrics in texts.items()})
        values = self.values(text)
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 7
        assert values["hime_stage_duration_seconds_count", (("stage", "decode"),)] == 7
        assert values["hime_stage_duration_seconds_bucket", (("le", "0.001"), ("stage", "decode"))] == 0
        assert values["hime_streams", (("direction", "in"),)] == 3
        assert values["hime_ready", ()] == 1 and values["hime_refused_total", (("reason", "host"),)] == 1
        assert text.count(b"# TYPE hime_frames_total counter") == 1

    def test_counters_do_not_fall_when_a_worker_dies_and_gauges_do(self):
        front, merged = Metrics().exposition().decode(), Merged()
        merged.merge({"front": front, 1: self.counted(3, 2).exposition().decode()})
        merged.gone(1)
        values = self.values(merged.merge({"front": front}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 3
        values = self.values(merged.merge({"front": front, 1: self.counted(1, 1).exposition().decode()}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 4
        assert values["hime_streams", (("direction", "in"),)] == 1

    def test_counters_do_not_fall_while_a_worker_does_not_answer(self):
        front, merged = Metrics().exposition().decode(), Merged()
        worker = self.counted(3, 2)
        merged.merge({"front": front, 1: worker.exposition().decode()})
        values = self.values(merged.merge({"front": front}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 3
        worker.frame("enhanced")
        values = self.values(merged.merge({"front": front, 1: worker.exposition().decode()}))
        assert values["hime_frames_total", (("outcome", "enhanced"),)] == 4
