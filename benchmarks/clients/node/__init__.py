"""Stacks from npm: werift, which is all JavaScript, and libdatachannel, which is what OBS speaks WHIP with."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import rtp
from benchmarks.clients.check import Seen
from benchmarks.clients.process import run

FOLDER = Path(__file__).parent
INSTALL = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]


@dataclass(frozen=True)
class NodeClient:
    """package: on npm. It brings no codecs: pictures are encoded and decoded here."""

    name: str
    package: str
    publishes: tuple[str, ...] = ("VP8", "H264")
    watches: tuple[str, ...] = ("VP8", "H264")

    def missing(self) -> str:
        if shutil.which("node") is None:
            return f"{self.name}: `apt-get install nodejs npm`"
        if not self._installed.is_file():
            return f"{self.name}: `npm install --prefix benchmarks/clients/node --no-package-lock`"
        return ""

    def version(self) -> str:
        return str(json.loads(self._installed.read_text())["version"])

    async def publish(self, url: str, codec: str, over: asyncio.Event) -> None:
        port = rtp.free_udp_port()
        sending = asyncio.create_task(rtp.send(codec, port))
        try:
            await run(self._command("publish", url, codec, port), over)
        finally:
            sending.cancel()

    async def watch(self, url: str, codec: str, seen: Seen, over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: rtp.Received(codec, seen), local_addr=("127.0.0.1", 0)
        )
        try:
            await run(self._command("watch", url, codec, transport.get_extra_info("sockname")[1]), over)
        finally:
            transport.close()

    def _command(self, way: str, url: str, codec: str, port: int) -> list[str]:
        return ["node", str(FOLDER / f"{self.name}.mjs"), way, url, codec, str(port)]

    @property
    def _installed(self) -> Path:
        return FOLDER / "node_modules" / self.package / "package.json"


def install() -> None:
    """Brings both, where npm is and they are not. Raises CalledProcessError."""
    if shutil.which("npm") and not (FOLDER / "node_modules").is_dir():
        subprocess.run(INSTALL, cwd=FOLDER, check=True, stdout=subprocess.DEVNULL)
