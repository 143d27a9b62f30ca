"""python -m benchmarks.hosting --work DIR: runs docker/compose.yaml by Podman, and calls through all of it.

For a Debian machine without Docker, as root, with debootstrap, podman, crun, catatonit, nftables, dnsmasq-base, coturn,
libnss3-tools, curl, chromium and systemd. Network namespaces keep it to itself. Debian's packages stand in for the
images of others.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.hosting import backup, calls, doors, files, images, monitoring, network, podman
from benchmarks.hosting import stack as stacks
from benchmarks.hosting.network import HOST_ADDRESS
from benchmarks.hosting.shell import Failed
from benchmarks.hosting.stack import SITE, Stack

NAMES = "HOSTING_OWN_MOUNTS"  # set where this process has mounts of its own
STAGES = ("files", "images", "stack")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosting", description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for images and everything else; some 10 GB")
    parser.add_argument("--stages", default=",".join(STAGES), help=f"of {', '.join(STAGES)} [default: all]")
    parser.add_argument("--torch-index", default="https://download.pytorch.org/whl/cpu", help="where torch comes from")
    parser.add_argument("--wheels", type=Path, help="folder with wheels of torch and torchvision, instead of an index")
    parser.add_argument("--site-packages", type=Path, help="whose torch the relay takes instead of its image's")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each call")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    parser.add_argument("--json", type=Path, metavar="OUT.json")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not os.environ.get(NAMES):
        os.environ[NAMES] = "1"
        command = podman.own_mounts(sys.executable, "-m", "benchmarks.hosting", *sys.argv[1:])
        os.execvp(command[0], command)
    podman.configure(work)
    results = Results()
    try:
        if "files" in options.stages:
            for name, told in files.checks(work):
                results.add(name, told)
        if "images" in options.stages:
            images.build_standins(work)
            size = images.build_relay(work, options.torch_index, options.wheels)
            results.add("the relay's image", f"{size / 1e9:.2f} GB, of which the base {base_size() / 1e9:.2f} GB")
        if "stack" in options.stages:
            _stack(work, options, results)
    except (RuntimeError, AssertionError, TimeoutError, ValueError) as error:
        results.add("FAILED", str(error))
    finally:
        if options.json:
            options.json.write_text(json.dumps(results.lines, indent=2) + "\n")
    sys.exit("FAILED" in results.lines)


class Results:
    """What came of each check, printed as it comes."""

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def add(self, name: str, told: str) -> None:
        self.lines[name] = told
        print(f"{name}: {told}", flush=True)


def base_size() -> int:
    return podman.size(images.STANDINS["python"])


def _stack(work: Path, options: argparse.Namespace, results: Results) -> None:
    stack = stacks.prepare(work)
    network.build()
    names = network.serve_names({SITE: HOST_ADDRESS}, work)
    try:
        results.add("promtool test rules", files.rules())
        stacks.up(stack, options.site_packages)
        results.add("the relay", f"ready, recognises faces by {stacks.ready(stack)['recogniser']}")
        _services(stack, results)
        certificate = stacks.root_certificate(stack, work / "root.crt")
        home = calls.home(work, certificate)
        for way in calls.WAYS:
            results.add(way.name, _told(calls.call(stack, way, home, options.seconds)))
        results.add("hime join", calls.join(stack, work, certificate))
        results.add("the dashboard", stacks.waited_for("dashboard", lambda: monitoring.dashboard(stack), 30))
        results.add("alerts", monitoring.rules(stack))
        for name, told in doors.checks(stack):
            results.add(name, told)
        results.add("backup and restore", backup.restored(stack))
    except (RuntimeError, AssertionError, TimeoutError, ValueError):
        for name in stack.names:
            with suppress(Failed):
                (work / f"{name}.log").write_text(podman.logs(name))
        raise
    finally:
        if not options.keep:
            names.terminate()
            podman.down(stack.names)
            network.remove()


def _services(stack: Stack, results: Results) -> None:
    promtool = ("promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    checks: dict[str, Callable[[], Any]] = {
        "Prometheus": lambda: monitoring.scraped(stack),
        "promtool check config": lambda: " ".join(podman.execute("hime-prometheus", *promtool).split()),
        "PostgreSQL": lambda: _tables(podman.execute("hime-database", "psql", "-U", "hime", "hime", "-tc", TABLES)),
        "the relay's health check": lambda: _healthy(stack),
        "containers": lambda: _all_run(stack),
    }
    for name, check in checks.items():
        results.add(name, str(check()))


TABLES = "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1"


def _tables(printed: str) -> str:
    names = printed.split()
    assert names, "the relay made no tables"
    return f"tables of the relay: {', '.join(names)}"


def _healthy(stack: Stack) -> str:
    """The Dockerfile's own command, in the container."""
    found = re.search(r"HEALTHCHECK .*\\\n\s+CMD (\[.*\])", (images.ROOT / "Dockerfile").read_text())
    assert found
    podman.execute("hime-relay", *json.loads(found[1]))
    return "passes"


def _all_run(stack: Stack) -> str:
    stopped = [name for name, runs in podman.running(stack.names).items() if not runs]
    assert not stopped, f"{', '.join(stopped)} ended"
    return f"{len(stack.names)} run; not to be had here: {', '.join(sorted(stacks.MISSING))}"


def _told(result: dict[str, Any]) -> str:
    ways = [
        f"{direction} by {path['local']}" + (f" ({path['relayProtocol']})" if path["relayProtocol"] else "")
        for direction, path in ((name, result[name]) for name in ("publishes", "watches"))
    ]
    maker = "the relay's" if result["told"] else "the benchmark's"
    counts = f"{result['publishes']['sent']} frames sent, {result['watches']['decoded']} decoded"
    return f"{', '.join(ways)}, {maker} ICE servers: {counts}; the page shows {result['page']}"


if __name__ == "__main__":
    main()
