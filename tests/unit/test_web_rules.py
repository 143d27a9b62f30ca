"""Which pages may use the relay, by which names, and what browsers are told to forbid."""

import re

import httpx
import pytest

from server.access.origins import Allowed
from server.app import create_app
from server.settings import InvalidSettings, Settings, load_settings
from server.web.headers import COMMON, DATA_POLICY, PAGE_POLICY
from server.web.origins import known_hosts
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine

OWN = "http://localhost"
ORIGINS = "https://good.example, https://*.nodes.example"
VALUES = {
    "room": "r",
    "participant": "ann",
    "person": "ann",
    "session": "s",
    "id": "0" * 32,
    "extension": "svg",
    "number": 1,
}
READS = [
    "/",
    "/dashboard",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/rooms/r",
    "/api/people/ann/exemplars",
    "/api/stats",
]


@pytest.fixture
async def relay(tmp_path):
    """An application and a client to it; `with_settings` starts one with other settings."""
    started = []

    async def with_settings(**given):
        app = create_app(_settings(tmp_path, **given), FakeEngine(), FakeDetector(), ByColour())
        lifespan = app.router.lifespan_context(app)
        await lifespan.__aenter__()
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=OWN)
        started.append((lifespan, client))
        return app, client

    yield with_settings
    for lifespan, client in started:
        await client.aclose()
        await lifespan.__aexit__(None, None, None)


def _settings(tmp_path, **given):
    return Settings(data=tmp_path / "data", client=tmp_path / "dist", **given)


def refused(app, reason):
    found = re.search(rf'hime_refused_total{{reason="{reason}"}} (\S+)', app.state.relay.metrics.exposition().decode())
    return float(found.group(1)) if found else 0.0


def routes(app):
    """(method, path) of every operation, with names filled in."""
    return [
        (method.upper(), path.format(**VALUES))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]


def changes(app):
    """Those that change something."""
    found = [(method, path) for method, path in routes(app) if method not in ("GET", "HEAD", "OPTIONS")]
    assert len(found) >= 9
    return found


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9999"},  # another program's page on this machine
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},  # a sandboxed frame, a file
        {"Origin": ""},
        {"Origin": "localhost"},
        {"Origin": "ftp://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": OWN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_another_sites_page_changes_nothing(relay, headers):
    app, client = await relay()
    for number, (method, path) in enumerate(changes(app), 1):
        answer = await client.request(method, path, headers=headers, content=b"v=0")
        assert answer.status_code == 403, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "HIME_CORS_ORIGINS" in answer.json()["detail"]
        assert "access-control-allow-origin" not in answer.headers
        assert refused(app, "origin") == number


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (OWN, {}),  # curl, OBS, GStreamer
        (OWN, {"Origin": OWN}),
        (OWN, {"Origin": "https://localhost"}),  # behind a proxy that ends TLS
        (OWN, {"Origin": OWN, "Sec-Fetch-Site": "same-origin"}),
        (OWN, {"Sec-Fetch-Site": "none"}),
        ("http://192.0.2.7:8080", {"Origin": "http://192.0.2.7:8080"}),
        ("http://[2001:db8::7]:8080", {"Origin": "http://[2001:db8::7]:8080"}),
        ("http://Call.Example.org", {"Origin": "https://call.example.org"}),
        (OWN, {"Origin": "https://good.example", "Sec-Fetch-Site": "cross-site"}),  # HIME_CORS_ORIGINS
        (OWN, {"Origin": "https://two.nodes.example", "Sec-Fetch-Site": "cross-site"}),
    ],
)
async def test_own_pages_and_what_is_no_browser_pass(relay, url, headers):
    app, client = await relay(allowed_hosts="call.example.org", cors_origins=ORIGINS)
    for method, path in changes(app):
        answer = await client.request(method, url + path, headers=headers, content=b"v=0")
        assert answer.status_code not in (403, 421), (method, path)
    assert refused(app, "origin") == refused(app, "host") == 0


