"""An engine behind a socket and shared memory: the same as one in the process, for several workers at once."""

from __future__ import annotations

import gc
import math
import os
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from hime_core.engine import BatchingEngine, FaceRequest, Gone, Late, NcnnBackend, Overload
from hime_core.engine.failover import Replaced
from hime_core.model.hime import HimeConfig
from server.engines import lasting, memory, remote, wire
from server.engines.known import Known
from server.engines.remote import SLOTS, RemoteEngine, connected
from server.engines.wake import Wake
from server.observability.metrics import Metrics
from tests.unit.engine_world import Enlarging, engine_world, eventually, exemplar, face
from tests.unit.relay_fakes import FakeEngine
from tests.unit.test_engine import lively, request


class Door:
    """Stops a backend until it is opened."""

    def __init__(self) -> None:
        self.open, self.sizes = threading.Event(), list[int]()

    def __call__(self, size: int) -> None:
        self.sizes.append(size)
        assert self.open.wait(10)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


class TestAnswers:
    def test_they_are_those_of_an_engine_in_the_process_bit_for_bit(self, tmp_path):
        backend = NcnnBackend(lively(HimeConfig()))
        asked = [request(side, references) for side in (16, 32, 48) for references in (0, 1, 3)]
        own = BatchingEngine(backend)
        wanted = [future.result(60) for future in own.submit(asked)]
        own.close()
        with engine_world(tmp_path, backend) as world:
            worker = world.worker()
            assert worker.scale == backend.scale
            for _ in range(2):  # exemplars are known the second time
                got = [future.result(60) for future in worker.submit(asked)]
                assert all(np.array_equal(one, other) for one, other in zip(got, wanted, strict=True))
            assert worker.known == world.held == sum(len(one.exemplars) for one in asked)
            worker.close()

    def test_faces_of_two_workers_meet_in_one_batch_that_is_counted_once(self, tmp_path):
        door = Door()
        with engine_world(tmp_path, Enlarging(door)) as world:
            workers = [world.worker(), world.worker()]
            first = workers[0].submit([face()])[0]  # at the door; the others wait behind it
            eventually(lambda: door.sizes)
            both = [worker.submit([face(value=number)])[0] for number, worker in enumerate(workers)]
            eventually(lambda: world.engine._waiting._count == 2)
            door.open.set()
            assert first.result(10).shape == (128, 128, 3)
            assert [future.result(10).max() for future in both] == [0, 1]  # each has its own
            assert door.sizes == [1, 2]
            eventually(lambda: len(world.batches) == 2)
            assert [size for size, _ in world.batches] == [1, 2] and len(world.waits) == 3
            for worker in workers:
                worker.close()

    def test_workers_take_turns_whatever_one_of_them_asks(self, tmp_path):
        door, order = Door(), list[int]()

        class Noting(Enlarging):  # in the engine itself: each worker's answers come by a thread of its own
            def infer(self, lr, references):
                order.append(int(lr.max()))
                return super().infer(lr, references)

        with engine_world(tmp_path, Noting(door, max_batch=1)) as world:
            greedy, modest = world.worker(), world.worker()
            many = greedy.submit([face(value=0) for _ in range(10)])
            eventually(lambda: world.engine._waiting._count == 9)
            one = modest.submit([face(value=1)])[0]
            eventually(lambda: world.engine._waiting._count == 10)
            door.open.set()
            for future in (*many, one):
                assert future.result(10) is not None
            assert len(order) == 11 and order.index(1) <= 3
            greedy.close()
            modest.close()

    def test_what_is_late_or_too_much_or_fails_says_so(self, tmp_path):
        door = Door()

        def failing(size: int) -> None:
            door(size)
            if size == 2:
                raise MemoryError("no room")

        with engine_world(tmp_path, Enlarging(failing), capacity=3) as world:
            worker = world.worker()
            first = worker.submit([face()])[0]
            eventually(lambda: door.sizes)
            late, *pair = worker.submit([face(deadline=time.monotonic() + 0.01), face(side=48), face(side=48)])
            (refused,) = worker.submit([face()])
            assert isinstance(refused.exception(10), Overload)
            time.sleep(0.02)
            door.open.set()
            assert first.result(10) is not None
            assert isinstance(late.exception(10), Late)
            for future in pair:
                with pytest.raises(RuntimeError, match="MemoryError: no room"):
                    future.result(10)
            worker.close()

    def test_a_face_that_nobody_wants_any_longer_is_not_computed(self, tmp_path):
        door = Door()
        with engine_world(tmp_path, Enlarging(door)) as world:
            worker = world.worker()
            first = worker.submit([face()])[0]
            eventually(lambda: door.sizes)
            (unwanted,) = worker.submit([face()])
            eventually(lambda: world.engine._waiting._count == 1)
            assert unwanted.cancel()
            eventually(lambda: len(worker._slots._free) == SLOTS - 1)
            door.open.set()
            assert first.result(10) is not None and door.sizes == [1]
            worker.close()

    def test_what_does_not_fit_is_refused_by_name(self, tmp_path):
        with engine_world(tmp_path) as world:
            worker = world.worker()
            flat = FaceRequest(face().lr[:16], face().landmarks, ())
            large, oblong, small, many = worker.submit([face(side=128), flat, face(), face(*[exemplar()] * 256)])
            with pytest.raises(ValueError, match=r"96 pixels at most, not of \(128, 128, 3\)"):
                large.result(10)
            with pytest.raises(ValueError, match=r"not of \(16, 32, 3\)"):
                oblong.result(10)
            with pytest.raises(ValueError, match="255 exemplars"):
                many.result(10)
            assert small.result(10) is not None and len(worker._slots._free) == SLOTS
            worker.close()


