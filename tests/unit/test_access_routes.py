"""What each route needs of its caller: every route, with every lack of right."""

import asyncio
import time
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from fastapi.routing import APIRoute
from starlette.routing import Mount
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from server.access.guards import AskingGuard, Guard, GuardedRoute
from server.access.tokens import Grant
from server.app import create_app
from server.settings import Settings
from tests.unit.access_world import DAY, KEYS, basic, bearer, signer, token, write_keys
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine, portrait

PAGES = ("/", "/dashboard", "/healthz", "/readyz", "/openapi.json")
OPEN = {
    *((method, path) for path in PAGES for method in ("GET", "HEAD")),
    *(("OPTIONS", f"/{one}/{{room}}/{{participant}}/{{session}}") for one in ("whip", "whep")),
    *((method, f"/{one}/{{room}}/{{participant}}") for one in ("whip", "whep") for method in ("GET", "HEAD")),
    ("GET", "/favicon.{extension}"),
    ("GET", "/api/access"),
    ("MOUNT", "/assets"),
}

EVERYTHING = {"join": True, "publish": True, "watch": True, "admin": True}
STRANGERS = {
    "nobody": {},
    "garbage": bearer("not.a.token"),
    "no scheme": {"Authorization": "x"},
    "wrong key": basic("observe", "wrong"),
    "expired": bearer(token(seconds=-60, **EVERYTHING)),
    "not yet": bearer(token(clock=lambda: time.time() + DAY / 2, **EVERYTHING)),
    "another's signature": bearer(token(secret="x" * 40, **EVERYTHING)),
    "a key that may not sign": bearer(token(key="observe", secret=KEYS["observe"], **EVERYTHING)),
}
CALLERS = {
    "elsewhere": bearer(token(room="s", **EVERYTHING)),
    "apart": bearer(token(join=False, publish=True, watch=True)),
    "join": bearer(token()),
    "publish": bearer(token(publish=True)),
    "watch": bearer(token(watch=True)),
    "guest": bearer(token(publish=True, watch=True, guest=True)),
    "bob": bearer(token("bob", publish=True, watch=True, persons=("ann",))),
    "admin": bearer(token("bob", admin=True)),
    "observe": basic("observe", KEYS["observe"]),
    "people": bearer(f"people:{KEYS['people']}"),
    "tokens": bearer(KEYS["tokens"]),
}
MEMBERS = {"join", "publish", "watch", "guest", "bob", "admin"}
ANN = {"elsewhere", "apart", "join", "publish", "watch"}  # with photos

# Who is let in, of CALLERS; the others get 403, and STRANGERS 401.
LET_IN = {
    ("POST", "/whip/{room}/{participant}"): {"publish", "guest"},
    ("POST", "/whep/{room}/{participant}"): {"watch", "guest", "bob"},
    **{
        (method, f"/{one}/{{room}}/{{participant}}/{{session}}"): MEMBERS
        for one in ("whip", "whep")
        for method in ("GET", "HEAD", "PATCH", "DELETE")
    },
    ("GET", "/api/rooms/{room}"): MEMBERS | {"observe"},
    ("GET", "/api/rooms/{room}/events"): MEMBERS | {"observe"},
    ("POST", "/api/rooms/{room}/check"): MEMBERS,
    ("GET", "/api/rooms/{room}/{participant}/bank"): {"join", "publish", "watch", "guest", "admin", "people"},
    ("POST", "/api/people/{person}/exemplars"): ANN | {"people"},
    ("GET", "/api/people/{person}/exemplars"): ANN | {"people"},
    ("GET", "/api/people/{person}/exemplars/{id}"): ANN | {"people"},
    ("DELETE", "/api/people/{person}/exemplars/{id}"): ANN | {"people"},
    ("DELETE", "/api/people/{person}"): ANN | {"people"},
    ("GET", "/api/stats"): set(CALLERS),
    ("GET", "/api/stats.csv"): set(CALLERS),
    ("GET", "/api/stats/streams"): set(CALLERS),
    ("GET", "/api/stats/streams/{number}"): set(CALLERS),
    ("GET", "/api/stats/events"): set(CALLERS),
    ("GET", "/metrics"): {"observe"},
    ("POST", "/api/tokens"): {"admin", "tokens"},
}
# As LET_IN, but that who shows nothing is answered, too: a browser asks so before it sends a token.
ASKED = {
    ("OPTIONS", path): LET_IN["POST", path]
    for path in ("/whip/{room}/{participant}", "/whep/{room}/{participant}", "/api/rooms/{room}/check")
}


