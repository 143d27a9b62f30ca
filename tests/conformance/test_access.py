"""Load, ICE servers, tokens, extensions: what stands around a session."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.conformance.conftest import Serve
from tests.conformance.relay import WHEP, WHIP, Side, begin, endpoint, is_problem, offer, patch, post
from tests.unit.access_world import bearer, token, write_keys

TURN = (
    '[{"urls": "stun:stun.example:3478"},'
    ' {"urls": ["turn:turn.example:3478?transport=udp", "turns:turn.example:5349?transport=tcp"],'
    ' "username": "u", "credential": "c\\"d"}]'
)
LINK = re.compile(r'<([^>]+)>((?:\s*;\s*[\w-]+="(?:[^"\\]|\\.)*")+)')


def links(answer: httpx.Response) -> list[tuple[str, dict[str, str]]]:
    """Targets and their attributes (RFC 8288, section 3)."""
    found = LINK.findall(", ".join(answer.headers.get_list("link")))
    return [(url, dict(re.findall(r'([\w-]+)="((?:[^"\\]|\\.)*)"', rest))) for url, rest in found]


# --- load


async def test_a_relay_that_is_full_says_when_to_come_again(serve: Serve) -> None:
    """WHIP 4.5, WHEP 4.6: 503, with Retry-After (RFC 9110, section 10.2.3)."""
    http = serve(max_participants=1, max_watchers=1)
    path = await endpoint(http, WHEP)
    for refused in (path, "/whip/other/ben"):
        one = WHEP if refused == path else WHIP
        if one is WHEP:
            assert (await post(http, refused, await offer(one.direction))).status_code == 201
        answer = await post(http, refused, await offer(one.direction))
        is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0


async def test_redirects_keep_the_offer(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.5, WHEP 4.6: 301 and 302 must not be used, as they turn POST into GET. Where a path ends in a slash too
    many, 307 names the right one."""
    path, sdp = await endpoint(http, side), await offer(side.direction)
    answer = await post(http, path + "/", sdp)
    assert answer.status_code == 307 and answer.headers["location"].endswith(path)
    assert (await post(http, answer.headers["location"], sdp)).status_code == 201


# --- ICE servers


async def test_ice_servers_come_with_the_session(serve: Serve, side: Side) -> None:
    """WHIP 4.6, WHEP 4.7: a Link with rel="ice-server" for each URL; a TURN server's has username and credential."""
    begun = await begin(serve(ice_servers=TURN), side)
    found = links(begun.created)
    assert [url for url, _ in found] == [
        "stun:stun.example:3478",
        "turn:turn.example:3478?transport=udp",
        "turns:turn.example:5349?transport=tcp",
    ]
    assert all(attributes["rel"] == "ice-server" for _, attributes in found)
    assert [("username" in attributes, "credential" in attributes) for _, attributes in found] == [
        (False, False),
        (True, True),
        (True, True),
    ]
    assert found[1][1]["username"] == "u" and found[1][1]["credential"] == 'c\\"d'


async def test_a_preflight_request_costs_no_credentials(serve: Serve, side: Side) -> None:
    """WHIP 4.6, WHEP 4.7: no ICE servers in the answer to a preflight of CORS, as it has to be cheap."""
    http = serve(ice_servers=TURN, cors_origins="https://player.example")
    asked = {"Origin": "https://player.example", "Access-Control-Request-Method": "POST"}
    answer = await http.options(await endpoint(http, side), headers=asked)
    assert answer.status_code == 200 and "link" not in answer.headers


# --- extensions


async def test_no_extension_is_announced_that_is_not_there(serve: Serve, side: Side) -> None:
    """WHIP 4.9, WHEP 4.9: the 201 has a Link for each extension that the session supports. The relay supports none,
    neither server-sent events nor layers: a room's events are an API of the relay's own."""
    begun = await begin(serve(ice_servers=TURN), side)
    relations = {attributes["rel"] for _, attributes in links(begun.created)}
    assert relations == {"ice-server"}


# --- tokens


@pytest.fixture
def closed(serve: Serve, tmp_path: Path) -> httpx.AsyncClient:
    """A relay that asks for tokens."""
    return serve(api_keys_file=write_keys(tmp_path / "keys"))


ANN = bearer(token(publish=True, watch=True, admin=True, room="closed"))


async def test_without_a_token_the_answer_asks_for_one(closed: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.7.1, WHEP 4.8.1: Bearer (RFC 6750, section 3): 401 with a challenge, which gives no error code where
    nothing was shown, and invalid_token where something wrong was."""
    path, sdp = f"/{side.name}/closed/ann", await offer(side.direction)
    session = f"{path}/session"
    for answer in (await post(closed, path, sdp), await patch(closed, session, ""), await closed.delete(session)):
        is_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    for wrong in (bearer("x.y.z"), bearer(token(publish=True, watch=True, room="closed", seconds=-60))):
        answer = await post(closed, path, sdp, **wrong)
        is_problem(answer, 401)
        scheme, _, rest = answer.headers["www-authenticate"].partition(" ")
        assert scheme == "Bearer" and 'error="invalid_token"' in rest


async def test_the_token_opens_endpoint_and_session(closed: httpx.AsyncClient) -> None:
    """WHIP 4.7.1, WHEP 4.8.1: the same header for every request of the session, OPTIONS excepted."""
    published = await post(closed, "/whip/closed/ann", await offer("sendonly"), **ANN)
    watched = await post(closed, "/whep/closed/ann", await offer("recvonly"), **ANN)
    for created in (watched, published):
        assert created.status_code == 201
        session = created.headers["location"]
        tag = {"If-Match": created.headers["etag"]}
        assert (await closed.options(session)).is_success
        candidate = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n"
        assert (await patch(closed, session, candidate, **ANN, **tag)).status_code == 204
        is_problem(await closed.delete(session), 401)
        assert (await closed.delete(session, headers=ANN)).status_code == 200


async def test_a_token_for_something_else_is_forbidden(closed: httpx.AsyncClient, side: Side) -> None:
    """RFC 6750, section 3.1: known, but without the right: 403."""
    for lacking in (token(publish=True, watch=True, room="other"), token(room="closed")):
        answer = await post(closed, f"/{side.name}/closed/ann", await offer(side.direction), **bearer(lacking))
        is_problem(answer, 403)


async def test_preflight_requests_need_no_token(serve: Serve, tmp_path: Path, side: Side) -> None:
    """WHIP 4.7.1, WHEP 4.8.1: browsers send none with OPTIONS."""
    http = serve(api_keys_file=write_keys(tmp_path / "keys"), cors_origins="https://player.example")
    asked = {"Origin": "https://player.example", "Access-Control-Request-Method": "POST"}
    answer = await http.options(f"/{side.name}/closed/ann", headers=asked)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://player.example"
    assert (await http.options(f"/{side.name}/closed/ann")).is_success
