"""A worker of several is killed in the middle of a call: the page goes on by itself at another one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from playwright.sync_api import Browser, Playwright, expect

from tests.browser.conftest import until
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
