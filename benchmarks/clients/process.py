"""A client that is a process of its own: it ends with its standard input, and prints what it watches."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from benchmarks.clients.check import Seen

ENDING = 20.0  # seconds that it has for saying goodbye


async def run(command: list[str], over: asyncio.Event, seen: Seen | None = None) -> None:
    """Runs it until it is over. seen: gets a number for each line that is one, and a bit of sound for each `sound`.

    Raises RuntimeError with the last line that it complained with, where it fails."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin and process.stdout and process.stderr
    reading = asyncio.create_task(_read(process.stdout, seen or Seen()))
    complaints = asyncio.create_task(process.stderr.read())
    ended, told = asyncio.create_task(process.wait()), asyncio.create_task(over.wait())
    try:
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        process.stdin.close()
        code = await asyncio.wait_for(ended, ENDING)
        if code:
            said = (await complaints).decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"it ended with {code}")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        for task in (reading, complaints, ended, told):
            task.cancel()


async def _read(lines: asyncio.StreamReader, seen: Seen) -> None:
    async for line in lines:
        text = line.decode().strip()
        if text == "sound":
            seen.sound = (seen.sound or 0) + 1
        elif text.isdigit():
            seen.numbers.append(int(text))