async def test_what_another_sites_page_reads_is_kept_from_it(relay):
    """The request passes, as it changes nothing; the browser gives its page nothing of it: no CORS, no embedding."""
    _, client = await relay()
    for path in READS:
        answer = await client.get(path, headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
        assert answer.status_code != 403
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/", "/assets/a.js", "/healthz", "/api/rooms/r", "/whip/r/ann", "/nothing", "/whip/a%2Fb/c"]
)
async def test_a_foreign_host_name_gets_nothing(relay, method, path):
    """As after DNS rebinding, where page and relay are of one origin to the browser."""
    app, client = await relay()
    rebound = "http://rebound.example:8080"
    answer = await client.request(method, rebound + path, headers={"Origin": rebound, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("HIME_ALLOWED_HOSTS" in answer.text) is (method != "HEAD")
    assert "rebound" not in answer.text
    assert refused(app, "host") == 1


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("relay.localhost", True),
        ("127.0.0.1:8080", True),
        ("127.9.9.9", True),
        ("[::1]:8080", True),
        ("192.168.1.20:8080", True),  # nobody can make an address point elsewhere
        ("[fe80::1]", True),
        ("call.example.org", True),
        ("call.example.org.", True),
        ("a.b.example.net", True),
        ("example.net", False),
        ("example.org", False),
        ("call.example.org.evil.example", False),
        ("localhost.evil.example", False),
        ("evillocalhost", False),
        ("127.0.0.1.evil.example", False),
        ("0x7f000001", False),
        ("", False),
        (":8080", False),
        ("user@localhost", False),
        ("localhost, evil.example", False),
    ],
)
async def test_the_hosts_that_are_known(relay, host, passes):
    _, client = await relay(allowed_hosts="call.example.org, *.example.net")
    assert ((await client.get("/healthz", headers={"Host": host})).status_code == 200) is passes


async def test_two_host_headers_are_no_name(relay):
    _, client = await relay()
    assert (await client.get("/healthz", headers=[("Host", "localhost"), ("Host", "evil.example")])).status_code == 421


def test_this_machines_name_counts_where_others_can_reach_it():
    assert known_hosts("127.0.0.1", (), "mybox") == {"127.0.0.1"}
    assert known_hosts("localhost", (), "mybox") == {"localhost"}
    assert known_hosts("0.0.0.0", ("call.example.org",), "MyBox.lan") == {
        "0.0.0.0",
        "call.example.org",
        "mybox.lan",
        "mybox.local",
    }
    assert "relay.example.org" in known_hosts("relay.example.org", (), "mybox")


@pytest.mark.parametrize("wrong", ["https://call.example.org", "call.example.org:443", "a b", "*", "*.*.example.org"])
def test_a_host_that_is_no_name_is_refused_at_start(monkeypatch, wrong):
    monkeypatch.setenv("HIME_ALLOWED_HOSTS", wrong)
    with pytest.raises(InvalidSettings, match=r"HIME_ALLOWED_HOSTS.*no host name"):
        load_settings()


@pytest.mark.parametrize("wrong", ["https://a.example/", "a.example", "https://", "https://*", "https://a.*.example"])
def test_what_no_browser_would_name_as_an_origin_is_refused_at_start(monkeypatch, wrong):
    monkeypatch.setenv("HIME_CORS_ORIGINS", f"https://good.example,{wrong}")
    with pytest.raises(InvalidSettings, match=r"HIME_CORS_ORIGINS.*is no origin"):
        load_settings()


def test_a_star_stands_for_all_names_below_and_for_nothing_else():
    allowed = Allowed(("https://*.nodes.example", "https://[2001:db8::7]:8443", "http://one.example:8080"))
    for origin in ("https://a.nodes.example", "https://a.b.nodes.example", *allowed[1:]):
        assert origin in allowed
    for origin in (
        "https://nodes.example",
        "https://evilnodes.example",
        "http://a.nodes.example",
        "https://one.example",
    ):
        assert origin not in allowed
    assert "https://a.nodes.example:8443" not in allowed and "*" not in allowed


