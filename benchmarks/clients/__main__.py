"""Clients that others made, each publishing to and watching from a relay on loopback.

    python -m benchmarks.clients [--only NAMES] [--json]

One that is not installed is left out, and named with what it needs. Exit code 1 where one that ran got no picture, or
a wrong one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict

from benchmarks.clients import CLIENTS
from benchmarks.clients.check import Client, Outcome, Way, check
from benchmarks.clients.node import install
from benchmarks.shared.relays import hime

WAYS: tuple[Way, ...] = ("publishes", "watches")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"of {', '.join(one.name for one in CLIENTS)}, with commas between")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wanted = {name.lower() for name in options.only.split(",") if name}
    if unknown := wanted - {one.name.lower() for one in CLIENTS}:
        parser.error(f"no client is called {', '.join(unknown)}: {', '.join(one.name for one in CLIENTS)}")
    chosen = [one for one in CLIENTS if not wanted or one.name.lower() in wanted]
    install()
    for client in chosen:
        if missing := client.missing():
            print(f"left out: {missing}", file=sys.stderr)
    with hime(None, None) as relay:
        outcomes = asyncio.run(run([one for one in chosen if not one.missing()], relay.url))
    if options.json:
        print(json.dumps([asdict(one) for one in outcomes]))
    sys.exit(any(one.error for one in outcomes))


async def run(clients: list[Client], url: str) -> list[Outcome]:
    outcomes = []
    for client in clients:
        for way in WAYS:
            for codec in getattr(client, way):
                outcomes.append(await check(client, url, way, codec))
                print(line(outcomes[-1]), file=sys.stderr, flush=True)
    return outcomes


def line(one: Outcome) -> str:
    shown = one.error or f"{one.frames} pictures, {one.sound} of sound, after {one.seconds} s"
    return f"{one.client} {one.version} {one.way} {one.codec}: {shown}"


if __name__ == "__main__":
    main()
