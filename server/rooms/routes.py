"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from hime_core.compositing.layout import MAX_COMPARED, USUAL_WIDTH, WIDTHS, Layout, View
from server.access.caller import Caller
from server.access.guards import AskingPublisher, AskingWatcher, GuardedRoute, Member, Publisher, Watcher, forbidden
from server.media.fragments import Fragment, InvalidFragment
from server.media.negotiation import InvalidOffer, Offer, SdpLimits, TooLargeOffer
from server.media.rules import TooMany
from server.media.session import Session
from server.media.sockets import NoPort
from server.problems import Name, Problem, check_name, problem_docs
from server.rooms import told
from server.rooms.links import ice_links
from server.rooms.participant import Content
from server.rooms.room import NameTaken
from server.rooms.rooms import NotFound, Rooms

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MAX_PERSONS = 8  # whose photos one stream uses

router = APIRouter(route_class=GuardedRoute)
router.include_router(told.router)

SDP_IN = {"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}}
_FRAGMENT_IN = {"requestBody": {"required": True, "content": {FRAGMENT: {"schema": {"type": "string"}}}}}
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "The SDP answer",
        "content": {SDP: {"schema": {"type": "string"}}},
        "headers": {
            "Location": {"description": "The session: PATCH candidates to it, DELETE it", "schema": {"type": "string"}},
            "ETag": {"description": "The ICE session, for If-Match of PATCH", "schema": {"type": "string"}},
            "Link": {"description": 'ICE servers, rel="ice-server"', "schema": {"type": "string"}},
        },
    }
}
_RESTARTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The ICE restart's answer",
        "content": {FRAGMENT: {"schema": {"type": "string"}}},
        "headers": {"ETag": {"description": "The new ICE session", "schema": {"type": "string"}}},
    }
}
_IF_MATCH = "The ETag of the ICE session whose candidates come, or `*` for an ICE restart (RFC 9725, section 4.3.1)."
_VIEW = (
    "`enhanced`: faces with their details given back; `original`: the same picture, plainly enlarged; `compare`: both "
    "in one frame, original left, enhanced right."
)
_LAYOUT = (
    "`upscale`: the whole picture, enlarged to what is shown; `zoom`: the largest face is followed, up to four times "
    "nearer; `native`: the size that was sent."
)
_WIDTH = (
    "The longer side, in pixels, of what the watcher shows: `upscale` and `zoom` enlarge the picture to it, at most "
    f"four times, and never make it smaller. Rounded up to {', '.join(map(str, WIDTHS[:-1]))} or {WIDTHS[-1]}, so that "
    f"watchers share encodings; {WIDTHS[-1]} at most, {MAX_COMPARED} for each half of `compare`. Without it, `upscale` "
    f"enlarges to {USUAL_WIDTH} and `zoom` keeps the size that was sent."
)

_PERSON = (
    f"Whose registered photos are used for this stream; may be given {MAX_PERSONS} times. Photos go to the face that "
    "they match, and to none where they match none."
)
_CONTENT = (
    "What the picture is of. A `screen` is passed on untouched: no face is looked for in it, and every view is the "
    "original."
)


@router.post(
    "/whip/{room}/{participant}",
    status_code=201,
    tags=["media"],
    summary="Publish (WHIP)",
    responses={**_CREATED, **problem_docs(400, 408, 409, 413, 415, 429, 503)},
    openapi_extra=SDP_IN,
)
async def publish(
    request: Request,
    room: Name,
    participant: Name,
    caller: Publisher,
    person: Annotated[list[str] | None, Query(description=_PERSON)] = None,
    content: Annotated[Content, Query(description=_CONTENT)] = "camera",
) -> Response:
    """Answers an offer that sends audio, video or both.

    A name that is in use is taken over by the same subject alone (409 otherwise), and not before its media comes. Who
    watches goes on by the same session then, and so where the publisher's network was lost a short while ago.
    """
    persons = list(dict.fromkeys(check_name(one, "person") for one in person or []))
    if len(persons) > MAX_PERSONS:
        detail = f"At most {MAX_PERSONS} persons' photos are used for one stream, not {len(persons)}."
        raise Problem(400, detail, kind="too-many-persons", most=MAX_PERSONS)
    session = await answered(
        request, _rooms(request).publish(room, participant, caller.subject, await offer_of(request), persons, content)
    )
    return _created(request, f"/whip/{room}/{participant}/{session.id}", session)


