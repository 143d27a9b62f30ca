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
        """The link, to the node that has the room: the first answer of all nodes that are known counts. As it is where
        the relay is the only one. Raises Refused where nobody answers."""
        asked = [asyncio.ensure_future(self._ask(base)) for base in self._known]
        try:
            for answer in asyncio.as_completed(asked):
                if found := await answer:
                    return replace(self._link, base=found)
        finally:
            for one in asked:
                one.cancel()
        raise Refused(NO_ANSWER.format("none of its addresses"))

    async def _ask(self, base: str) -> str:
        """Empty where there is no answer."""
        try:
            url = f"{base}/api/rooms/{self._link.room}/node"
            answer = await self._http.get(url, headers=self._link.headers, timeout=ANSWER_WITHIN)
            told = answer.json() if answer.status_code == 200 else {}
            node, nodes = _origin(told["node"]), [_origin(one) for one in told["nodes"]]
        except httpx.HTTPError:
            return ""
        except (ValueError, KeyError, TypeError):  # it is the only one, or refuses, as it will what follows
            return base
        self._known = list(dict.fromkeys([node, *nodes, *self._known]))
        return node


def _origin(url: object) -> str:
    """Raises ValueError."""
    parts = urlsplit(url if isinstance(url, str) else "")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError
    return f"{parts.scheme}://{parts.netloc}"
