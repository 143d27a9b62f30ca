"""Bodies and connections over a real socket: too large, too slow, too many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request

from server import problems
from server.limits.bodies import BodyLimit
from server.limits.connections import Connections
from server.observability.events import EventStream
from server.problems import Problem


class Served:
    def __init__(self, port: int, counted: list[str], connections: Connections) -> None:
        self.port, self.counted, self.connections = port, counted, connections
        self.released = 0

    def release(self) -> None:
        self.released += 1

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, *parts: str, pause: float = 0.0) -> bytes:
        """Writes the parts, and reads until the server closes."""
        reader, writer = await self.open()
        try:
            for part in parts:
                writer.write(part.encode())
                await writer.drain()
                await asyncio.sleep(pause)
            return await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def served(
    most: int = 100, of_each: int = 100, timeout: float = 5.0, min_rate: float = 4000.0, size: int = 1000
) -> AsyncIterator[Served]:
    counted: list[str] = []
    app = FastAPI()
    app.add_middleware(
        BodyLimit, limit=lambda path: size, patience=timeout, min_rate=min_rate, refused=counted.append, before=before
    )
    problems.install(app)

    @app.post("/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    @app.get("/events")
    async def events() -> EventStream:
        async def sent() -> AsyncIterator[str]:
            yield "first"
            await asyncio.sleep(60)

        return EventStream(sent(), relay)

    connections = Connections(most, of_each, timeout, counted.append)
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", http=connections.protocol(), ws="none")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    relay = Served(server.servers[0].sockets[0].getsockname()[1], counted, connections)
    try:
        yield relay
    finally:
        server.should_exit = server.force_exit = True
        await running


def before(path: str, address: str) -> None:
    if path == "/refused":
        raise Problem(429, f"Not from {address}.", {"Retry-After": "3"})


def problem(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head and b"connection: close" in head.lower(), answer
    return json.loads(body)


POST = "POST /body HTTP/1.1\r\nHost: x\r\n"


async def test_a_body_that_is_announced_as_too_large_is_not_read() -> None:
    async with served() as relay:
        answer = problem(await relay.send(POST + "Content-Length: 1001\r\n\r\n"))
    assert answer["status"] == 413 and "at most 1000 bytes" in str(answer["detail"])
    assert relay.counted == ["body_size"]


async def test_a_body_that_turns_out_too_large_is_not_read_on() -> None:
    async with served() as relay:
        chunk = "258\r\n" + "x" * 600 + "\r\n"
        answer = problem(await relay.send(POST + "Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, pause=0.05))
    assert answer["status"] == 413 and relay.counted == ["body_size"]


async def test_a_body_that_comes_too_slowly_is_given_up() -> None:
    async with served(timeout=0.3, min_rate=1000) as relay:
        answer = problem(await relay.send(POST + "Content-Length: 900\r\n\r\n", *["x"] * 5, pause=0.03))
    assert answer["status"] == 408 and "at least 1000 bytes a second" in str(answer["detail"])
    assert relay.counted == ["body_time"]


async def test_a_body_that_is_slow_but_fast_enough_is_taken() -> None:
    async with served(timeout=0.3, min_rate=200) as relay:
        head = POST + "Connection: close\r\nContent-Length: 900\r\n\r\n"
        answer = await relay.send(head, *["x" * 90] * 10, pause=0.05)
    assert answer.endswith(b"900") and relay.counted == []


async def test_what_is_refused_before_its_body() -> None:
    async with served() as relay:
        answer = await relay.send("POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")
    assert problem(answer)["detail"] == "Not from 127.0.0.1." and b"retry-after: 3" in answer


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((), "idle_connections"),
        (("POST /bo",), "headers_time"),
        (("GET /events HTTP/1.1\r\n", "Host: x\r\n"), "headers_time"),
    ],
)
async def test_who_does_not_say_what_it_wants_is_cut(parts: tuple[str, ...], reason: str) -> None:
    async with served(timeout=0.2) as relay:
        assert await relay.send(*parts, pause=0.02) == b""
        assert relay.counted == [reason] and relay.connections.open == 0


async def test_a_second_request_on_a_connection_is_awaited_no_longer_either() -> None:
    async with served(timeout=0.2) as relay:
        answer = await relay.send(POST + "Content-Length: 3\r\n\r\nabc", "POST /bo", pause=0.1)
        assert answer.startswith(b"HTTP/1.1 200") and relay.counted == ["headers_time"]


async def test_a_listener_is_not_cut_and_gives_its_place_back() -> None:
    async with served(timeout=0.2) as relay:
        reader, writer = await relay.open()
        writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"data: first")
        await asyncio.sleep(0.6)
        assert not reader.at_eof() and relay.released == 0 and relay.connections.open == 1
        writer.close()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if relay.released:
                break
        assert relay.released == 1 and relay.connections.open == 0 and relay.counted == []


async def test_connections_are_limited_in_all_listeners_included() -> None:
    async with served(most=3) as relay, httpx.AsyncClient(base_url=f"http://127.0.0.1:{relay.port}") as http:
        listening = [await relay.open() for _ in range(3)]
        for _, writer in listening:
            writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in listening:
            await reader.readuntil(b"data: first")
        refused = await http.post("/body", content=b"abc")
        assert refused.status_code == 503 and refused.headers["retry-after"]
        assert "Too many connections" in refused.json()["detail"] and relay.counted == ["connections"]
        listening[0][1].close()
        await asyncio.sleep(0.2)
        assert (await http.post("/body", content=b"abc")).json() == 3


async def test_far_more_connections_than_allowed_are_not_even_answered() -> None:
    async with served(most=3) as relay:
        opened = [await relay.open() for _ in range(20)]
        await asyncio.sleep(0.2)
        assert relay.connections.open <= 6
        for _, writer in opened:
            writer.close()
        await asyncio.sleep(0.2)
        assert relay.connections.open == 0 and not relay.connections.by_network


def test_one_address_has_a_limit_of_its_own_unless_a_proxy_may_be_behind_it() -> None:
    connections = Connections(100, 2, 1.0)
    assert [connections.add("192.0.2.7") for _ in range(3)] == [True, True, False]
    assert [connections.add(f"2001:db8::{n}") for n in range(3)] == [True, True, False]
    assert all(connections.add("127.0.0.1") for _ in range(10))
    assert connections.add("192.0.2.8")
    for address in (*["192.0.2.7"] * 3, *[f"2001:db8::{n}" for n in range(3)], *["127.0.0.1"] * 10, "192.0.2.8"):
        connections.remove(address)
    assert connections.open == 0 and not connections.by_network
