"""Two machines as network namespaces: the host behind its firewall, and a guest in a network of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from benchmarks.hosting.shell import Failed, run, start

HOST, GUEST = "hime-host", "hime-guest"
HOST_ADDRESS, GUEST_ADDRESS = "192.0.2.1", "192.0.2.2"  # of a block for documentation (RFC 5737)
# The firewall of docs/self-hosting.md; tests/unit/test_hosting.py holds the two together.
TCP, UDP = (80, 443, 3478, 5349), (3478, 50000)


def build() -> None:
    """The two namespaces, joined by a cable, and the host's firewall: only what must be open is."""
    remove()
    for name in (HOST, GUEST):
        run("ip", "netns", "add", name)
    run("ip", "link", "add", "eth0", "netns", HOST, "type", "veth", "peer", "name", "eth0", "netns", GUEST)
    for name, address in ((HOST, HOST_ADDRESS), (GUEST, GUEST_ADDRESS)):
        run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", name, "link", "set", device, "up")
    filter_packets(
        HOST,
        "input",
        [
            "ct state established accept",
            f"tcp dport {{ {', '.join(map(str, TCP))} }} accept",
            f"udp dport {{ {', '.join(map(str, UDP))} }} accept",
            "drop",
        ],
    )


def serve_names(names: dict[str, str], work: Path) -> subprocess.Popen[bytes]:
    """A name server for the guest, as a LAN's router is one: browsers look TURN servers up by it alone."""
    (work / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    run("mount", "--bind", work / "resolv.conf", "/etc/resolv.conf")
    addresses = [f"--address=/{name}/{address}" for name, address in names.items()]
    fixed = ("--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file")
    command = (*within(GUEST), "dnsmasq", *fixed, "--listen-address=127.0.0.1", "--bind-interfaces", *addresses)
    return start(command, work / "dnsmasq.log")


def filter_packets(namespace: str, hook: str, rules: Iterable[str]) -> None:
    """Replaces the packet filter of a namespace, which lets loopback be. hook: input or output."""
    rules = [f"meta {'iif' if hook == 'input' else 'oif'} lo accept", *rules]
    lines = "\n".join(f"    {rule}" for rule in rules)
    chain = f"  chain way {{\n    type filter hook {hook} priority 0;\n{lines}\n  }}\n"
    text = f"flush ruleset\ntable inet filter {{\n{chain}}}\n"
    run(*within(namespace), "nft", "-f", "-", stdin=text)


def within(namespace: str) -> tuple[str, ...]:
    """Before a command: runs it in that namespace's network."""
    return ("nsenter", f"--net=/run/netns/{namespace}")


def remove() -> None:
    for name in (HOST, GUEST):
        if Path(f"/run/netns/{name}").exists():
            with suppress(Failed):
                run("ip", "netns", "delete", name)
