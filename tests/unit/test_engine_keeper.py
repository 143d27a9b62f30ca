"""Engine processes are started, started again, and given up; which there are, and who asks which."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest

from hime_core.errors import InputError
from server.engines import engines as module
from server.engines.cards import cards
from server.engines.engines import Engines, engines_of
from server.engines.keeper import TRIES, EngineDied, Keeper
from server.engines.remote import RemoteEngine, connected
from server.observability.machine import Machine
from server.settings import Settings, load_settings
from tests.unit.engine_world import face

QUICK = "tests.media.quick_engine"
ENDS = "server.settings.quoting"  # as soon as it is started


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def until(condition, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def asked(path: Path) -> RemoteEngine:
    """One that has answered."""
    engine = await asyncio.to_thread(connected, path, 60)
    assert (await asyncio.wrap_future(engine.submit([face()])[0])).shape == (128, 128, 3)
    return engine


class TestKeeper:
    async def test_a_card_is_given_up_where_process_after_process_dies(self, tmp_path):
        clock = Clock()
        keeper = Keeper(Settings(data=tmp_path), tmp_path / "e.sock", "0", module=ENDS, clock=clock)
        for _ in range(TRIES):
            assert keeper.device == "auto"
            with pytest.raises(EngineDied, match="has ended with 0"):
                await keeper.run()
            assert keeper.pid is None
        assert keeper.device == "cpu"
        keeper.close()

    async def test_a_device_that_was_asked_for_is_never_given_up(self, tmp_path):
        keeper = Keeper(Settings(data=tmp_path, device="cuda"), tmp_path / "e.sock", "0", module=ENDS)
        for _ in range(TRIES + 1):
            with pytest.raises(EngineDied):
                await keeper.run()
        assert keeper.device == "cuda"
        keeper.close()

    async def test_one_that_gives_no_sign_of_life_is_killed(self, tmp_path):
        keeper = Keeper(Settings(data=tmp_path), tmp_path / "e.sock", module=QUICK, silent=1.5)
        running = asyncio.create_task(keeper.run())
        engine = await asked(keeper.path)
        pid = keeper.pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EngineDied, match="no sign of life"):
            await asyncio.wait_for(running, 30)
        assert not Path(f"/proc/{pid}").exists() and keeper.pid is None
        engine.close()
        keeper.close()

    async def test_a_card_that_cannot_be_used_is_counted(self, tmp_path):
        failed: list[str] = []
        keeper = Keeper(Settings(data=tmp_path), tmp_path / "e.sock", failed=failed.append, module=ENDS)
        said = asyncio.StreamReader()
        said.feed_data(b"!")
        living = asyncio.create_task(keeper._life(SimpleNamespace(stdout=said, wait=AsyncMock(return_value=9))))
        await until(lambda: failed == ["engine"])
        said.feed_data(b"..")
        said.feed_eof()
        assert await living == "the engine process has ended with 9" and failed == ["engine"]
        keeper.close()

    async def test_it_ends_with_the_relay_and_leaves_no_process(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HIME_API_KEYS", f"web:{'x' * 32}")
        keeper = Keeper(Settings(data=tmp_path), tmp_path / "e.sock", module=QUICK)
        running = asyncio.create_task(keeper.run())
        (await asked(keeper.path)).close()
        pid = keeper.pid
        assert b"HIME_" not in Path(f"/proc/{pid}/environ").read_bytes()  # it needs no keys
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not Path(f"/proc/{pid}").exists()
        keeper.close()


class TestEngines:
    async def test_two_processes_are_shared_by_number_and_one_dies_alone(self, tmp_path):
        """Two on the CPU stand for two cards."""
        failures: list[str] = []
        engines = Engines(Settings(data=tmp_path, workers=3), [None, None], failures.append, QUICK)
        try:
            paths = [engines.of_worker(number) for number in (1, 2, 3)]
            assert paths[0] == paths[2] != paths[1]
            first, second = [await asked(path) for path in paths[:2]]
            machine = Machine(others=lambda: engines.pids)
            alone = Machine().look().memory_mib
            assert machine.look().memory_mib > alone + 2 * 50  # MiB
            before = engines.pids
            os.kill(before[0], signal.SIGKILL)
            await until(lambda: failures == ["engine"])
            again = await asked(paths[0])
            assert len(engines.pids) == 2 and engines.pids[1] == before[1]
            assert second.submit([face()])[0].result(10) is not None
            for each in (first, second, again):
                await asyncio.to_thread(each.close)
        finally:
            await engines.close()
        assert engines.pids == [] and not paths[0].parent.exists()

    @pytest.mark.parametrize(
        ("given", "there", "processes"),
        [
            ({}, ["0"], None),  # one worker
            ({"workers": 2}, [], None),  # no card
            ({"workers": 2}, ["0"], ["0"]),
            ({"workers": 2}, ["3", "5", "6"], ["3", "5"]),  # no more than ask
            ({"workers": 2, "device": "cpu"}, ["0"], None),
            ({"workers": 2, "device": "cpu", "engine": "process"}, ["0"], [None]),
            ({"workers": 2, "engine": "worker"}, ["0"], None),
            ({"engine": "process"}, [], [None]),
            ({"engine": "process"}, ["0", "1"], ["0"]),
        ],
    )
    async def test_where_faces_are_enhanced(self, tmp_path, monkeypatch, given, there, processes):
        monkeypatch.setattr(module, "cards", lambda: there)
        engines = await engines_of(Settings(data=tmp_path, **given), lambda part: None, ENDS)
        found = engines and [keeper._card for keeper in engines.keepers]
        if engines:
            await engines.close()
        assert found == processes

    def test_where_there_can_be_no_processes_none_may_be_asked_for(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        with pytest.raises(InputError, match=r"^HIME_ENGINE: engine processes need Linux: give worker"):
            load_settings(engine="process")


def test_cards_are_those_that_the_driver_shows():
    assert cards({}, lambda: 2) == ["0", "1"]
    assert cards({"CUDA_VISIBLE_DEVICES": "2, GPU-5a"}, lambda: 2) == ["2", "GPU-5a"]
    assert cards({"CUDA_VISIBLE_DEVICES": "2,9,3"}, lambda: 1) == ["2"]  # what follows a wrong name is not there
    assert cards({"CUDA_VISIBLE_DEVICES": ""}, lambda: 0) == []
    assert isinstance(cards(), list)


def test_whoever_starts_processes_loads_no_networks():
    found = "import sys, server.engines.engines; print({'torch', 'ncnn', 'cv2', 'av'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", found], capture_output=True, text=True).stdout.strip() == "set()"
