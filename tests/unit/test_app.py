import asyncio
import json
import time
from contextlib import asynccontextmanager

import httpx
import pytest
from skimage.data import astronaut

from hime_core.faces.watch import FaceWatch
from server.app import create_app
from server.exemplars.store import PhotoStore
from server.settings import IceServer, Settings
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FACE, FakeDetector, FakeEngine, bomb, portrait


@asynccontextmanager
async def running(settings, engine=None, detector=None, recogniser=None):
    """An application between its startup and its shutdown, and a client to it."""
    app = create_app(settings, engine or FakeEngine(), detector or FakeDetector(), recogniser or ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield app, client


@pytest.fixture
def settings(tmp_path):
    return Settings(data=tmp_path / "data", client=tmp_path / "dist")


async def test_a_healthy_relay_is_alive_and_ready(settings):
    async with running(settings) as (_, client):
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": [], "recogniser": "by colour"})
        metrics = await client.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'hime_frames_total{outcome="enhanced"} 0.0' in metrics.text
        assert "hime_ready 1.0" in metrics.text


async def test_what_it_was_given_stays_the_callers(settings):
    engine = FakeEngine()
    async with running(settings, engine) as (app, _):
        relay = app.state.relay
        assert relay.engine is engine and relay.settings is settings
    assert not engine.closed


async def test_a_model_that_cannot_be_loaded_leaves_the_service_running(settings):
    settings = settings.model_copy(update={"weights": "no-such-weights"})
    app = create_app(settings, detector=FakeDetector(), recogniser=ByColour())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        (reason,) = ready.json()["reasons"]
        assert reason.startswith("engine: ") and "no-such-weights" in reason and "\n" not in reason
        assert "hime_ready 0.0" in (await client.get("/metrics")).text
        (future,) = app.state.relay.engine.submit([object()])
        assert future.exception(timeout=0) is not None


async def test_without_a_detector_frames_pass_and_photos_are_refused(settings, monkeypatch):
    def missing(settings):
        raise FileNotFoundError("no such network")

    monkeypatch.setattr("server.app._load_detector", missing)
    app = create_app(settings, FakeEngine(), recogniser=ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        assert (await client.get("/readyz")).json()["reasons"] == ["detector: no such network"]
        files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
        answer = await client.post("/api/people/ann/exemplars", files=files, data={"consent": "true"})
        assert answer.status_code == 503
        watch = FaceWatch(app.state.relay.detector.for_stream(), 1, in_step=True)
        picture = astronaut()
        assert watch.update(lambda: picture, picture[..., 1]) == () and not watch.failed
        watch.close()


async def test_without_a_recogniser_the_service_runs_and_says_so(settings):
    settings = settings.model_copy(update={"identity_weights": "no-such-file"})
    app = create_app(settings, FakeEngine(), FakeDetector())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        ready = await client.get("/readyz")
        assert ready.status_code == 503 and ready.json()["recogniser"] is None
        (reason,) = ready.json()["reasons"]
        assert reason.startswith("recogniser: ") and "no-such-file" in reason
        files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
        answer = await client.post("/api/people/ann/exemplars", files=files, data={"consent": "true"})
        assert answer.status_code == 201


async def test_storage_that_cannot_be_used_is_a_reason(settings, tmp_path):
    (tmp_path / "data").write_text("in the way")
    async with running(settings) as (_, client):
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["reasons"][0].startswith("storage: ")
        (tmp_path / "data").unlink()
        assert (await client.get("/readyz")).status_code == 200  # it came up


@pytest.mark.parametrize(("path", "name"), [("/", "index.html"), ("/dashboard", "dashboard.html")])
async def test_pages(settings, path, name):
    async with running(settings) as (_, client):
        answer = await client.get(path)
        assert answer.status_code == 503 and "make run" in answer.text
        (settings.client / "assets").mkdir(parents=True)
        (settings.client / name).write_text(f"<title>{name}</title>")
        (settings.client / "assets" / "a-1.js").write_text("1")
        (settings.client.parent / "secret.txt").write_text("secret")
        answer = await client.get(path)
        assert answer.status_code == 200 and name in answer.text
        assert answer.headers["cache-control"] == "no-cache"
        asset = await client.get("/assets/a-1.js")
        assert "immutable" in asset.headers["cache-control"] and "javascript" in asset.headers["content-type"]
        for wrong in ("/assets/none.js", "/assets/..%2f..%2fsecret.txt", "/assets/%2e%2e/%2e%2e/secret.txt"):
            answer = await client.get(wrong)
            assert answer.status_code in (400, 404)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_stats_hold_the_last_seconds(settings):
    async with running(settings) as (app, client):
        metrics = app.state.relay.metrics
        metrics.stage("enhance", 0.012)
        metrics.frame("enhanced")
        deadline = time.monotonic() + 10
        points = []
        while not points and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            body = (await client.get("/api/stats")).json()
            points = [point for point in body["points"] if point["stages"]]  # the first second may be the start's alone
        assert body["interval_s"] == 1
        assert points[0]["stages"]["enhance"]["p50"] == 12.0
        assert points[0]["outcomes"]["enhanced"] == 1


async def test_stats_events_send_a_point_each_second(settings):
    from server.observability.routes import _points

    async with running(settings) as (app, _):
        relay = app.state.relay
        events = _points(relay.metrics.history, relay.stopping)
        first = await asyncio.wait_for(anext(events), 10)
        second = await asyncio.wait_for(anext(events), 10)
        await relay.stop()
        with pytest.raises(StopAsyncIteration):  # streams end when the relay stops
            await asyncio.wait_for(anext(events), 10)
    assert first["event"] == "point"
    assert json.loads(second["data"])["t"] == json.loads(first["data"])["t"] + 1


async def test_photos_through_the_whole_application(settings):
    async with running(settings) as (_, client):
        url = "/api/people/ann/exemplars"
        files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
        answer = await client.post(url, files=files, data={"consent": "true"})
        assert answer.status_code == 201, answer.text
        files = [("photos", ("b.png", bomb(), "image/png"))]
        answer = await client.post(url, files=files, data={"consent": "true"})
        assert answer.status_code == 413
        assert len((await client.get(url)).json()["exemplars"]) == 1
    async with running(settings) as (_, client):  # and after a restart
        assert len((await client.get(url)).json()["exemplars"]) == 1


async def test_expired_photos_are_purged_while_the_relay_runs(settings):
    from hime_core.exemplars.photos import exemplar_from_photo

    long_ago = PhotoStore(settings, clock=lambda: 1_000.0)
    exemplar = exemplar_from_photo(astronaut(), FakeDetector(), "a" * 32, 0.0)
    long_ago.add("ann", [(exemplar, FACE)], expires_at=2_000.0)
    long_ago.close()
    (path,) = (settings.data / "photos").iterdir()
    deadline = time.monotonic() + 20
    async with running(settings.model_copy(update={"purge_interval_s": 0.05})):
        while path.exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    assert not path.exists()


async def test_bodies_are_bounded(settings):
    async with running(settings) as (_, client):
        headers = {"content-type": "application/sdp"}
        answer = await client.post("/whip/room/ann", content=b"v=0\r\n" * 300_000, headers=headers)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"


async def test_uploads_are_limited_before_they_are_read(settings):
    async def unread():
        raise AssertionError("the body is read")
        yield b""

    async with running(settings.model_copy(update={"uploads_per_minute": 2})) as (_, client):
        url = "/api/people/ann/exemplars"
        for _ in range(2):
            assert (await client.post(url, data={"consent": "no"})).status_code == 415
        answer = await client.post(url, content=unread())
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "at most 2 a minute" in answer.json()["detail"]
        assert 'hime_refused_total{reason="uploads"} 1.0' in (await client.get("/metrics")).text


async def test_uploads_of_one_person_are_limited(settings):
    async with running(settings.model_copy(update={"uploads_per_person_per_minute": 1})) as (_, client):
        files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
        for person, status in (("ann", 400), ("ann", 429), ("bob", 400)):
            answer = await client.post(f"/api/people/{person}/exemplars", files=files, data={"consent": "no"})
            assert answer.status_code == status, answer.text


async def test_dashboards_are_limited(settings):
    async with running(settings.model_copy(update={"max_listeners": 1})) as (app, client):
        place = app.state.relay.limits.admission.listener(None)
        answer = await client.get("/api/stats/events")
        assert answer.status_code == 503 and answer.headers["retry-after"] and answer.json()["limit"]
        place.release()


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("POST", "/whip/a/b/c/d", (404, 405)),
        ("POST", "/whip/a%2Fb/c", (400,)),
        ("POST", "/whip/a b/c", (400,)),
        ("POST", "/whip/a/" + "x" * 65, (400,)),
        ("GET", "/api/rooms/a%2fb", (400,)),
        ("GET", "/api/rooms/..", (400, 404)),
        ("GET", "/nothing", (404,)),
        ("PUT", "/healthz", (405,)),
        ("GET", "/%00", (400, 404)),
    ],
)
async def test_odd_paths_are_clear_problems(settings, method, path, statuses):
    async with running(settings) as (_, client):
        answer = await client.request(method, path, content=b"v=0", headers={"content-type": "application/sdp"})
        assert answer.status_code in statuses, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


