"""How the endpoints and sessions use HTTP: methods, errors, cross-origin requests."""

from __future__ import annotations

import httpx
import pytest

from server.problem_kinds import KINDS
from tests.conformance.conftest import Serve
from tests.conformance.relay import SDP, Side, begin, endpoint, is_problem, offer, patch, post

ORIGIN = "https://player.example"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_at_an_endpoint_or_a_session_gives_nothing_and_no_error(
    http: httpx.AsyncClient, side: Side, method: str
) -> None:
    """WHIP 4.1, WHEP 4.1: they have no representation, so GET is answered with success and without content."""
    begun = await begin(http, side)
    for path in (str(begun.created.request.url), begun.path):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.content) == (204, b"")


async def test_a_session_that_is_not_there_is_not_found(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.2, WHEP 4.3; RFC 9110, section 15.5.5: a session's URL is good as long as the session is."""
    begun = await begin(http, side)
    for method in ("GET", "PATCH", "DELETE"):
        headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}
        body = "a=end-of-candidates\r\n" if method == "PATCH" else ""
        is_problem(await http.request(method, begun.path + "x", content=body, headers=headers), 404)


async def test_a_method_that_is_not_for_the_resource_names_those_that_are(http: httpx.AsyncClient, side: Side) -> None:
    """RFC 9110, section 15.5.6: 405 comes with Allow."""
    begun = await begin(http, side)
    posted = await post(http, begun.path, begun.sdp)
    is_problem(posted, 405)
    assert {"PATCH", "DELETE"} <= set(posted.headers["allow"].split(", "))
    is_problem(await http.put(str(begun.created.request.url), content=begun.sdp), 405)
    is_problem(await http.delete(str(begun.created.request.url)), 405)


async def test_options_say_what_can_be_posted_and_patched(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.2, WHEP 4.3: OPTIONS of an endpoint has Accept-Post; RFC 5789, section 3.1: a session's, Accept-Patch."""
    begun = await begin(http, side)
    asked = await http.options(str(begun.created.request.url))
    assert asked.is_success and asked.headers["accept-post"] == SDP
    assert {"OPTIONS", "POST", "GET"} <= set(asked.headers["allow"].split(", "))
    asked = await http.options(begun.path)
    assert asked.is_success and asked.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
    assert {"OPTIONS", "PATCH", "DELETE"} <= set(asked.headers["allow"].split(", "))


async def test_errors_are_problem_details(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.1, WHEP 4.1; RFC 9457, sections 3.1 and 4.2.1: `status` repeats the status code, and where `type` says no
    more than about:blank, `title` is the status's own phrase. Here it always is, and types are the relay's own."""
    path = await endpoint(http, side)
    begun = await begin(http, side)
    answers = [
        await post(http, path, "v=0\r\n"),
        await http.post(path, content="x", headers={"Content-Type": "text/plain"}),
        await post(http, "/whip/a b/c", "v=0\r\n"),
        await http.delete(begun.path + "x"),
        await http.put(path),
        await patch(http, begun.path, "nothing", **begun.tag),
    ]
    for answer in answers:
        body = is_problem(answer, answer.status_code)
        assert body["title"] == httpx.codes.get_reason_phrase(answer.status_code)
        assert body["type"].removeprefix("/problems/") in KINDS


async def test_what_is_not_sdp_is_refused(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.2, WHEP 4.2.4: another content type, or SDP that is malformed, gets a 4xx. RFC 9110, section 15.5.16: 415
    may name the type that is taken. WHEP 4.2.2: 406 is for counter-offers, which the relay makes none of."""
    path, sdp = await endpoint(http, side), await offer(side.direction)
    for kind in ("text/plain", "application/json", "application/sdp-other", ""):
        answer = await http.post(path, content=sdp, headers={"Content-Type": kind})
        is_problem(answer, 415)
        assert answer.headers["accept"] == SDP
    for wrong in ("", "hello", "v=0", "v=0\r\n", sdp.replace("a=ice-ufrag", "a=x"), sdp.replace("a=mid", "a=x")):
        is_problem(await post(http, path, wrong), 400)
    assert (await post(http, path, sdp, **{"Content-Type": "Application/SDP; charset=utf-8"})).status_code == 201


async def test_the_answer_is_sdp_whatever_else_the_client_would_like(http: httpx.AsyncClient, side: Side) -> None:
    """WHIP 4.2, WHEP 4.2.1: the answer is application/sdp. RFC 9110, section 12.5.1: an Accept that does not have it
    may be left unheeded."""
    answer = await post(http, await endpoint(http, side), await offer(side.direction), Accept="text/html")
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (201, SDP)


async def test_pages_of_allowed_origins_may_do_all_that_a_client_does(serve: Serve, side: Side) -> None:
    """WHIP 4.2, WHEP 4.3: OPTIONS for CORS, as the Fetch standard has it. Methods, request headers, and what of an
    answer a page may read: all that the protocol needs."""
    http = serve(cors_origins=ORIGIN)
    begun = await begin(http, side, Origin=ORIGIN)
    exposed = {name.strip().lower() for name in begun.created.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"location", "link", "etag"}
    for method, path in (("POST", str(begun.created.request.url)), ("PATCH", begun.path), ("DELETE", begun.path)):
        asked = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization, content-type, if-match",
        }
        answer = await http.options(path, headers=asked)
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == ORIGIN
        assert method in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in ("authorization", "content-type", "if-match"))
        answer = await http.options(path, headers=asked | {"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in answer.headers
    assert (await http.delete(begun.path, headers={"Origin": ORIGIN})).headers["access-control-allow-origin"] == ORIGIN
