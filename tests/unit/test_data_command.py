"""`hime data`, and what `hime doctor` and the relay tell of keys and schema."""

import json
import stat
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from hime_core.errors import InputError
from server import data, doctor
from server.app import create_app
from server.checkup.check import attempt
from server.exemplars.audit import AuditLog
from server.exemplars.consent import WORDINGS
from server.exemplars.keys import KeySource
from server.exemplars.store import DAY, PhotoStore
from server.settings import Settings
from server.settings.keys import parse_keys, write_key
from tests.unit.access_world import bearer, token, write_keys
from tests.unit.crashing import exemplar_of, expected
from tests.unit.enhancer_stage import ByColour
from tests.unit.relay_fakes import FakeDetector, FakeEngine, portrait

OLD, NEW = (write_key(bytes([n]) * 32) for n in (1, 2))
FIRST = f"{0xA1:032x}"
NOW = 1_700_000_000.0


@asynccontextmanager
async def running(settings):
    app = create_app(settings, FakeEngine(), FakeDetector(), ByColour())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def filled(folder):
    """A data directory with one photo, under a key of its own."""
    store = PhotoStore(Settings(data=folder), clock=lambda: NOW)
    store.add("ann", [exemplar_of(FIRST)], NOW + 3000 * DAY, actor="ann")
    store.close()
    return folder


def check(settings, name):
    probe = {"storage": doctor._storage, "data key": doctor._data_key}[name]
    return attempt(name, lambda: probe(settings))