def built(tmp_path):
    (tmp_path / "dist" / "assets").mkdir(parents=True)
    for name in ("index.html", "dashboard.html", "favicon.svg", "assets/a-1.js", "assets/a-1.css"):
        (tmp_path / "dist" / name).write_text("<title>built</title>")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("HEAD", "/", {}, 200),
        ("GET", "/dashboard", {}, 200),
        ("GET", "/favicon.svg", {}, 200),
        ("GET", "/assets/a-1.js", {}, 200),
        ("GET", "/assets/a-1.css", {}, 200),
        ("GET", "/assets/none.js", {}, 404),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/healthz", {}, 200),
        ("GET", "/metrics", {}, 200),
        ("GET", "/api/rooms/r", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("PUT", "/healthz", {}, 405),
        ("GET", "/api/rooms/a%2Fb", {}, 400),
        ("POST", "/whip/r/ann", {"Content-Length": "9000000"}, 413),
        ("POST", "/whip/r/ann", {"Origin": "https://evil.example"}, 403),
        ("GET", "/", {"Host": "evil.example"}, 421),
        ("OPTIONS", "/whip/r/ann", {}, 204),
        ("OPTIONS", "/whip/r/ann", {"Origin": "https://good.example", "Access-Control-Request-Method": "POST"}, 200),
        ("GET", "/api/broken", {}, 500),
    ],
)
async def test_every_kind_of_answer_has_the_headers(relay, tmp_path, method, path, headers, status):
    built(tmp_path)
    app, client = await relay(cors_origins="https://good.example")

    @app.get("/api/broken")
    async def broken():
        raise RuntimeError("unexpected")

    answer = await client.request(method, path, headers=headers)
    assert answer.status_code == status
    page = answer.headers.get("content-type", "").startswith("text/html")
    assert page == (path in ("/", "/dashboard") and status == 200)
    assert answer.headers.get_list("content-security-policy") == [PAGE_POLICY if page else DATA_POLICY]
    for name, value in COMMON.items():
        assert answer.headers.get_list(name) == [value], name
    assert "strict-transport-security" not in answer.headers, "whoever ends TLS says so"


def test_the_policies_say_what_they_should():
    directives = dict(part.split(" ", 1) for part in PAGE_POLICY.split("; "))
    assert directives["default-src"] == directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert "unsafe" not in PAGE_POLICY and "http" not in PAGE_POLICY
    permissions = COMMON["Permissions-Policy"].split(", ")
    for own in ("camera", "microphone", "display-capture", "fullscreen", "picture-in-picture"):
        assert f"{own}=(self)" in permissions
    assert {"geolocation=()", "payment=()", "usb=()"} <= set(permissions)


async def test_event_streams_have_the_headers(relay):
    from server.web.headers import SecurityHeaders

    sent = []

    async def streaming(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"event: a\n\n", "more_body": True})

    async def send(message):
        sent.append(message)

    await SecurityHeaders(streaming)({"type": "http"}, None, send)
    assert (b"content-security-policy", DATA_POLICY.encode()) in sent[0]["headers"]
    assert sent[1]["body"] == b"event: a\n\n"


async def test_no_route_sets_a_cookie(relay, tmp_path):
    built(tmp_path)
    app, client = await relay()
    requests = [(method, path) for method, path in routes(app) if not path.endswith("/events")]
    assert len(requests) >= 18
    for method, path in [*requests, ("GET", "/assets/a-1.js"), ("GET", "/favicon.svg"), ("GET", "/openapi.json")]:
        answer = await client.request(method, path)
        assert "set-cookie" not in answer.headers, (method, path)
    assert not client.cookies


async def test_the_page_for_a_missing_build_has_nothing_inline(relay):
    _, client = await relay()
    answer = await client.get("/")
    assert answer.status_code == 503 and "make run" in answer.text
    assert not re.search(r"<style|<script|style=|\son\w+=", answer.text)


async def test_no_page_loads_scripts_from_elsewhere(relay):
    _, client = await relay()
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "HIME Relay"