class TestBounds:
    def test_when_the_slots_run_out_faces_are_refused_at_once(self, tmp_path):
        door = Door()
        with engine_world(tmp_path, Enlarging(door), capacity=1000) as world:
            worker = world.worker()
            futures = [worker.submit([face()])[0] for _ in range(SLOTS + 5)]
            assert [isinstance(one.exception(0), Overload) for one in futures[SLOTS:]] == [True] * 5
            door.open.set()
            assert all(one.result(10) is not None for one in futures[:SLOTS])
            assert worker.submit([face()])[0].result(10) is not None
            worker.close()

    def test_a_process_that_reads_nothing_blocks_nobody(self, tmp_path):
        ours, theirs = wire.socket.socketpair(wire.socket.AF_UNIX, wire.socket.SOCK_SEQPACKET)
        worker, many = RemoteEngine(ours, 4, slots=4000), [exemplar(str(number), 16) for number in range(2000)]
        futures = [worker.submit([face(one)])[0] for one in many]
        refused = [one for one in futures if one.done()]
        assert refused and all(isinstance(one.exception(0), Overload) for one in refused)
        worker.forget(one.id for one in many)  # what cannot be told now waits to be told
        worker.close()
        assert all(one.done() for one in futures)
        theirs.close()

    def test_a_hundred_thousand_faces_leave_nothing_behind(self, tmp_path):
        with engine_world(tmp_path, engine=FakeEngine()) as world:
            worker = world.worker()

            def some(count: int) -> None:
                for _ in range(count // 50):
                    one = exemplar()  # as many come and go
                    for future in worker.submit([face(one, side=16)] * 50):
                        assert future.result(10).shape == (64, 64, 3)

            some(5000)
            gc.collect()
            before = descriptors(), resident_kib()
            some(100_000)
            del some
            eventually(lambda: world.held == 0)
            assert len(worker._slots._free) == SLOTS and not worker._asked
            assert worker.known == 0 and worker._known.bytes == 0 and not world.service.clients[0]._waiting
            assert descriptors() == before[0]
            assert resident_kib() < before[1] + 20_000
            assert not worker._slots._bytes.any()  # of nobody's face
            worker.close()
        gc.collect()
        assert descriptors() < before[0]


class TestExemplars:
    def test_all_that_an_exemplar_is_arrives(self, tmp_path):
        for sent in (exemplar(step=None), exemplar(step=12.5)):
            shown = wire.exemplar(7, sent)
            file = memory.written(sent.image)
            got = wire.read_exemplar(shown, memory.read(file, wire.picture_shape(shown)), sent.id)
            os.close(file)
            for each in fields(sent):
                assert np.array_equal(getattr(got, each.name), getattr(sent, each.name)), each.name
            assert wire.number_of(shown) == 7

    def test_they_live_as_long_as_the_workers(self, tmp_path):
        with engine_world(tmp_path) as world:
            worker, other = world.worker(), world.worker()
            kept, gone = exemplar("kept"), exemplar("gone")
            for each in (worker, other):
                each.submit([face(kept, gone)])[0].result(10)
            assert world.held == 4
            theirs = world.exemplars()
            assert len(theirs) == 4
            del gone
            eventually(lambda: world.held == len(theirs) == 2)
            other.close()
            eventually(lambda: world.held == len(theirs) == 1)
            worker.forget(["kept"])
            eventually(lambda: world.held == len(theirs) == 0)  # and what was prepared of them
            assert worker.submit([face(kept)])[0].result(10) is not None  # it is asked for again
            assert world.held == 1
            worker.close()

    def test_a_worker_that_dies_leaves_nothing(self, tmp_path):
        with engine_world(tmp_path) as world:
            worker, kept = world.worker(), exemplar()
            worker.submit([face(kept)])[0].result(10)
            theirs = world.exemplars()
            assert len(theirs) == 1
            worker._link.shutdown(wire.socket.SHUT_RDWR)  # as the kernel does
            eventually(lambda: not world.service.clients and not theirs)
            eventually(lambda: isinstance(worker.submit([face(kept)])[0].exception(10), Gone))

    def test_the_one_named_longest_ago_goes_when_there_are_too_many(self):
        size = exemplar().image.nbytes
        known, three = Known(Wake(), limit=2 * size), [exemplar(str(number)) for number in range(3)]
        first, second = known.add(three[0]), known.add(three[1])
        assert known.number(three[0]) == first
        known.add(three[2])
        assert known.take_gone(9) == [second] and known.bytes == 2 * size
        assert known.number(three[1]) is None and known.number(three[0]) == first
        known.clear()
        del three
        assert known.take_gone(9) == [] and known.bytes == 0

    def test_an_exemplar_that_alone_is_too_large_is_held_nevertheless(self):
        known, one = Known(Wake(), limit=1), exemplar()
        known.add(one)
        assert len(known) == 1


class TestConnection:
    def test_all_that_waits_fails_at_once_when_the_process_dies(self, tmp_path):
        door = Door()
        with engine_world(tmp_path, Enlarging(door)) as world:
            worker = world.worker()
            waiting = worker.submit([face() for _ in range(8)])
            eventually(lambda: door.sizes)
            world.service.clients[0]._link.shutdown(wire.socket.SHUT_RDWR)
            assert all(isinstance(one.exception(5), Gone) for one in waiting)
            assert isinstance(worker.submit([face()])[0].exception(0), Gone)
            door.open.set()
            worker.close()

    def test_closing_cancels_what_waits(self, tmp_path):
        door = Door()
        with engine_world(tmp_path, Enlarging(door)) as world:
            worker = world.worker()
            waiting = worker.submit([face() for _ in range(4)])
            worker.close()
            assert all(one.cancelled() for one in waiting)
            assert isinstance(worker.submit([face()])[0].exception(0), Gone)
            door.open.set()

    def test_a_network_that_cannot_be_loaded_is_the_workers_reason(self, tmp_path):
        with wire.connection() as listener:
            listener.bind(str(tmp_path / "engine.sock"))
            listener.listen()

            def refuse() -> None:
                link, _ = listener.accept()
                with link:
                    link.send(wire.failed("weights: broken"))

            thread = threading.Thread(target=refuse)
            thread.start()
            with pytest.raises(RuntimeError, match="weights: broken"):
                connected(tmp_path / "engine.sock", 10)
            thread.join()

    def test_another_version_is_named(self, monkeypatch):
        old = wire.hello(4)
        monkeypatch.setattr(wire, "VERSION", wire.VERSION + 1)
        with pytest.raises(RuntimeError, match=r"speaks version 1 and not 2: restart the relay"):
            wire.read_hello(old)

    def test_a_process_that_is_not_there_in_time(self, tmp_path, monkeypatch):
        monkeypatch.setattr(remote, "AGAIN", 0.01)
        with pytest.raises(TimeoutError, match=r"did not answer within 0\.05 s"):
            connected(tmp_path / "nothing.sock", 0.05)

    def test_a_worker_serves_without_a_process_and_asks_it_when_it_comes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(lasting, "START_WITHIN", 0.05)
        monkeypatch.setattr(remote, "AGAIN", 0.01)
        engine = lasting.remote_engine(tmp_path / "engine.sock", Metrics())
        eventually(lambda: engine.missing_for > 0)
        (future,) = engine.submit([face()])
        assert isinstance(future.exception(5), Replaced | Gone)
        with engine_world(tmp_path):
            eventually(lambda: engine.missing_for == 0)
            assert engine.submit([face()])[0].result(10).shape == (128, 128, 3)
            engine.close()

    def test_nonsense_ends_its_own_connection_and_no_other(self, tmp_path):
        with engine_world(tmp_path) as world:
            worker = world.worker()
            for nonsense in (b"\xff", bytes([wire.Kind.HELLO]), bytes([wire.Kind.FACES, 1]), wire.slots(1, 1)):
                with wire.connection() as link:
                    link.connect(str(world.path))
                    assert wire.read_hello(link.recv(100)) == 4
                    link.send(nonsense)
                    link.settimeout(5)
                    assert link.recv(100) == b""
            assert worker.submit([face()])[0].result(10) is not None
            worker.close()

    def test_an_exemplar_that_the_process_does_not_have_costs_its_face_only(self, tmp_path):
        with engine_world(tmp_path) as world:
            worker, one = world.worker(), exemplar()
            worker._known.add(one)  # though it is never sent
            bad, good = worker.submit([face(one), face()])
            with pytest.raises(RuntimeError, match="KeyError"):
                bad.result(10)
            assert good.result(10) is not None
            worker.close()


def test_a_deadline_without_end_and_long_words_arrive():
    one = wire.Face(5, 3, 96, -(2**63), math.inf, np.ones((5, 2), np.float32), (1, 2**32 - 1))
    (got,) = wire.read_faces(wire.faces([one]))
    assert got[:5] == one[:5] and got.exemplars == one.exemplars and np.array_equal(got.landmarks, one.landmarks)
    most = [wire.Answer(number, wire.Status.ERROR, 0, "ä" * 1000) for number in range(wire.MOST)]
    message = wire.answers(wire.Answers(most, [(16, 0.25)] * wire.MOST_TOLD, [0.5] * wire.MOST_TOLD))
    assert len(message) < wire.LONGEST
    got = wire.read_answers(message)
    assert len(got.batches) == len(got.waits) == wire.MOST_TOLD and set(got.batches) == {(16, 0.25)}
    assert [one.number for one in got.answers] == list(range(wire.MOST))
    assert {one.words for one in got.answers} == {"ä" * (wire.WORDS // 2)}
    assert wire.read_drop(wire.drop(range(5))) == tuple(range(5))
