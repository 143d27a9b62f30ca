"""A worker of several is killed in the middle of a call: the page goes on by itself at another one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from playwright.sync_api import Browser, Playwright, expect

from tests.browser.conftest import shot, until
from tests.browser.test_dashboard import SHIFTS
from tests.browser.test_survival import LightServer, connections, join, machine, plays, shown
from tests.media.relay_process import worker_pids


def test_a_call_whose_worker_is_killed_goes_on_at_another_and_the_other_call_does_not_notice(
    playwright: Playwright, plain_browser: Browser, client_build: Path, tmp_path: Path
) -> None:
    server = LightServer(tmp_path)
    server.environment |= {"HIME_WORKERS": "2"}
    try:
        server.start()
        assert server.process is not None
        ben = join(plain_browser, server, "ben")  # at the first worker
        until(lambda: connections(ben), 60, "ben does not publish")
        with machine(playwright) as laptop:
            ann = join(laptop.browser, server, "ann")  # at the second
            plays(ben)
            until(lambda: shown(ann, "ben") > 5, 60, "no picture of ben comes")
            sees_ben = connections(ann), shown(ann, "ben")
            os.kill(worker_pids(server.process.pid)[1], signal.SIGKILL)
            killed = time.monotonic()
            ben.evaluate("() => document.querySelectorAll('.tile video').forEach((video) => { video.shown = -1e9 })")
            until(lambda: shown(ben) > 0, 60, "the picture does not come back")
            print(f"\nthe picture was back {time.monotonic() - killed:.2f} s after its worker was killed")
            until(lambda: shown(ann, "ben") > sees_ben[1] + 20, 30, "ben's picture stands still")
            assert connections(ann) == sees_ben[0] + 1  # that which publishes, and none that watches
            for page in (ann, ben):
                expect(page.locator("#banner")).to_be_hidden(timeout=30_000)
        ben.context.close()
    finally:
        server.stop()


def test_the_dashboard_tells_of_a_worker_that_does_not_answer_and_moves_nothing(
    plain_browser: Browser, client_build: Path, tmp_path: Path
) -> None:
    server = LightServer(tmp_path)
    server.environment |= {"HIME_WORKERS": "2"}
    context = plain_browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(SHIFTS)
    try:
        server.start()
        assert server.process is not None
        page = context.new_page()
        page.goto(f"{server.url}/dashboard")
        told = page.locator("#workers")
        expect(told).to_have_text("2 of 2 workers are ready", timeout=15_000)
        expect(told).not_to_be_in_viewport()
        stopped = worker_pids(server.process.pid)[1]
        os.kill(stopped, signal.SIGSTOP)
        expect(told).to_have_text("1 of 2 workers are ready · worker 2: it does not answer", timeout=30_000)
        expect(told).to_be_in_viewport()
        shot(page, "dashboard-worker-silent")
        os.kill(stopped, signal.SIGCONT)
        expect(told).to_have_text("2 of 2 workers are ready", timeout=15_000)
        assert page.evaluate("() => window.shifted") < 0.05, page.evaluate("() => window.movers")
    finally:
        context.close()
        server.stop()