@asynccontextmanager
async def running(tmp_path, **given):
    settings = Settings(_env_file=None, data=tmp_path / "data", client=tmp_path / "dist", **given)
    app = create_app(settings, FakeEngine(), FakeDetector(), ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield app, client


@pytest.fixture
async def relay(tmp_path, monkeypatch):
    monkeypatch.setattr("server.access.keyring.PAUSE", 0)
    async with running(tmp_path, api_keys_file=write_keys(tmp_path / "keys")) as relay:
        yield relay


def routes_of(router):
    """(method, path, route) of all routes, those of included routers too."""
    for route in router.routes:
        if (included := getattr(route, "original_router", None)) is not None:
            yield from routes_of(included)
        elif isinstance(route, Mount):
            yield "MOUNT", route.path, route
        else:
            yield from ((method, route.path, route) for method in route.methods)


async def ask(client, method, path, headers):
    """The status, or None where the answer goes on and on."""
    url = path.format(room="r", participant="ann", session="none", person="ann", id="none", number=1)
    json = {"room": "r", "name": "eve"} if path == "/api/tokens" else None
    endless = path.endswith("/events")
    try:
        answer = await asyncio.wait_for(client.request(method, url, headers=headers, json=json), 0.5 if endless else 30)
    except TimeoutError:
        assert endless
        return None
    if answer.status_code in (401, 403):
        assert answer.headers["content-type"] == "application/problem+json"
        assert (method == "HEAD" or answer.json()["detail"]) and "ann" not in answer.text
        assert (answer.status_code == 401) == answer.headers.get("www-authenticate", "").startswith("Bearer")
    return answer.status_code


def test_every_route_is_open_on_purpose_or_has_a_guard(tmp_path):
    app = create_app(Settings(_env_file=None, data=tmp_path))
    there = {(method, path): route for method, path, route in routes_of(app)}
    assert there.keys() == OPEN | LET_IN.keys() | ASKED.keys()
    for where, route in there.items():
        asked = route.dependant.dependencies if isinstance(route, APIRoute) else ()
        assert sum(isinstance(one.call, Guard) for one in asked) == (where in LET_IN), where
        assert sum(isinstance(one.call, AskingGuard) for one in asked) == (where in ASKED), where
        assert where in OPEN or isinstance(route, GuardedRoute), where


@pytest.mark.parametrize(("method", "path"), sorted(LET_IN))
async def test_a_route_lets_in_whom_it_should(relay, method, path):
    app, client = relay
    for name, headers in STRANGERS.items():
        assert await ask(client, method, path, headers) == 401, name
    counted = app.state.relay.metrics
    for name, headers in CALLERS.items():
        status = await ask(client, method, path, headers)
        assert (status not in (401, 403)) == (name in LET_IN[method, path]), (name, status)
    refused = counted.exposition().decode()
    assert 'hime_refused_total{reason="token_missing"} 1.0' in refused
    assert 'hime_refused_total{reason="token_invalid"} 6.0' in refused
    assert 'hime_refused_total{reason="key_invalid"} 1.0' in refused
    lacking = len(CALLERS) - len(LET_IN[method, path])
    assert lacking == 0 or f'hime_refused_total{{reason="forbidden"}} {lacking}.0' in refused


@pytest.mark.parametrize(("method", "path"), sorted(ASKED))
async def test_ice_servers_are_told_to_those_who_may_join(tmp_path, method, path):
    given = {"ice_servers": "turn:t.example", "turn_secret": "of the relay and the TURN server"}
    async with running(tmp_path, api_keys_file=write_keys(tmp_path / "keys"), **given) as (_, client):
        url = path.format(room="r", participant="ann")
        for name, headers in {**STRANGERS, **CALLERS}.items():
            answer = await client.request(method, url, headers=headers)
            if name == "nobody":
                assert answer.status_code == 204 and "link" not in answer.headers
            elif name in STRANGERS:
                assert answer.status_code == 401, name
            elif name in ASKED[method, path]:
                assert answer.status_code == 204 and 'rel="ice-server"; username="' in answer.headers["link"]
                assert answer.headers["cache-control"] == "no-store"
            else:
                assert answer.status_code == 403 and "link" not in answer.headers, name


async def test_an_allowed_sites_page_asks_for_ice_servers_after_a_preflight_without_a_token(tmp_path):
    given = {"ice_servers": "stun:s.example", "cors_origins": "https://good.example"}
    async with running(tmp_path, api_keys_file=write_keys(tmp_path / "keys"), **given) as (_, client):
        origin = {"Origin": "https://good.example"}
        asked = {"Access-Control-Request-Method": "OPTIONS", "Access-Control-Request-Headers": "authorization"}
        preflight = await client.options("/whep/r/ann", headers=origin | asked)
        assert preflight.status_code == 200 and "link" not in preflight.headers
        answer = await client.options("/whep/r/ann", headers=origin | CALLERS["watch"])
        assert answer.headers["link"] == '<stun:s.example>; rel="ice-server"'
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
        assert "Link" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(("method", "path"), sorted(OPEN - {("MOUNT", "/assets")}))
async def test_the_rest_is_open_to_all(relay, method, path):
    _, client = relay
    for headers in STRANGERS.values():
        assert await ask(client, method, path.replace("{extension}", "ico"), headers) not in (401, 403)


@pytest.mark.parametrize(("method", "path"), sorted(LET_IN))
async def test_without_keys_nobody_on_this_machine_is_asked(tmp_path, method, path):
    async with running(tmp_path) as (_, client):
        for name in ("nobody", "garbage"):
            assert await ask(client, method, path, STRANGERS[name]) not in (401, 403)


@pytest.mark.parametrize(
    ("persons", "of_ann", "of_bob"),
    [
        ("", True, True),
        ("?person=ann", True, True),
        ("?person=bob", False, True),
        ("?person=ann&person=eve", False, False),
    ],
)
async def test_a_stream_uses_ones_own_photos_and_those_that_the_token_names(relay, persons, of_ann, of_bob):
    _, client = relay
    bob = token("bob", publish=True, persons=("ann",))
    for name, shown, may in (("ann", token(publish=True), of_ann), ("bob", bob, of_bob)):
        answer = await client.post(f"/whip/r/{name}{persons}", headers=bearer(shown))
        assert answer.status_code == (415 if may else 403), answer.text
    guests = token(publish=True, guest=True)
    assert (await client.post("/whip/r/ann?person=ann", headers=bearer(guests))).status_code == 403


async def test_nothing_of_a_strangers_body_is_read(relay):
    app, _ = relay
    sent = []

    async def receive():
        raise AssertionError("the body is read")

    async def send(message):
        sent.append(message)

    for headers, status in (({}, 401), (CALLERS["bob"], 403)):
        scope = {
            "type": "http", "method": "POST", "path": "/api/people/ann/exemplars", "raw_path": b"", "query_string": b"",
            "headers": [(b"content-type", b"multipart/form-data; boundary=x")]
            + [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1), "server": ("relay.test", 80), "scheme": "http", "http_version": "1.1",
        }  # fmt: skip
        sent.clear()
        await app(scope, receive, send)
        assert sent[0]["status"] == status


async def test_photos_are_ones_own(relay):
    _, client = relay
    files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
    mine, bobs = bearer(token()), bearer(token("bob"))
    answer = await client.post("/api/people/ann/exemplars", files=files, data={"consent": "true"}, headers=mine)
    assert answer.status_code == 201
    url = f"/api/people/ann/exemplars/{answer.json()['exemplars'][0]['id']}"
    for method, path in (("GET", url), ("DELETE", url), ("DELETE", "/api/people/ann")):
        assert (await client.request(method, path, headers=bobs)).status_code == 403
        assert (await client.request(method, path)).status_code == 401
    assert (await client.get(url, headers=mine)).status_code == 200
    assert (await client.delete(url, headers=CALLERS["people"])).status_code == 204


async def test_access_says_whether_a_token_is_needed(relay, tmp_path):
    _, client = relay
    assert (await client.get("/api/access")).json() == {"tokens": True, "open_to_all": False, "cluster": False}
    for given, all_ in (({}, False), ({"open": True, "host": "0.0.0.0"}, True)):
        async with running(tmp_path, **given) as (_, other):
            assert (await other.get("/api/access")).json() == {"tokens": False, "open_to_all": all_, "cluster": False}


async def mint(client, headers, **wanted):
    return await client.post("/api/tokens", json={"room": "r", "name": "eve"} | wanted, headers=headers)


async def test_a_key_makes_tokens(relay):
    _, client = relay
    answer = await mint(client, CALLERS["tokens"], minutes=5)
    body = answer.json()
    assert answer.status_code == 201 and set(body) == {"token", "url", "expires_at"}
    assert answer.headers["cache-control"] == "no-store"
    assert body["url"] == f"http://localhost/?room=r#token={body['token']}"
    made = signer().verify(body["token"])
    assert (made.subject, made.guest, made.grant) == ("eve", False, Grant("r", True, True, True, False))
    assert abs(made.expires - time.time() - 300) < 30 and body["expires_at"].endswith("Z")
    assert (await client.get("/api/rooms/r", headers=bearer(body["token"]))).status_code == 200
    less = signer().verify(
        (await mint(client, CALLERS["tokens"], publish=False, watch=False, admin=True)).json()["token"]
    )
    assert less.grant == Grant("r", True, False, False, True)


async def test_a_key_vouches_for_others_photos_only_where_it_sees_them(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"tokens:{KEYS['tokens']}:tokens\nboth:both-{KEYS['people']}:tokens,people\n")
    async with running(tmp_path, api_keys_file=str(keys)) as (_, client):
        assert (await mint(client, CALLERS["tokens"], persons=["ann"])).status_code == 403
        answer = await mint(client, bearer(f"both-{KEYS['people']}"), persons=["ann"])
        assert answer.status_code == 201
        answer = await client.post("/whip/r/eve?person=ann", headers=bearer(answer.json()["token"]))
        assert answer.status_code == 415


async def test_a_rooms_admin_invites_guests_to_it_and_no_longer_than_itself(relay):
    _, client = relay
    admin = bearer(token("bob", admin=True, seconds=120))
    answer = await mint(client, admin, name="ann", minutes=600)
    made = signer().verify(answer.json()["token"])
    assert made.guest and made.expires <= time.time() + 121
    guest = bearer(answer.json()["token"])
    assert (await client.get("/api/people/ann/exemplars", headers=guest)).status_code == 403
    assert (await client.get("/api/rooms/r", headers=guest)).status_code == 200
    assert not signer().verify((await mint(client, admin, name="bob")).json()["token"]).guest
    as_guest = bearer(token("bob", admin=True, guest=True))
    assert signer().verify((await mint(client, as_guest, name="bob")).json()["token"]).guest
    for wanted in ({"room": "s"}, {"admin": True}, {"persons": ["ann"]}):
        assert (await mint(client, admin, **wanted)).status_code == 403


@pytest.mark.parametrize(
    "wanted",
    [{"name": "e v e"}, {"room": ""}, {"minutes": 0}, {"minutes": 10**9}, {"publish": "perhaps"}, {"persons": "x"}],
)
async def test_a_token_that_makes_no_sense_is_not_made(relay, wanted):
    answer = await mint(relay[1], CALLERS["tokens"], **wanted)
    assert answer.status_code == 400 and next(iter(wanted)) in answer.json()["detail"]


async def test_without_keys_there_are_no_tokens(tmp_path):
    async with running(tmp_path) as (_, client):
        assert (await mint(client, {})).status_code == 404


async def test_who_comes_through_a_proxy_to_an_open_relay_of_this_machine_is_refused(tmp_path):
    async with running(tmp_path) as (app, _):
        elsewhere = httpx.ASGITransport(app, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://localhost") as client:
            assert (await client.get("/api/rooms/r")).status_code == 403
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("forwarded", "status"), [("192.0.2.7", 403), ("unknown", 403), ("_hidden", 403), ("localhost", 403), (None, 200)]
)
async def test_what_a_proxy_forwards_is_local_only_where_it_is_an_address_of_this_machine(tmp_path, forwarded, status):
    """As uvicorn takes X-Forwarded-For, from a proxy on this machine."""
    async with running(tmp_path) as (app, _):
        proxy = httpx.ASGITransport(ProxyHeadersMiddleware(app), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=proxy, base_url="http://localhost") as client:
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            assert (await client.get("/api/rooms/r", headers=headers)).status_code == status


async def test_who_comes_through_a_unix_socket_is_on_this_machine(tmp_path):
    async with running(tmp_path) as (app, _):
        server = uvicorn.Server(uvicorn.Config(app, uds=str(tmp_path / "socket"), lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "socket"))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/api/rooms/r")).status_code == 200
        server.should_exit = True
        await serving


async def test_openapi_tells_of_tokens_and_keys(relay):
    document = (await relay[1].get("/openapi.json")).json()
    schemes = document["components"]["securitySchemes"]
    assert {name: one["scheme"] for name, one in schemes.items()} == {"token": "bearer", "key": "basic"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            guarded = (method.upper(), path) in LET_IN
            assert (operation.get("security") == [{"token": []}, {"key": []}]) == guarded, (method, path)
            assert {"401", "403"} <= set(operation["responses"]) if guarded else True


async def test_no_secret_name_or_token_is_logged(relay, caplog):
    caplog.set_level("DEBUG")
    _, client = relay
    for headers in (STRANGERS | CALLERS).values():
        await client.get("/api/rooms/r", headers=headers)
        await mint(client, headers, name="zacharias")
    shown = [headers["Authorization"].split()[-1] for headers in (STRANGERS | CALLERS).values() if headers]
    logged = "".join(record.getMessage() for record in caplog.records if record.name.startswith("server"))
    assert not any(word in logged for word in (*shown, *KEYS.values(), "zacharias"))
