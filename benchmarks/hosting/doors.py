"""What a guest must not get at."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.hosting import stack as stacks
from benchmarks.hosting.network import GUEST, GUEST_ADDRESS, HOST_ADDRESS, within
from benchmarks.hosting.shell import Failed, run
from benchmarks.hosting.stack import SITE, Stack

INSIDE = (8080, 9090, 9100, 3000, 5432)  # relay, Prometheus, node-exporter, Grafana, PostgreSQL
FORBIDDEN, REFUSED = "channel bind: error 403", "Cannot complete Allocation"  # of turnutils_uclient


def checks(stack: Stack) -> Iterator[tuple[str, str]]:
    """Raises AssertionError where a door is open."""
    for port in INSIDE:
        assert not _answers(f"http://{HOST_ADDRESS}:{port}/"), f"a guest reaches port {port}"
    yield "ports inside", f"{', '.join(map(str, INSIDE))} are closed to guests"
    insecure = ("--insecure", "--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}")
    plain = _curl(f"http://{SITE}/", *insecure)
    assert plain == f"308 https://{SITE}/", plain
    metrics = _curl(f"https://{SITE}/metrics", *insecure).strip()
    assert metrics == "404", metrics
    yield "Caddy", "http leads to https, /metrics is not told"
    yield "TURN", _turn(stack)


def _turn(stack: Stack) -> str:
    """Relays to the relay and to nobody else, and only with credentials that the relay made."""
    server = stacks.ice_servers(stack)[0]
    client = ("timeout", "30", "turnutils_uclient", "-v", "-n", "1", "-c", "-r", "50000")
    for peer in (GUEST_ADDRESS, "127.0.0.1"):
        told = _printed(*client, "-u", server["username"], "-w", server["credential"], "-e", peer, HOST_ADDRESS)
        assert FORBIDDEN in told, f"TURN relays to {peer}: {told[-500:]}"
    told = _printed(*client, "-u", server["username"], "-w", "guessed", "-e", HOST_ADDRESS, HOST_ADDRESS)
    assert REFUSED in told, f"TURN takes any password: {told[-500:]}"
    return "relays to the relay alone, and takes no password but one that the relay made"


def _printed(*command: str) -> str:
    try:
        return run(*within(GUEST), *command)
    except Failed as error:  # which is what is hoped for
        return str(error)


def _answers(url: str) -> bool:
    try:
        _curl(url, "--max-time", "3")
    except Failed:
        return False
    return True


def _curl(url: str, *options: str) -> str:
    return run(*within(GUEST), "curl", "--silent", "--max-time", "10", *options, url).strip()
