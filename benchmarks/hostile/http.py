"""The relay's HTTP interface against its own OpenAPI document, by schemathesis: every answer is a documented one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi import checks

from benchmarks.hostile import pictures, sdp
from benchmarks.hostile.ends import AnyFace
from benchmarks.shared.stand_ins import EnlargingEngine
from server.app import create_app
from server.settings import Settings

SDP, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"
PROBLEM = "application/problem+json"
STREAMS = "/events"  # never end
CHECKS = (checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance)
HERE = "room", "here"  # whom watchers may find
TIMEOUT = 20  # seconds, after which a request is said to hang
MANY = dict(sessions_per_minute=1_000_000, uploads_per_minute=1_000_000, uploads_per_person_per_minute=1_000_000)


@schemathesis.serializer(SDP, FRAGMENT)
def _text(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


class _Faces(AnyFace):
    """A detector, at once for photos and for streams."""

    def for_stream(self) -> _Faces:
        return self

    def detect(self, rgb: Any, last: Any = ()) -> list[Any]:
        return super().detect(rgb)


class Served(NamedTuple):
    """A relay in a thread of its own."""

    url: str
    document: dict[str, Any]
    errors: list[str]  # that reached the event loop's last resort


@contextmanager
def served(data: Path) -> Iterator[Served]:
    app = create_app(Settings(_env_file=None, data=data, **MANY), EnlargingEngine(), _Faces(Random(7)))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    errors: list[str] = []

    async def serve() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(repr(context)))
        await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the relay did not start"
        threading.Event().wait(0.05)
    try:
        yield Served(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", app.openapi(), errors)
    finally:
        server.should_exit = True
        thread.join(60)


def check_all(relay: Served, each: int, told: Callable[[], None], chance: int | None = None) -> None:
    """Every operation with `each` cases; told: called for each case. chance: a seed, None for always the same cases.

    Raises AssertionError, or schemathesis' Failure, with the smallest case that was found.
    """
    load_all_checks()
    schema = schemathesis.openapi.from_dict(relay.document)
    schema.config.update(base_url=relay.url)
    session = requests.Session()
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.endswith(STREAMS):
            _publish(relay, session)
            _check(operation, session, each, told, chance)


def _check(operation: Any, session: requests.Session, each: int, told: Callable[[], None], chance: int | None) -> None:
    modes = list(schemathesis.GenerationMode)
    strategies = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

    @hypothesis_settings(
        max_examples=each,
        derandomize=chance is None,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategies, rng=st.randoms(use_true_random=False))
    def cases(case: Any, rng: Random) -> None:
        told()
        kwargs = _filled(case, rng)
        response = case.call(session=session, timeout=TIMEOUT, **kwargs)
        case.validate_response(response, checks=list(CHECKS))
        documented(response)

    (cases if chance is None else seed(chance)(cases))()


def documented(response: Any) -> None:
    """Of errors: a problem body that says what was wrong; 503 is the only one that is the relay's."""
    status = response.status_code
    assert status < 500 or status == 503, f"{status}: {response.text[:500]}"
    kind = response.headers.get("content-type", [""])
    kind = kind[0] if isinstance(kind, list) else kind
    if status >= 400 and not kind.startswith("text/html"):  # a page that is not built is one
        assert kind == PROBLEM, f"{status} {kind}"
        body = response.json()
        assert body.get("status") in (status, "not ready"), body
        assert body["title"] and body["detail"] and "Traceback" not in body["detail"], body


def _filled(case: Any, rng: Random) -> dict[str, Any]:
    """Bodies that schemas say nothing of: offers, fragments and photos; and somebody to watch."""
    kinds = str(case.operation.definition.raw.get("requestBody", ""))
    if rng.random() < 0.3 or not kinds:
        return {}
    if SDP in kinds:
        if "/whep/" in case.operation.path:
            case.path_parameters = dict(zip(("room", "participant"), HERE, strict=True))
        return {"data": sdp.offer(rng).encode(errors="replace"), "headers": {"Content-Type": SDP}}
    if FRAGMENT in kinds:
        return {
            "data": sdp.fragment(rng).encode(errors="replace"),
            "headers": {"Content-Type": FRAGMENT, "If-Match": "*"},
        }
    return {
        "files": [("photos", (f"{n}.jpg", pictures.picture(rng), "image/jpeg")) for n in range(rng.randint(1, 3))],
        "data": {"consent": rng.choice(("true", "true", "no"))},
    }


def _publish(relay: Served, session: requests.Session) -> None:
    """Somebody whom watchers find until the relay takes them to be lost."""
    offer = next(text for text in sdp.OFFERS if "sendonly" in text)
    session.post(f"{relay.url}/whip/{'/'.join(HERE)}", data=offer, headers={"Content-Type": SDP}, timeout=TIMEOUT)