@router.post(
    "/whep/{room}/{participant}",
    status_code=201,
    tags=["media"],
    summary="Watch (WHEP)",
    responses={**_CREATED, **problem_docs(400, 404, 408, 413, 415, 429, 503)},
    openapi_extra=SDP_IN,
)
async def watch(
    request: Request,
    room: Name,
    participant: Name,
    caller: Watcher,
    view: Annotated[View, Query(description=_VIEW)] = "enhanced",
    layout: Annotated[Layout, Query(description=_LAYOUT)] = "upscale",
    width: Annotated[int | None, Query(ge=1, description=_WIDTH)] = None,
) -> Response:
    """Answers an offer that receives audio, video or both of a participant."""
    answering = _rooms(request).watch(room, participant, caller.subject, await offer_of(request), view, layout, width)
    session = await answered(request, answering)
    return _created(request, f"/whep/{room}/{participant}/{session.id}", session)


@router.options("/whip/{room}/{participant}", status_code=204, include_in_schema=False)
async def publish_options(request: Request, room: Name, participant: Name, caller: AskingPublisher) -> Response:
    return endpoint_options(request, caller)


@router.options("/whep/{room}/{participant}", status_code=204, include_in_schema=False)
async def watch_options(request: Request, room: Name, participant: Name, caller: AskingWatcher) -> Response:
    return endpoint_options(request, caller)


def endpoint_options(request: Request, caller: Caller | None, allowed: str = "GET, HEAD, OPTIONS, POST") -> Response:
    """RFC 9725, section 4.2; preflight requests of allowed origins are answered before. The ICE servers (section 4.6)
    are for those who may join, and not more often than offers are taken. Raises Problem 429."""
    headers = {"Allow": allowed, "Accept-Post": SDP}
    if caller is not None:
        _rooms(request).limits.questions.take(request.client.host if request.client else "")
        headers |= ice_links(_rooms(request).ice_servers) | {"Cache-Control": "no-store"}
    return Response(status_code=204, headers=headers)


@router.api_route("/whip/{room}/{participant}", methods=["GET", "HEAD"], status_code=204, include_in_schema=False)
@router.api_route("/whep/{room}/{participant}", methods=["GET", "HEAD"], status_code=204, include_in_schema=False)
async def endpoint_without_content(room: Name, participant: Name) -> Response:
    """RFC 9725, section 4.1: there is nothing to look at, and no error either."""
    return Response(status_code=204)


@router.options("/whip/{room}/{participant}/{session}", status_code=204, include_in_schema=False)
@router.options("/whep/{room}/{participant}/{session}", status_code=204, include_in_schema=False)
async def session_options(room: Name, participant: Name, session: str) -> Response:
    return Response(status_code=204, headers={"Allow": "DELETE, GET, HEAD, OPTIONS, PATCH", "Accept-Patch": FRAGMENT})


def _add_session_routes(
    endpoint: str, noun: str, find: Callable[[Rooms, str, str, str], Session], candidates: str, end: str
) -> None:
    """GET, PATCH and DELETE of one kind of session, for whoever made it: others get 403, and only members of the room
    learn whether there is one. noun: of the operations' names; find: gives the session of a room, a participant and an
    id, or raises NotFound; candidates, end: the summaries."""
    path = f"/{endpoint}/{{room}}/{{participant}}/{{session}}"

    def own(request: Request, caller: Caller, room: str, participant: str, session: str) -> Session:
        try:
            found = find(_rooms(request), room, participant, session)
        except NotFound as error:
            raise Problem(404, str(error), kind="session-ended") from error
        if found.subject != caller.subject:
            raise forbidden(request, "The session is another's.")
        return found

    @router.patch(
        path,
        name=f"trickle_{noun}",
        status_code=204,
        tags=["media"],
        summary=candidates,
        responses={**_RESTARTED, **problem_docs(400, 404, 408, 412, 413, 415, 422, 428, 429, 503)},
        openapi_extra=_FRAGMENT_IN,
    )
    async def trickle(
        request: Request,
        room: Name,
        participant: Name,
        session: str,
        caller: Member,
        if_match: Annotated[str | None, Header(description=_IF_MATCH)] = None,
    ) -> Response:
        """Candidates of the ICE session are answered with 204. An a=ice-ufrag and a=ice-pwd of a new one restart ICE:
        the answer has the relay's, and media go by the old one until the new one has found a way."""
        found = own(request, caller, room, participant, session)
        if found.over:
            raise Problem(404, "The session has ended.", kind="session-ended")
        fragment = await _fragment(request)
        _check_tag(if_match, found)
        return await _patched(request, found, fragment)

    @router.api_route(path, name=f"look_at_{noun}", methods=["GET", "HEAD"], status_code=204, include_in_schema=False)
    async def look(request: Request, room: Name, participant: Name, session: str, caller: Member) -> Response:
        """RFC 9725, section 4.1, as for the endpoint."""
        own(request, caller, room, participant, session)
        return Response(status_code=204)

    @router.delete(path, name=f"end_{noun}", tags=["media"], summary=end, responses=problem_docs(400, 404))
    async def end_session(request: Request, room: Name, participant: Name, session: str, caller: Member) -> Response:
        _rooms(request).end(room, participant, own(request, caller, room, participant, session))
        return Response(status_code=200)


