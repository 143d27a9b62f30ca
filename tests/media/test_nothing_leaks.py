"""Names, rooms, tokens, secrets and faces are in no log, metric, error or crash report of a relay that runs at its most
talkative."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import jwt
import pytest
from PIL import Image
from skimage import data

from benchmarks.shared.peers import MovingVideo, Peer, Tone, until

ROOM, ANN, BOB, KEY = "PlantedRoom", "PlantedAnn", "PlantedBob", "PlantedKey"
SECRET = "PlantedSecret-0123456789-0123456789"
PLANTED = (ROOM, ANN, BOB, SECRET, KEY, "PlantedNonsense")


class Running:
    """A relay as `hime serve` starts it, and all that it has said."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "said"
        environment = os.environ | {
            "HIME_API_KEYS": f"{KEY}:{SECRET}",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONDEVMODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "server.cli", "serve", "--port", "0", "--log-level", "debug"]
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--data", str(folder / "data")], stdout=out, stderr=subprocess.STDOUT, env=environment
            )

    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def url(self) -> str:
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(r"is ready on (http://\S+)", self.said()):
                return found[1].replace("localhost", "127.0.0.1")
            time.sleep(0.1)
        raise AssertionError(self.said())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    relay = Running(tmp_path)
    yield relay
    relay.process.kill()
    relay.process.wait()


@asynccontextmanager
async def _as(url: str, token: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as http:
        yield http


async def _use(url: str, tokens: dict[str, str], problems: list[str]) -> str:
    """A call with photos, and everything that goes wrong around one. Gives what the relay tells of itself."""
    async with _as(url, tokens[ANN]) as ann, _as(url, tokens[BOB]) as bob, _as(url, "") as stranger:
        photo = io.BytesIO()
        Image.fromarray(data.astronaut()).save(photo, "JPEG")
        files = {"photos": (f"{ANN}.jpg", photo.getvalue(), "image/jpeg")}
        people = f"/api/people/{ANN}"
        assert (await ann.post(f"{people}/exemplars", files=files, data={"consent": "true"})).status_code == 201
        publisher = await Peer(ann).publish(f"/whip/{ROOM}/{ANN}?person={ANN}", MovingVideo(), Tone())
        watcher = await Peer(bob).watch(f"/whep/{ROOM}/{ANN}")
        await until(lambda: len(watcher.frames) > 10, 60)
        listening = asyncio.create_task(_listen(bob))
        assert (await ann.get(f"/api/rooms/{ROOM}/{ANN}/bank")).status_code == 200

        nonsense = [
            stranger.get(f"/api/rooms/{ROOM}"),
            stranger.post(f"/whip/{ROOM}/{ANN}", content=f"v=0\r\ns={ANN}"),
            bob.post(f"/whip/{ROOM}/{ANN}", content="v=0", headers={"Content-Type": "application/sdp"}),
            bob.post(f"/whip/{ROOM}/{BOB}", content=f"v=0\r\ns={BOB}\r\n", headers={"Content-Type": "application/sdp"}),
            bob.post(f"/whip/{ROOM}/{BOB}?person={ANN}", content="v=0", headers={"Content-Type": "application/sdp"}),
            bob.delete(people),
            bob.get(f"{people}/exemplars/PlantedNonsense%20"),
            bob.get(f"/api/rooms/{ROOM}/{ANN}/bank"),
            bob.get(f"/PlantedNonsense/{ANN}"),
            bob.patch(publisher.location, content=ANN),
            ann.post(f"{people}/exemplars", files={"photos": (f"{ANN}.jpg", ANN.encode(), "image/jpeg")}),
            ann.post(
                f"{people}/exemplars",
                files={"photos": (f"{ANN}.jpg", ANN.encode(), "image/jpeg")},
                data={"consent": "true"},
            ),
            ann.post("/api/tokens", json={"room": ROOM, "name": BOB, "minutes": "PlantedNonsense"}),
            ann.post(f"/whep/{ROOM}/{ANN}?view=PlantedNonsense", content=ANN),
        ]
        for answer in await asyncio.gather(*nonsense):
            assert 400 <= answer.status_code < 500, (answer.request.url, answer.status_code)
            problems.append(answer.text)
        async with _as(url, f"{tokens[ANN]}PlantedNonsense") as forger:
            problems.append((await forger.get(f"/api/rooms/{ROOM}")).text)
        await asyncio.gather(publisher.close(), watcher.close())
        assert (await ann.delete(people)).status_code == 204
        listening.cancel()
        key = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        observer = {"Authorization": f"Basic {key}"}
        return (await stranger.get("/metrics", headers=observer)).text + (
            await stranger.get("/api/stats", headers=observer)
        ).text


async def _listen(http: httpx.AsyncClient) -> None:
    with suppress(httpx.HTTPError):
        async with http.stream("GET", f"/api/rooms/{ROOM}/events") as stream:
            async for _ in stream.aiter_lines():
                pass


async def test_nothing_of_a_person_is_told(running: Running) -> None:
    url = await asyncio.to_thread(running.url)
    grants = {"room": ROOM, "roomJoin": True, "canPublish": True, "canSubscribe": True}
    claims = {"iss": KEY, "exp": int(time.time()) + 600, "video": grants}
    tokens = {name: jwt.encode({**claims, "sub": name}, SECRET, "HS256") for name in (ANN, BOB)}
    problems: list[str] = []
    told = await _use(url, tokens, problems)
    running.process.send_signal(signal.SIGABRT)  # a crash, with Python's own report of it
    await asyncio.to_thread(running.process.wait, 30)
    said = running.said()
    assert "Fatal Python error" in said  # else nothing of a crash was looked at
    assert "DEBUG" in said and 'hime_frames_total{outcome="passed"}' in told
    for word in (*PLANTED, *tokens.values()):
        for where, text in (("log", said), ("metrics", told), ("problems", "\n".join(problems))):
            assert word not in text, f"{word} in the {where}: {_around(word, text)}"
    assert not re.search(r"[A-Za-z0-9+/=]{400,}|(?:\\x[0-9a-f]{2}){40,}|\xff\xd8\xff", said), "a picture in the log"


def test_a_crash_leaves_no_memory_on_disk(running: Running) -> None:
    running.url()
    limits = Path(f"/proc/{running.process.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


def _around(word: str, text: str) -> str:
    at = text.index(word)
    return text[max(0, at - 200) : at + 100]
