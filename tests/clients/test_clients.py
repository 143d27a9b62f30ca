"""Clients that others made, each really publishing to and watching from a relay; skipped where not installed."""

from __future__ import annotations

import pytest

from benchmarks.clients import CLIENTS
from benchmarks.clients.check import FRAMES, Client, Seen, Way, check, fault
from benchmarks.clients.own import HimeJoin
from benchmarks.shared.peers import serving

FOREIGN = [one for one in CLIENTS if not isinstance(one, HimeJoin)]  # its own tests are in tests/media/test_join.py
PUBLISHES = [(one, "publishes", codec) for one in FOREIGN for codec in one.publishes]
WATCHES = [(one, "watches", codec) for one in FOREIGN for codec in one.watches]


@pytest.mark.parametrize(
    ("client", "way", "codec"),
    [pytest.param(*case, id=f"{case[0].name}-{case[2]}-{case[1]}") for case in PUBLISHES + WATCHES],
)
async def test_a_client_of_others(client: Client, way: Way, codec: str) -> None:
    if missing := client.missing():
        pytest.skip(f"not installed: {missing}")
    async with serving() as relay:
        outcome = await check(client, str(relay.http.base_url).rstrip("/"), way, codec)
    assert outcome.error == "" and outcome.frames >= FRAMES, outcome


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (Seen(list(range(FRAMES)), 1), ""),
        (Seen(list(range(FRAMES)), None), ""),
        (Seen(list(range(FRAMES - 1)), 1), "pictures came"),
        (Seen(list(range(FRAMES)), 0), "no sound"),
        (Seen([7] * FRAMES, 1), "not those that were sent"),
        (Seen(list(range(FRAMES, 0, -1)), 1), "not those that were sent"),
        (Seen([*range(FRAMES), 3], 1), "not those that were sent"),
    ],
)
def test_what_counts_as_seen(seen: Seen, says: str) -> None:
    assert says in fault(seen) and bool(says) == bool(fault(seen))