_add_session_routes(
    "whip", "publication", Rooms.publication, "Add a publisher's candidates (trickle ICE)", "Stop publishing"
)
_add_session_routes(
    "whep", "subscription", Rooms.subscription, "Add a watcher's candidates (trickle ICE)", "Stop watching"
)


def _rooms(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.relay.rooms
    return rooms


async def _body(request: Request, media_type: str) -> str:
    """The body as text. Raises Problem where it is of another type, too large, or not UTF-8."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        # RFC 9110, section 15.5.16, and of PATCH RFC 5789, section 2.2
        taken = "Accept-Patch" if request.method == "PATCH" else "Accept"
        raise Problem(415, f"The body must be {media_type}.", {taken: media_type}, kind="wrong-media-type")
    most = request.app.state.relay.settings.max_sdp_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            _rooms(request).limits.refused("sdp")
            detail = f"The body is too large: at most {most} bytes are taken here."
            raise Problem(413, detail, kind="body-too-large", most=most)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "The body is not text in UTF-8.", kind="invalid-body") from None


async def offer_of(request: Request) -> Offer:
    """The offer, where this address has not sent too many of late. Raises Problem."""
    limits, settings = _rooms(request).limits, request.app.state.relay.settings
    limits.sessions.take(request.client.host if request.client else "")
    try:
        return Offer.parse(
            await _body(request, SDP),
            SdpLimits(settings.max_sdp_lines, settings.max_sdp_sections),
        )
    except InvalidOffer as error:
        raise Problem(400, str(error), kind="invalid-offer") from error
    except TooLargeOffer as error:
        limits.refused("sdp")
        raise Problem(413, str(error), kind="offer-too-large") from error


async def answered(request: Request, answering: Awaitable[Session]) -> Session:
    """Raises Problem where the offer is wrong, the name is another's, there is nobody to watch, or no room."""
    try:
        return await answering
    except InvalidOffer as error:
        raise Problem(400, str(error), kind="invalid-offer") from error
    except TooMany as error:
        raise Problem(429, str(error), kind="too-many-candidates") from error
    except NotFound as error:
        raise Problem(404, str(error), kind="no-such-participant") from error
    except NoPort as error:
        raise _no_port(request, error) from error
    except NameTaken as error:
        request.app.state.relay.metrics.refused("name_taken")
        raise Problem(409, "The name is in use by somebody else in this room.", kind="name-taken") from error


def _created(request: Request, location: str, session: Session) -> Response:
    headers = {"Location": location, "Accept-Patch": FRAGMENT, "ETag": f'"{session.ice_tag}"'}
    headers |= ice_links(_rooms(request).ice_servers)
    return Response(session.answer, 201, headers, media_type=SDP)


async def _fragment(request: Request) -> Fragment:
    try:
        return Fragment.parse(await _body(request, FRAGMENT))
    except InvalidFragment as error:
        raise Problem(400, str(error), kind="invalid-fragment") from error


def _check_tag(if_match: str | None, session: Session) -> None:
    """RFC 9725, section 4.3.1: requests may come out of order. Its examples have `*` in quotation marks, too. Raises
    Problem."""
    tag = f'"{session.ice_tag}"'
    if if_match is None:
        detail = 'If-Match is missing: it names the ICE session by its ETag, or is "*" for an ICE restart.'
        raise Problem(428, detail, kind="precondition-required")
    if if_match.strip() not in ("*", '"*"') and tag not in map(str.strip, if_match.split(",")):
        detail = "If-Match names another ICE session: the ETag of the last answer is the current one."
        raise Problem(412, detail, kind="precondition-failed")


async def _patched(request: Request, session: Session, fragment: Fragment) -> Response:
    """RFC 9725, sections 4.3.2 and 4.3.3. Raises Problem."""
    try:
        answer = await session.patch(fragment)
    except InvalidFragment as error:
        raise Problem(422, str(error), kind="invalid-fragment") from error
    except TooMany as error:
        raise Problem(429, str(error), kind="too-many-candidates") from error
    except NoPort as error:
        raise _no_port(request, error) from error
    if answer is None:
        return Response(status_code=204)
    return Response(answer, 200, {"ETag": f'"{session.ice_tag}"'}, media_type=FRAGMENT)


def _no_port(request: Request, error: NoPort) -> Problem:
    request.app.state.relay.metrics.refused("ports")
    return Problem(503, f"No connection can be opened now: {error}.", {"Retry-After": "10"}, kind="no-port")
