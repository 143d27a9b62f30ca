"""Clients ask which node has a room, and give their token to nobody else."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from server.client.link import Link
from server.client.nodes import Nodes
from server.client.peer import Refused

LINK = Link("https://one.test", "den", "ann", "TOKEN")
Answer = Callable[[httpx.Request], httpx.Response]


def told(node: str, *nodes: str) -> Answer:
    return lambda request: httpx.Response(200, json={"room": "den", "node": node, "nodes": list(nodes)})


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("lost")


class Web:
    def __init__(self, **hosts: Answer) -> None:
        self.hosts, self.asked = hosts, list[str]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.url.host} {request.headers.get('authorization')}")
        return self.hosts[request.url.host.partition(".")[0]](request)


async def found(nodes: Nodes) -> str:
    return (await nodes.find()).base


async def test_the_node_of_the_room_is_asked_and_another_when_it_is_lost() -> None:
    web = Web(one=told("https://two.test", "https://one.test", "https://two.test"), two=lost)
    async with httpx.AsyncClient(transport=httpx.MockTransport(web)) as http:
        nodes = Nodes(http, LINK)
        assert await found(nodes) == "https://two.test"
        web.hosts["one"] = told("https://one.test", "https://one.test")
        assert await found(nodes) == "https://one.test"
        web.hosts = {"one": lost, "two": told("https://two.test", "https://two.test")}
        assert await found(nodes) == "https://two.test"
        assert set(web.asked) == {"one.test Bearer TOKEN", "two.test Bearer TOKEN"}


async def test_a_proxy_before_a_lost_node_does_not_speak_for_the_room() -> None:
    web = Web(one=told("https://two.test", "https://one.test", "https://two.test"))
    async with httpx.AsyncClient(transport=httpx.MockTransport(web)) as http:
        nodes = Nodes(http, LINK)
        await nodes.find()
        web.hosts = {"two": lambda request: httpx.Response(502), "one": told("https://one.test", "https://one.test")}
        assert await found(nodes) == "https://one.test"
        web.hosts["one"] = lost
        assert await found(nodes) == "https://two.test"


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: httpx.Response(404, json={"status": 404}),
        lambda request: httpx.Response(200, text="<html>"),
        lambda request: httpx.Response(200, json={"node": 1, "nodes": []}),
        lambda request: httpx.Response(200, json={"node": "javascript:alert(1)", "nodes": []}),
        lambda request: httpx.Response(401),
    ],
)
async def test_a_relay_that_tells_of_no_nodes_is_asked_itself(answer: Answer) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(Web(one=answer))) as http:
        assert await found(Nodes(http, LINK)) == LINK.base


async def test_where_no_node_answers_it_is_said() -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(Web(one=lost))) as http:
        with pytest.raises(Refused, match="does not answer"):
            await Nodes(http, LINK).find()
