"""Offers of several streams of one picture (RFC 8853): of each section one stream is taken, the best."""

from __future__ import annotations

import math
from collections.abc import Mapping

STREAM_IDS = (
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
)
MOST_STREAMS = 16  # of a section, that are looked at
# Browsers say nothing about the streams, and applications name the smallest first as often as the largest.
FULL_NAMES = ("f", "full", "high", "hi", "h")


def best_streams(sdp: str) -> dict[str, str]:
    """By the section's a=mid, the name (a=rid) of the best stream that it offers to send, where it offers several.

    Those with the most pixels, then the most bits, by their restrictions (RFC 8851), where one without is the best;
    then those that are named for it; then the first, which the offerer prefers.
    """
    best: dict[str, str] = {}
    mid, rids, streams = "", dict[str, dict[str, str]](), list[str]()
    for line in [*sdp.splitlines(), "m="]:
        name, _, value = line.partition(":")
        if line.startswith("m="):
            if known := [one for one in streams[:MOST_STREAMS] if one in rids]:
                best[mid] = max(known, key=lambda one: (*_size(rids[one]), _named(one)))
            mid, rids, streams = "", {}, []
        elif name == "a=mid":
            mid = value.strip()
        elif name == "a=rid":
            fields = value.split(maxsplit=2)
            if fields[1:2] == ["send"]:
                restrictions = fields[2].split(";") if len(fields) > 2 else []
                rids[fields[0]] = dict(one.strip().split("=", 1) for one in restrictions if "=" in one)
        elif name == "a=simulcast":
            fields = value.split()
            if "send" in fields[:-1]:
                offered = fields[fields.index("send") + 1].split(";")
                streams = [alternatives.split(",")[0] for alternatives in offered]
                streams = [one for one in streams if not one.startswith("~")]  # those are not sent for now
    return best


def accept(answer: str, streams: Mapping[str, str]) -> str:
    """The answer with the lines that take these streams, by the section's a=mid."""
    for mid, name in streams.items():
        line = f"a=mid:{mid}\r\n"
        answer = answer.replace(line, f"{line}a=rid:{name} recv\r\na=simulcast:recv {name}\r\n", 1)
    return answer


def _size(restrictions: Mapping[str, str]) -> tuple[float, float]:
    """Pixels and bit/s."""
    width, height, rate = (_number(restrictions.get(name)) for name in ("max-width", "max-height", "max-br"))
    return width * height, rate


def _number(value: str | None) -> float:
    try:
        return math.inf if value is None else float(int(value[:10]))
    except ValueError:
        return math.inf


def _named(name: str) -> int:
    return -FULL_NAMES.index(name.lower()) if name.lower() in FULL_NAMES else -len(FULL_NAMES)
