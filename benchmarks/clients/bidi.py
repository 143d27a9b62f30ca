"""A headless Firefox, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/) without a driver beside it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

PATIENCE = 90.0  # seconds for a start, or for an answer: busy machines are slow
LISTENS = "WebDriver BiDi listening on "
PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,  # a camera and a microphone that are made up
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    # nothing is asked of anybody outside
    "app.update.disabledForTesting": True,
    "app.normandy.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
}


def firefox_path() -> str | None:
    return next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)


class Failed(RuntimeError):
    """Firefox refused a command, or a script in it has thrown; the message is its own."""


class Page:
    """One tab. complaints: what was written to its console as a warning or an error."""

    def __init__(self, socket: ClientConnection) -> None:
        self.complaints: list[str] = []
        self._socket, self._ids = socket, itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._context = ""

    async def open(self) -> None:
        await self._command("session.new", capabilities={})
        await self._command("session.subscribe", events=["log.entryAdded"])
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def goto(self, url: str) -> None:
        await self._command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def before_each(self, script: str) -> None:
        """Runs the script in every page from here on, before its own."""
        await self._command("script.addPreloadScript", functionDeclaration=f"() => {{ {script} }}")

    async def resize(self, width: int, height: int) -> None:
        """width, height: of the page, CSS pixels."""
        viewport = {"width": width, "height": height}
        await self._command("browsingContext.setViewport", context=self._context, viewport=viewport)

    async def evaluate(self, function: str, *arguments: Any) -> Any:
        """What the function, which may be async, returns when called with the arguments; all of it as JSON has it.

        Raises Failed."""
        values = ", ".join(map(json.dumps, arguments))
        answer = await self._command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({function})({values})) ?? 'null')()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise Failed(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    async def until(self, function: str, *arguments: Any, seconds: float = PATIENCE) -> Any:
        """What the function returns once that is true. Raises Failed."""
        async with asyncio.timeout(seconds):
            while not (found := await self.evaluate(function, *arguments)):
                await asyncio.sleep(0.2)
        return found

    async def screenshot(self, path: Path) -> None:
        answer = await self._command("browsingContext.captureScreenshot", context=self._context)
        path.write_bytes(base64.b64decode(answer["data"]))

    async def close(self) -> None:
        with suppress(Exception):  # it is ended otherwise then
            await self._command("browser.close")

    async def read(self) -> None:
        """Takes what Firefox sends, until it ends."""
        async for text in self._socket:
            message = json.loads(text)
            if message["type"] == "event":
                if message["method"] == "log.entryAdded" and message["params"]["level"] in ("warn", "error"):
                    self.complaints.append(str(message["params"]["text"]))
            elif (waiting := self._waiting.pop(message["id"], None)) is not None and not waiting.done():
                if message["type"] == "error":
                    waiting.set_exception(Failed(f"{message['error']}: {message['message']}"))
                else:
                    waiting.set_result(message["result"])

    async def _command(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        return await asyncio.wait_for(answer, PATIENCE)


@asynccontextmanager
async def firefox(**preferences: bool | int | str) -> AsyncIterator[Page]:
    """A Firefox of its own with a blank page. preferences: more of about:config."""
    path = firefox_path()
    assert path is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in (PREFERENCES | preferences).items()]
        Path(profile, "user.js").write_text("".join(lines))
        command = [path, "--headless", "--profile", profile, "--no-remote", "--remote-debugging-port", "0"]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        tasks: list[asyncio.Task[None]] = []
        try:
            url = await asyncio.wait_for(_address(process.stderr), PATIENCE)
            tasks.append(asyncio.create_task(_drained(process.stderr)))
            async with connect(f"{url}/session", max_size=None, proxy=None) as socket:
                page = Page(socket)
                tasks.append(asyncio.create_task(page.read()))
                await page.open()
                yield page
                await page.close()
        finally:
            for task in tasks:
                task.cancel()
            with suppress(TimeoutError, ProcessLookupError):
                process.terminate()
                await asyncio.wait_for(process.wait(), 10)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _address(lines: asyncio.StreamReader) -> str:
    async for line in lines:
        if LISTENS in (text := line.decode(errors="replace")):
            return text.partition(LISTENS)[2].strip()
    raise Failed("Firefox ended before it was ready")


async def _drained(lines: asyncio.StreamReader) -> None:
    while await lines.read(65536):
        pass
