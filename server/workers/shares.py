"""What each worker has of what there is once."""

from __future__ import annotations

from server.settings import Settings


def shares(settings: Settings) -> list[Settings]:
    """The settings of each worker.

    UDP ports are divided, a worker with one port shares it among its sessions; so are connection tests, which go to the
    workers by turns, and who is remembered. All other limits stay as they are, and the front sees to it that they hold
    for all workers together.
    """
    count = settings.worker_count
    ranges = divided_ports(settings.ports, count)
    return [
        settings.model_copy(
            update={
                "udp_ports": ports,
                "max_checks": max(1, part(settings.max_checks, count, number)),
                "max_remembered": part(settings.max_remembered, count, number),
            }
        )
        for number, ports in enumerate(ranges)
    ]


def part(whole: int, count: int, number: int) -> int:
    """The share of the worker with that number, from 0; together they are the whole."""
    return whole // count + (number < whole % count)


def divided_ports(ports: tuple[int, int], count: int) -> list[str]:
    """HIME_UDP_PORTS of each worker. ports: the first and the last; 0 and 0 for any free ones. Settings have as many as
    workers, at least."""
    first, last = ports
    if not last:
        return [""] * count
    there = last - first + 1
    ranges = []
    for number in range(count):
        size = part(there, count, number)
        ranges.append(f"{first}-{first + size - 1}")
        first += size
    return ranges
