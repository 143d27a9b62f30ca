"""To which addresses the relay sends connectivity checks."""

from __future__ import annotations

import pytest
from aiortc import RTCIceCandidate

from server.media.candidates import CandidateRules, usable

LOCAL = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1")
LINK_LOCAL = ("169.254.1.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.1.1")
NEVER = (
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.251",
    "239.1.2.3",
    "ff02::fb",
    "255.255.255.255",
    "240.0.0.1",
    # metadata services, and all the ways of writing them
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a83f:8110",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2002:6464:64c8::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",  # Teredo: the client's address, inverted
    "fe80::5efe:a9fe:a9fe",
    "fd12::200:5efe:169.254.169.254",
    "64:ff9b::0.0.0.0",
)
PUBLIC_AND_PRIVATE = (
    "192.0.2.5",
    "198.51.100.7",
    "10.1.2.3",
    "172.16.4.4",
    "192.168.1.9",
    "100.64.0.9",
    "fd00::2",
    "2001:db8::1",
    "2001:4860:4860::8888",
    "::ffff:192.168.1.9",
    "64:ff9b::8.8.8.8",
)
NO_ADDRESS = ("", "localhost", "metadata.google.internal", "127.1", "0x7f.0.0.1", "2130706433", "127.0.0.01", "1.2.3")


def rules(allow: str, loopback_only: bool = False) -> CandidateRules:
    return CandidateRules.of(50, allow, loopback_only)


@pytest.mark.parametrize("allow", ["auto", "yes", "no"])
@pytest.mark.parametrize("loopback_only", [True, False])
def test_where_no_peer_is_nothing_is_ever_sent(allow: str, loopback_only: bool) -> None:
    given = rules(allow, loopback_only)
    assert [one for one in (*NEVER, *NO_ADDRESS) if given.allows(one)] == []
    assert [one for one in PUBLIC_AND_PRIVATE if not given.allows(one)] == []


@pytest.mark.parametrize(
    ("given", "loopback", "link_local"),
    [
        (rules("auto", loopback_only=True), True, False),
        (rules("auto", loopback_only=False), False, False),
        (rules("yes"), True, True),
        (rules("no", loopback_only=True), False, False),
    ],
)
def test_local_addresses_where_they_are_allowed(given: CandidateRules, loopback: bool, link_local: bool) -> None:
    assert {given.allows(one) for one in LOCAL} == {loopback}
    assert {given.allows(one) for one in LINK_LOCAL} == {link_local}


def test_what_cannot_be_paired_is_left_out_and_nothing_counts_twice() -> None:
    def candidate(ip: str, port: int, protocol: str = "udp", component: int = 1) -> RTCIceCandidate:
        return RTCIceCandidate(component, "1", ip, port, 1, protocol, "host")

    offered = [
        candidate("192.0.2.5", 5000),
        candidate("192.0.2.5", 5000),  # of another section
        candidate("192.0.2.5", 5001, "UDP"),
        candidate("192.0.2.5", 9, "tcp"),
        candidate("192.0.2.5", 5002, component=2),
    ]
    assert [(one.ip, one.port) for one in usable(offered)] == [("192.0.2.5", 5000), ("192.0.2.5", 5001)]
