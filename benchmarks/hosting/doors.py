"""What a guest must not get at."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.hosting import stack as stacks
from benchmarks.hosting.network import GUEST, GUEST_ADDRESS, HOST_ADDRESS, within
from benchmarks.hosting.shell import Failed, run
from benchmarks.hosting.stack import SITE, Stack

INSIDE = (8080, 9090, 9100, 3000, 5432)  # relay, Prometheus, node-exporter, Grafana, PostgreSQL
REFUSED = "error 403"


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
    client = ("timeout", "30", "turnutils_uclient", "-n", "1", "-c", "-r", "50000", "-X")
    good = ("-u", server["username"], "-w", server["credential"])
    allowed = _printed(*client, *good, "-e", HOST_ADDRESS, HOST_ADDRESS)
    assert REFUSED not in allowed and "success" in allowed, allowed[-500:]
    other = _printed(*client, *good, "-e", GUEST_ADDRESS, HOST_ADDRESS)
    assert REFUSED in other, f"TURN relays to {GUEST_ADDRESS}: {other[-500:]}"
    wrong = _printed(*client, "-u", server["username"], "-w", "guessed", "-e", HOST_ADDRESS, HOST_ADDRESS)
    assert "success" not in wrong or "error 401" in wrong, f"TURN takes any password: {wrong[-500:]}"
    return "relays to the relay alone; another peer 403, a wrong password 401"


def _printed(*command: str) -> str:
    try:
        return run(*within(GUEST), *command)
    except Failed as error:  # the client's packets come back from nobody, which it takes for an error
        return str(error)


def _answers(url: str) -> bool:
    try:
        _curl(url, "--max-time", "3")
    except Failed:
        return False
    return True


def _curl(url: str, *options: str) -> str:
    return run(*within(GUEST), "curl", "--silent", "--max-time", "10", *options, url).strip()