async def test_a_wrong_method_tells_all_right_ones(settings):
    async with running(settings) as (_, client):
        answer = await client.post("/whip/a/b/c")
        assert answer.status_code == 405 and answer.headers["allow"] == "DELETE, PATCH"
        assert answer.headers["content-type"] == "application/problem+json"
        answer = await client.put("/api/people/ann/exemplars")
        assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


async def test_openapi_is_complete(settings):
    async with running(settings) as (_, client):
        document = (await client.get("/openapi.json")).json()
    paths = document["paths"]
    for path, methods in {
        "/whip/{room}/{participant}": {"post"},
        "/whep/{room}/{participant}": {"post"},
        "/whip/{room}/{participant}/{session}": {"patch", "delete"},
        "/whep/{room}/{participant}/{session}": {"patch", "delete"},
        "/api/rooms/{room}": {"get"},
        "/api/rooms/{room}/events": {"get"},
        "/api/rooms/{room}/{participant}/bank": {"get"},
        "/api/people/{person}/exemplars": {"get", "post"},
        "/api/people/{person}/exemplars/{id}": {"get", "delete"},
        "/api/people/{person}": {"delete"},
        "/api/stats": {"get"},
        "/api/stats/events": {"get"},
        "/api/stats.csv": {"get"},
        "/api/stats/streams": {"get"},
        "/api/stats/streams/{number}": {"get"},
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/metrics": {"get"},
        "/dashboard": {"get"},
        "/": {"get"},
    }.items():
        assert methods <= set(paths[path]), path
    parameters = {one["name"]: one for one in paths["/whep/{room}/{participant}"]["post"]["parameters"]}
    assert "shows" in parameters["width"]["description"] and not parameters["width"]["required"]
    assert all(word in parameters["layout"]["description"] for word in ("upscale", "zoom", "native"))
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in document["components"]["schemas"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["summary"] and operation["tags"], (method, path)
            if "{" in path:
                assert "400" in operation["responses"], (method, path)


async def test_head_answers_as_get_does(settings):
    async with running(settings) as (_, client):
        for path in ("/healthz", "/readyz", "/", "/dashboard"):
            assert (await client.head(path)).status_code == (await client.get(path)).status_code


@pytest.mark.parametrize("width", ["0", "-640", "wide", "1.5"])
async def test_a_width_that_is_none_is_named(settings, width):
    async with running(settings) as (_, client):
        headers = {"content-type": "application/sdp"}
        answer = await client.post(f"/whep/r/ann?width={width}", content=b"v=0", headers=headers)
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("width: ")


async def test_options_of_whip_and_whep_say_what_is_taken(settings):
    async with running(settings) as (_, client):
        for path in ("/whip/r/ann", "/whep/r/ann"):
            answer = await client.options(path)
            assert (answer.status_code, answer.headers["accept-post"]) == (204, "application/sdp")
            assert (await client.options(path + "/session")).headers["accept-patch"]
            assert "access-control-allow-origin" not in answer.headers


async def test_pages_of_allowed_origins_alone_may_publish(settings):
    settings = settings.model_copy(update={"cors_origins": ("https://good.example",)})
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with running(settings) as (_, client):
        good = await client.options("/whip/r/ann", headers={"Origin": "https://good.example", **asked})
        other = await client.options("/whip/r/ann", headers={"Origin": "https://other.example", **asked})
    assert good.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-origin" not in other.headers


async def test_ice_servers_are_asked_for_as_often_as_offers_are_made(settings):
    given = {"sessions_per_minute": 2, "ice_servers": (IceServer(urls=["stun:s.example"]),)}
    async with running(settings.model_copy(update=given)) as (_, client):
        answers = [await client.options("/whep/r/ann") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [204, 204, 429]
        assert answers[0].headers["link"] == '<stun:s.example>; rel="ice-server"' and answers[2].headers["retry-after"]
        offer = await client.post("/whep/r/ann", content=b"v=0", headers={"content-type": "application/sdp"})
        assert offer.status_code != 429  # counts by itself


def test_ice_servers_become_links():
    from server.rooms.links import _link

    server = IceServer(urls=["turn:t.example", "stun:s.example"], username="u", credential='c"\\x')
    assert _link(server, "stun:s.example") == '<stun:s.example>; rel="ice-server"'
    assert 'credential="c\\"\\\\x"' in _link(server, "turn:t.example")
