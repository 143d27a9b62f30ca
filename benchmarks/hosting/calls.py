"""Calls of a guest's browser: the direct way, and where a firewall leaves nothing but TURN."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from skimage import data

from benchmarks.hosting import stack as stacks
from benchmarks.hosting.network import GUEST, filter_packets, within
from benchmarks.hosting.shell import run
from benchmarks.hosting.stack import SITE, Stack

PICTURES = 30  # decoded at least


@dataclass(frozen=True)
class Way:
    """rules: of the guest's packet filter, for what it sends; relay_protocol: how its TURN server is reached."""

    name: str
    rules: tuple[str, ...]
    relay_protocol: str | None


WAYS = (
    Way("UDP to the relay's one port", (), None),
    Way("TURN over UDP", ("udp dport != 3478 drop", "tcp dport { 3478, 5349 } drop"), "udp"),
    Way("TURN over TCP", ("meta l4proto udp drop", "tcp dport 5349 drop"), "tcp"),
    Way("TURN over TLS", ("meta l4proto udp drop", "tcp dport 3478 drop"), "tls"),
)


def home(work: Path, certificate: Path) -> Path:
    """A home whose browser trusts Caddy's own CA, as a device that the certificate was installed on."""
    folder = work / "home"
    shutil.rmtree(folder, ignore_errors=True)
    store = folder / ".pki/nssdb"
    store.mkdir(parents=True)
    run("certutil", "-d", f"sql:{store}", "-N", "--empty-password")
    run("certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "hime", "-i", certificate)
    return folder


def call(stack: Stack, way: Way, home: Path, seconds: float) -> dict[str, Any]:
    """What the browser saw. Raises AssertionError where the call went another way, or too few pictures came."""
    filter_packets(GUEST, "output", way.rules)
    room = "hosting"
    told = {
        "token": stacks.token(stack, room, "guest"),
        "servers": stacks.ice_servers(stack),
        "link": f"https://{SITE}/?room={room}&name=page&autojoin=1#token={stacks.token(stack, room, 'page')}",
    }
    command = (sys.executable, "-m", "benchmarks.hosting.guest", f"https://{SITE}/", room, str(home), str(seconds))
    printed = run(*within(GUEST), *command, stdin=json.dumps(told))
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    filter_packets(GUEST, "output", ())
    for direction in ("publishes", "watches"):
        path = result[direction]
        if way.relay_protocol is None:
            assert path["local"] != "relay" and path["remotePort"] == 50000, f"{way.name}: {result}"
        else:
            assert (path["local"], path["relayProtocol"]) == ("relay", way.relay_protocol), f"{way.name}: {result}"
    assert result["watches"]["decoded"] >= PICTURES, f"{way.name}: {result}"
    return result


def join(stack: Stack, work: Path, certificate: Path) -> str:
    """`hime join` by https, with a clip; its own picture comes back. Raises AssertionError."""
    clip = work / "clip.mp4"
    _write_clip(clip)
    link = f"https://{SITE}/?room=hosting&name=cli#token={stacks.token(stack, 'hosting', 'cli')}"
    options = ("--publish", str(clip), "--loop", "--watch", "cli", "--seconds", "8", "--json")
    command = (*within(GUEST), sys.executable, "-m", "server.cli", "join", link, *options)
    printed = run(*command, env={"SSL_CERT_FILE": str(certificate)})
    told = json.loads(printed.splitlines()[-1])
    assert told["frames_received"] >= PICTURES, told
    return f"{told['frames_sent']} frames sent, {told['frames_received']} received, {told['size']}"


def _write_clip(path: Path) -> None:
    """Four seconds of skimage's astronaut, moving."""
    picture = data.astronaut()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(100):
            view = np.ascontiguousarray(picture[index : index + 180, 60:380])
            for packet in stream.encode(av.VideoFrame.from_ndarray(view, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
