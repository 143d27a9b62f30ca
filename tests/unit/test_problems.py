import httpx
import pytest
from fastapi import FastAPI, Query

from server import problems
from server.problems import Name, Problem, check_name, problem_docs


@pytest.fixture
async def client():
    app = FastAPI()

    @app.get("/rooms/{room}", responses=problem_docs(404))
    async def room(room: Name, count: int = Query(1, ge=1)):
        if room == "teapot":
            raise Problem(418, "I am one.", headers={"X-Pot": "1"}, volume=3)
        if room == "broken":
            raise RuntimeError("secret inside")
        return {"room": room, "count": count}

    problems.install(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_a_problem_has_the_standard_members_and_its_own(client):
    answer = await client.get("/rooms/teapot")
    assert answer.status_code == 418
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-pot"] == "1"
    assert answer.json() == {
        "type": "about:blank",
        "title": "I'm a Teapot",
        "status": 418,
        "detail": "I am one.",
        "volume": 3,
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/rooms/with space", 400),
        ("GET", "/rooms/" + "a" * 65, 400),
        ("GET", "/rooms/ab%0A", 400),
        ("GET", "/rooms/é", 400),
        ("GET", "/rooms/a%2Fb", 400),
        ("GET", "/rooms/a%2fb", 400),
        ("GET", "/rooms/a/b", 404),
        ("GET", "/rooms/ok?count=0", 400),
        ("GET", "/rooms/ok?count=x", 400),
        ("DELETE", "/rooms/ok", 405),
        ("GET", "/nothing", 404),
    ],
)
async def test_every_wrong_request_is_a_problem(client, method, path, status):
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and len(body["detail"]) > 20


async def test_good_names_pass(client):
    assert (await client.get("/rooms/aZ_9-" + "x" * 59)).status_code == 200


async def test_what_was_sent_is_not_repeated(client):
    answer = await client.get("/rooms/Alice Smith")
    assert "Alice" not in answer.text
    assert "1 to 64" in answer.json()["detail"]


async def test_an_unexpected_error_tells_nothing_of_the_inside(client):
    answer = await client.get("/rooms/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert answer.json()["title"] == "Internal Server Error"


async def test_openapi_tells_of_problems(client):
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/rooms/{room}"]["get"]["responses"]
    assert set(responses) == {"200", "400", "404"}
    assert responses["400"]["content"]["application/problem+json"]
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in str(document)


def test_check_name():
    assert check_name("ann") == "ann"
    for name in ("", "a b", "a\n", "a/b", "x" * 65):
        with pytest.raises(Problem) as caught:
            check_name(name, "person")
        assert caught.value.status_code == 400 and "person" in caught.value.detail
