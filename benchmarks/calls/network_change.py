"""For how long a call stands still when a publisher's browser changes from Wi-Fi to a mobile network.

Chromium publishes from a network namespace with two cables, `wifi` and `lte`, of which one is up. Both go to a relay in
another namespace, in which a second Chromium watches. Needs root; uses no network but its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from benchmarks.shared.chromium import ALLOW_ALL, FLAGS, chromium_path
from tests.browser.conftest import launch, open_context, until
from tests.browser.test_survival import CAMERA, COUNT_FRAMES, LightServer, connections
from tests.unit.access_world import KEYS, token

ROOM, ANN = "network-change", "video => video.shown"
RELAY = "203.0.113.1"  # of blocks for documentation (RFC 5737), as the others
CABLES = {"wifi": "192.0.2", "lte": "198.51.100"}
SETTLE, WATCH = 5.0, 20.0  # seconds before and after the change
OWN = ("unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Guest:
    """The namespace of who publishes."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.inside = ("nsenter", "-t", str(self._holder.pid), "-n")
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", f"{RELAY}/32", "dev", "lo")
        time.sleep(0.5)  # until the namespace is there
        for name, block in CABLES.items():
            other = ("peer", "name", f"{name}0", "netns", str(self._holder.pid))
            run("ip", "link", "add", name, "type", "veth", *other)
            run("ip", "address", "add", f"{block}.1/24", "dev", name)
            run("ip", "link", "set", name, "up")
            run(*self.inside, "ip", "address", "add", f"{block}.2/24", "dev", f"{name}0")
        run(*self.inside, "ip", "link", "set", "lo", "up")

    def up(self, name: str) -> None:
        run(*self.inside, "ip", "link", "set", f"{name}0", "up")
        run(*self.inside, "ip", "route", "add", "default", "via", f"{CABLES[name]}.1")

    def down(self, name: str) -> None:
        run(*self.inside, "ip", "link", "set", f"{name}0", "down")  # its route goes with it


def join(browser: Browser, url: str, name: str) -> Page:
    page = open_context(browser, quality="low").new_page()
    page.goto(f"{url}/?room={ROOM}&name={name}#token={token(name, ROOM, publish=True, watch=True)}")
    page.get_by_role("button", name="Turn on camera").click()
    page.get_by_role("button", name="Join").click()
    return page


@contextmanager
def call(playwright: Playwright, guest: Guest, folder: Path) -> Iterator[tuple[Page, Page]]:
    """Ann, who publishes from the guest's namespace, and Ben, who watches in the relay's."""
    server = LightServer(folder)
    # With tokens: without them, the relay knows its publishers by their addresses, which change.
    server.environment |= {"HIME_HOST": "0.0.0.0", "HIME_API_KEYS": f"tokens:{KEYS['tokens']}"}
    server.start()
    url, within = f"http://{RELAY}:{server.port}", folder / "chromium"
    within.write_text(f'#!/bin/sh\nexec {" ".join(guest.inside)} {chromium_path()} "$@"\n')
    within.chmod(0o755)
    secure = f"--unsafely-treat-insecure-origin-as-secure={url}"
    far = playwright.chromium.launch(executable_path=str(within), args=[*FLAGS, ALLOW_ALL, CAMERA, secure])
    near = launch(playwright, CAMERA)
    try:
        yield join(far, url, "ann"), join(near, server.url, "ben")
    finally:
        near.close()
        far.close()
        server.stop()


def standstill(ben: Page, guest: Guest, without: float) -> float:
    """Seconds until Ben sees Ann again, from the end of Wi-Fi on; `without`: how long there is no network at all."""
    video = ben.locator(".tile[data-name=ann] video").first
    video.evaluate(COUNT_FRAMES)
    time.sleep(SETTLE)
    guest.down("wifi")
    cut = time.monotonic()
    time.sleep(without)
    guest.up("lte")
    before = video.evaluate(ANN)
    until(lambda: video.evaluate(ANN) > before, WATCH, "Ann is not seen again")
    return time.monotonic() - cut


def measure(without: float) -> None:
    guest = Guest()
    guest.up("wifi")
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        call(playwright, guest, Path(folder)) as (ann, ben),
    ):
        until(lambda: ben.locator(".tile[data-name=ann] video").count(), 60, "Ann is not seen")
        time.sleep(SETTLE)
        made = connections(ann), connections(ben)
        seconds = standstill(ben, guest, without)
        time.sleep(WATCH)
        new = tuple(now - then for now, then in zip((connections(ann), connections(ben)), made, strict=True))
        print(f"no network for {without:g} s: seen again {seconds:.2f} s after the end of Wi-Fi")
        print(f"new connections of the publisher's page: {new[0]}, of the watcher's: {new[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without", type=float, default=1.0, help="seconds between the two networks (1)")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within:
        measure(options.without)
    elif os.geteuid():
        parser.exit(2, "Network namespaces are root's to make: run it as root.\n")
    else:
        itself = [sys.executable, "-m", "benchmarks.calls.network_change", "--within"]
        sys.exit(subprocess.run([*OWN, *itself, "--without", str(options.without)]).returncode)


if __name__ == "__main__":
    main()
