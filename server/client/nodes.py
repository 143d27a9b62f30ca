"""Which of several nodes has a room, as any of them says (docs/cluster.md)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from server.client.link import Link
from server.client.peer import NO_ANSWER, Refused

ANSWER_WITHIN = 3.0  # seconds


class Nodes:
    """A token goes to the link's own relay, and to those that it names as its nodes."""

    def __init__(self, http: httpx.AsyncClient, link: Link) -> None:
        self._http, self._link = http, link
        self._known = [link.base]

    async def find(self) -> Link:
        """The link, to the node that has the room: the first of all nodes that are known to tell it counts. Where none
        does, whoever answers otherwise: it is the only relay, or refuses, as it will what follows. Raises Refused where
        nobody answers."""
        others = ""
        asked = [asyncio.ensure_future(self._ask(base)) for base in self._known]
        try:
            for answer in asyncio.as_completed(asked):
                base, told = await answer
                if told:
                    return replace(self._link, base=base)
                others = others or base  # a proxy before a node that is lost may be the first to answer
        finally:
            for one in asked:
                one.cancel()
        if others:
            return replace(self._link, base=others)
        raise Refused(NO_ANSWER.format("none of its addresses"))

    async def _ask(self, base: str) -> tuple[str, bool]:
        """An address, and whether it was told as that of the room's node. Empty where there is no answer."""
        try:
            url = f"{base}/api/rooms/{self._link.room}/node"
            answer = await self._http.get(url, headers=self._link.headers, timeout=ANSWER_WITHIN)
            told = answer.json() if answer.status_code == 200 else {}
            node, nodes = _origin(told["node"]), [_origin(one) for one in told["nodes"]]
        except httpx.HTTPError:
            return "", False
        except (ValueError, KeyError, TypeError):
            return base, False
        self._known = list(dict.fromkeys([node, *nodes, *self._known]))
        return node, True


def _origin(url: object) -> str:
    """Raises ValueError."""
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError
    return f"{parts.scheme}://{parts.netloc}"