def test_a_key_is_printed_or_put_first_into_the_file(folder, capsys, monkeypatch):
    data.key()
    (printed,) = parse_keys(capsys.readouterr().out)
    assert len(printed) == 32
    data.key(add=True, data=folder)
    first = KeySource.of(Settings(data=folder)).load().newest
    data.key(add=True, data=folder)
    ring = KeySource.of(Settings(data=folder)).load()
    assert ring.ids[1] == first and len(ring.ids) == 2
    assert stat.S_IMODE((folder / "hime.key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["hime.key"]
    (folder / "hime.key").write_text("broken")
    with pytest.raises(InputError, match="key 1 is not"):
        data.key(add=True, data=folder)
    assert (folder / "hime.key").read_text() == "broken"
    monkeypatch.setenv("HIME_DATA_KEY", OLD)
    with pytest.raises(InputError, match="HIME_DATA_KEY holds the keys"):
        data.key(add=True, data=folder)


def test_keys_are_renewed_by_three_commands(filled, capsys):
    data.key(add=True, data=filled)
    assert data.rotate(as_json=True, data=filled) == 0
    newest = KeySource.of(Settings(data=filled)).load().newest
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"sealed": 1, "left": 0, "key": newest}
    file = filled / "hime.key"
    file.write_text(file.read_text().splitlines()[0])  # the older key goes
    store = PhotoStore(Settings(data=filled), clock=lambda: NOW)
    store.check()
    assert store.picture("ann", FIRST) == expected(FIRST)
    store.close()
    assert data.rotate(data=filled) == 0
    assert capsys.readouterr().out.startswith("0 photos are encrypted anew, all are under key")


def test_a_rotation_that_leaves_something_ends_with_one(filled, capsys):
    photo = filled / "photos" / f"{FIRST}.jpg"
    photo.write_bytes(photo.read_bytes()[:-1])
    data.key(add=True, data=filled)
    assert data.rotate(data=filled) == 1
    assert "1 could not be opened: keep the older keys" in capsys.readouterr().out


def test_the_audit_log_is_asked_by_name(filled, capsys):
    data.audit(person="ann", data=filled)
    line = capsys.readouterr().out
    assert line.startswith("2023-11-14T22:13:20Z  consent  ann by themselves, photo") and "api-1" in line
    data.audit(data=filled)
    assert "ann" not in capsys.readouterr().out
    data.audit(person="bob", data=filled)
    assert capsys.readouterr().out == ""
    data.audit(actor="ann", as_json=True, data=filled)
    entry = json.loads(capsys.readouterr().out)
    assert entry["action"] == "consent" and entry["exemplar"] == FIRST and entry["actor"] == "ann"
    assert entry["terms"]["wording"] == "api-1" and "consents" in entry["terms"]["text"]


def test_without_the_key_commands_say_so(filled):
    (filled / "hime.key").unlink()
    for command in (data.rotate, data.audit):
        with pytest.raises(InputError, match="storage: the photos' key is missing"):
            command(data=filled)


def test_the_doctor_tells_where_the_key_lies_and_which_schema_there_is(folder):
    settings = Settings(data=folder)
    assert "`hime serve` makes" in check(settings, "data key").detail
    assert "is empty; `hime serve` makes schema 0002" in check(settings, "storage").detail
    assert not (folder / "hime.key").exists()
    store = PhotoStore(settings)
    store.check()
    store.close()
    assert check(settings, "storage").detail.startswith("sqlite has schema 0002, which is current")
    key = check(settings, "data key")
    assert key.ok and str(folder / "hime.key") in key.detail and "beside the photos" in key.detail
    (folder / "hime.key").chmod(0o644)
    key = check(settings, "data key")
    assert not key.ok and "chmod 600" in key.detail
    wrong = check(Settings(data=folder, data_key=OLD), "storage")
    assert not wrong.ok and "is not given" in wrong.detail
    engine = create_engine(settings.database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert (
        check(settings, "storage").detail == "sqlite has schema 0001; `hime serve` brings it to 0002, the current one"
    )
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    engine.dispose()
    newer = check(settings, "storage")
    assert not newer.ok and "later version" in newer.detail


async def test_a_relay_with_the_wrong_key_says_so_and_goes_on(filled):
    url = "/api/people/ann/exemplars"
    files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
    async with running(Settings(data=filled, data_key=OLD)) as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        (reason,) = ready.json()["reasons"]
        assert reason.startswith("storage: the key") and reason.endswith("is not given")
        assert (await client.get("/healthz")).status_code == 200
        for answer in (
            await client.get(url),
            await client.get(f"{url}/{FIRST}"),
            await client.post(url, files=files, data={"consent": "true"}),
            await client.delete(f"{url}/{FIRST}"),
            await client.delete("/api/people/ann"),
        ):
            assert answer.status_code == 503 and answer.headers["retry-after"]
            assert answer.headers["content-type"] == "application/problem+json"
            assert "is not given" in answer.json()["detail"] and OLD not in answer.text
    store = PhotoStore(Settings(data=filled), clock=lambda: NOW)
    assert store.picture("ann", FIRST) == expected(FIRST)
    store.close()


@pytest.mark.parametrize(("language", "wording"), [("en", "page-1"), ("de", "page-1-de"), ("es", "page-1-es")])
def test_the_page_shows_the_wording_that_is_recorded(language, wording):
    sources = Path(__file__).parents[2] / "client_web" / "src"
    assert WORDINGS[wording] in (sources / "strings" / f"{language}.ts").read_text()
    assert f'{language}: "{wording}"' in (sources / "people.ts").read_text()


async def test_who_asks_is_in_the_audit_log(folder):
    settings = Settings(data=folder, api_keys_file=write_keys(folder.parent / "keys"))
    app = create_app(settings, FakeEngine(), FakeDetector(), ByColour())
    url = "/api/people/ann/exemplars"
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost", headers=bearer(token("ann"))
        ) as client,
    ):
        files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
        (info,) = (await client.post(url, files=files, data={"consent": "true"})).json()["exemplars"]
        await client.get(url)
        await client.get(f"{url}/{info['id']}")
        await client.delete(f"{url}/{info['id']}")
        await client.delete("/api/people/ann")
    store = PhotoStore(settings)
    entries = AuditLog(store._storage).entries(actor="ann")
    assert [entry.action for entry in entries] == ["consent", "list", "view", "delete", "forget"]
    assert entries == AuditLog(store._storage).entries()
    store.close()


async def test_consent_is_kept_with_its_wording_and_who_gave_it(folder):
    settings = Settings(data=folder)
    files = [("photos", ("a.jpg", portrait(), "image/jpeg"))]
    async with running(settings) as client:
        url = "/api/people/ann/exemplars"
        answer = await client.post(url, files=files, data={"consent": "true", "wording": "none"})
        assert answer.status_code == 400 and "wording" in answer.json()["detail"]
        answer = await client.post(url, files=files, data={"consent": "true", "wording": "page-1", "expires_days": 7})
        assert answer.status_code == 201
    store = PhotoStore(settings)
    (entry,) = [one for one in AuditLog(store._storage).entries("ann") if one.action == "consent"]
    assert entry.terms["wording"] == "page-1" and entry.terms["expires_at"] - entry.time == pytest.approx(
        7 * DAY, abs=60
    )
    store.close()
