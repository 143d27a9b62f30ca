"""`hime doctor --url` against a real relay, with a real coturn beside it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.coturn import SECRET, coturn
from tests.media.relay_process import relay_process


async def doctor(url: str, **environment: str) -> tuple[int | None, dict[str, object]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli", "doctor", "--url", url, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, json.loads(out)


async def test_it_calls_the_relay_by_every_way(tmp_path: Path) -> None:
    with coturn(tmp_path, "--allow-loopback-peers") as turn:
        urls = ",".join((f"stun:127.0.0.1:{turn.port}", *turn.urls))
        async with relay_process(tmp_path / "data", HIME_ICE_SERVERS=urls, HIME_TURN_SECRET=SECRET) as relay:
            code, told = await doctor(f"http://localhost:{relay.port}", SSL_CERT_FILE=str(turn.authority))
            assert code == 0 and told["ok"], told
            checks = [(check["name"], check["ok"]) for check in told["checks"]]  # type: ignore[index, attr-defined]
            assert checks == [
                *((name, True) for name in ("relay", "https", "ice servers", "stun", "turn", "turn", "turn", "call")),
                *[("turn alone", True)] * 3,
            ]
            assert SECRET not in str(told)
            assert await relay.count("hime_streams") == 0  # nobody is left behind


async def test_a_relay_with_invitations_tells_strangers_nothing(tmp_path: Path) -> None:
    keys = "tests:a-secret-of-the-tests-that-is-long-enough"
    async with relay_process(tmp_path / "data", HIME_API_KEYS=keys, HIME_ICE_SERVERS="stun:127.0.0.1:9") as relay:
        code, told = await doctor(f"http://localhost:{relay.port}/?room=den&name=eve")
        assert code == 1
        by_name = {check["name"]: check for check in told["checks"]}  # type: ignore[index, attr-defined]
        assert "no STUN or TURN server" in by_name["ice servers"]["detail"]
        assert "401" in by_name["call"]["detail"]
