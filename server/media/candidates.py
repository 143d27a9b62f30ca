"""Which of a peer's ICE candidates are taken: the relay sends connectivity checks to no other address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal

from aiortc import RTCIceCandidate

# The last label holds a letter, which tells a name from a wrong IPv4 address (RFC 1123, section 2.1).
HOST_NAME = re.compile(r"(?:[\w-]+\.)*[\w-]*[A-Za-z][\w-]*\.?", re.ASCII)
COMPONENT = 1  # RTP and RTCP share it

# What a cloud's machines ask for their credentials and settings, and no peer is behind.
METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Google, Azure, Oracle and others
            "169.254.170.2",  # AWS ECS
            "169.254.170.23",  # AWS EKS
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS EKS
            "fd20:ce::254",  # Google
            "168.63.129.16",  # Azure's wire server
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle, the older one
        ),
    )
)
THIS_NETWORK, RESERVED = IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4")  # the latter with broadcast
NAT64, LOCAL_NAT64 = IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48")  # RFC 6052, RFC 8215
ISATAP = 0x00005EFE, 0x02005EFE  # before the IPv4 address (RFC 5214, section 6.1)
COMPATIBLE = IPv6Network("::/96")  # IPv4-compatible (RFC 4291, deprecated), with :: and ::1


@dataclass(frozen=True)
class CandidateRules:
    """most: candidates of one session, offered and trickled ones together. loopback, link_local: whether such addresses
    are taken. Private networks always are; metadata services, multicast, broadcast and addresses that nobody has are
    not."""

    most: int = 50
    loopback: bool = True
    link_local: bool = False

    @classmethod
    def of(cls, most: int, allow: Literal["auto", "yes", "no"], loopback_only: bool) -> CandidateRules:
        """allow: as the setting `allow_local_candidates`; loopback_only: whether the relay listens on nothing else."""
        return cls(most, allow == "yes" or (allow == "auto" and loopback_only), allow == "yes")

    def allows(self, address: str) -> bool:
        """Whether a candidate with that address is taken. What is no IP address is not."""
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        plain = IPv6Address(int(ip)) if isinstance(ip, IPv6Address) else ip  # without its zone
        return all(map(self._allows, _meant(plain)))

    def _allows(self, ip: IPv4Address | IPv6Address) -> bool:
        if ip in METADATA or ip.is_multicast or ip.is_unspecified:
            return False
        if isinstance(ip, IPv6Address) and ip in LOCAL_NAT64:  # where the IPv4 address stands, its network alone knows
            return False
        if ip.is_loopback:
            return self.loopback
        if ip.is_link_local:
            return self.link_local
        return isinstance(ip, IPv6Address) or not (ip in THIS_NETWORK or ip in RESERVED)


def usable(candidates: Iterable[RTCIceCandidate]) -> list[RTCIceCandidate]:
    """Those that could be paired at all, each address once: the relay speaks UDP, on one component."""
    spoken = (one for one in candidates if one.protocol.lower() == "udp" and one.component == COMPONENT)
    return list({(one.ip, one.port): one for one in spoken}.values())


def reachable(line: str) -> bool:
    """Whether an a=candidate line, with or without its name, has an IP address and a port that can be."""
    fields = line.split()
    try:
        ip_address(fields[4])
        return 0 < int(fields[5]) < 65536
    except (IndexError, ValueError):
        return False


def named(line: str) -> bool:
    """Whether an a=candidate line has a host name in place of an address."""
    fields = line.split()
    return len(fields) > 5 and HOST_NAME.fullmatch(fields[4]) is not None and fields[5].isdecimal()


def _meant(ip: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address, and the IPv4 addresses that a gateway or the own machine may take it for."""
    if isinstance(ip, IPv4Address):
        return [ip]
    last = IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip in COMPATIBLE:
        return [ip] if int(ip) <= 1 else [ip, last]  # :: and ::1 are IPv6's own
    if ip.sixtofour is not None:
        return [ip, ip.sixtofour]
    if ip.teredo is not None:
        return [ip, *ip.teredo]
    if ip in NAT64:
        return [ip, last]
    if int(ip) >> 32 & 0xFFFFFFFF in ISATAP:
        return [ip, last]
    return [ip]
