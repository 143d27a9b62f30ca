import asyncio
import os
import stat
import threading
from io import BytesIO

import fsspec
import httpx
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from PIL import Image
from skimage.data import astronaut

from benchmarks.hostile.pictures import scans
from server.exemplars.files import Files
from server.exemplars.service import DAY, MAX_WAITING
from server.exemplars.store import PhotoStore
from server.exemplars.upload import MAX_SCANS
from server.problems import Problem
from tests.unit.exemplar_world import URL, World, register, upload
from tests.unit.relay_fakes import FACE, bomb, encoded, plain, portrait


@pytest.fixture
async def world(tmp_path, database_url):
    world = World(tmp_path / "data", database_url=database_url)
    yield world
    world.service.close()
    world.store.close()


@pytest.fixture
async def client(world):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://localhost") as client:
        yield client


async def test_a_photo_is_registered_listed_fetched_and_deleted(client, world):
    answer = await register(client, portrait())
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["person"] == "ann"
    (info,) = body["exemplars"]
    assert set(info) == {"id", "created_at", "expires_at", "accepted", "reason", "kind", "sharpness", "box"}
    assert info["accepted"] is True and info["reason"] is None and info["sharpness"] > 0
    assert info["box"] == [FACE.x, FACE.y, FACE.width, FACE.height]
    assert info["created_at"].startswith("2023-11-14T22:13:20") and info["expires_at"].startswith("2024-11-13T22:13:20")

    assert (await client.get(URL)).json() == body
    photo = await client.get(f"{URL}/{info['id']}")
    assert photo.headers["content-type"] == "image/jpeg" and "no-store" in photo.headers["cache-control"]
    assert Image.open(BytesIO(photo.content)).size[0] >= 128

    assert (await client.delete(f"{URL}/{info['id']}")).status_code == 204
    assert (await client.get(f"{URL}/{info['id']}")).status_code == 404
    assert (await client.delete(f"{URL}/{info['id']}")).status_code == 404
    assert (await client.get(URL)).json() == {"person": "ann", "exemplars": []}
    assert world.files() == []
    assert info["id"] in world.engine.forgotten
    assert info["id"] in world.rooms.forgotten


async def test_of_several_photos_each_is_answered_in_order_and_only_the_usable_are_kept(client, world):
    answer = await register(client, plain(), portrait("PNG"), portrait("WEBP"))
    assert answer.status_code == 201
    refused, second, third = answer.json()["exemplars"]
    assert refused["accepted"] is False and len(refused["reason"]) > 10 and refused["id"]
    assert (await client.get(f"{URL}/{refused['id']}")).status_code == 404
    assert second["accepted"] and third["accepted"]
    assert {path.stem for path in world.files()} == {second["id"], third["id"]}


async def test_photos_reach_running_calls_and_new_streams_alike(client, world):
    await register(client, portrait())
    (running,) = world.rooms.people.expect("ann").bank.exemplars()
    (stored,) = world.open_store().exemplars_of("ann")
    assert stored.id == running.id and stored.source == "photo" and stored.frame == 0
    assert stored.headshot == running.headshot and stored.sharpness == running.sharpness
    np.testing.assert_allclose(stored.landmarks, running.landmarks, atol=1e-3)
    assert stored.image.shape == running.image.shape
    assert np.abs(stored.image.astype(int) - running.image).mean() < 3
    assert world.open_store().exemplars_of("bob") == []


@pytest.mark.parametrize("consent", [None, "", "false", "no", "1"])
async def test_without_consent_nothing_is_kept(client, world, consent):
    form = {} if consent is None else {"consent": consent}
    answer = await client.post(URL, files=upload(portrait()), data=form)
    assert answer.status_code == 400 and "consent" in answer.json()["detail"]
    assert world.files() == [] and world.detector.seen == []


@pytest.mark.parametrize(
    ("photo", "status"),
    [
        (b"just a text\n" * 50, 415),
        (b"", 415),
        (portrait()[:3000], 415),
        (portrait("GIF"), 415),
        (b"\x89PNG\r\n\x1a\n" + os.urandom(300), 415),
        (b"\xff\xd8\xff\xe0" + os.urandom(300), 415),
        (bomb(10_000), 413),
        (bomb(60_000), 413),
        (os.urandom(10_000_001), 413),
        (scans(MAX_SCANS + 1), 415),
    ],
    ids=[
        "text",
        "empty",
        "cut",
        "gif",
        "bad png",
        "bad jpeg",
        "100 megapixels",
        "3600 megapixels",
        "too many bytes",
        "too many scans",
    ],
)
async def test_what_is_not_a_photo_is_refused_before_anything_is_done(client, world, photo, status):
    answer = await register(client, portrait(), photo)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Photo 2" in answer.json()["detail"]
    assert world.files() == [] and world.detector.seen == []


def test_a_jpeg_of_many_scans_is_told_from_one_that_only_holds_their_bytes():
    from server.exemplars.upload import read_photo

    assert read_photo(scans(MAX_SCANS - 10), 1, 10**7, 10**7).rgb.shape == (64, 64, 3)
    whole = portrait()
    comment = b"\xff\xfe" + (2 + 400).to_bytes(2, "big") + b"\xff\xda" * 200
    assert read_photo(whole[:2] + comment + whole[2:], 1, 10**7, 10**7).rgb.shape == (512, 512, 3)
    assert read_photo(portrait(progressive=True), 1, 10**7, 10**7).rgb.shape == (512, 512, 3)


async def test_no_usable_face_is_422_with_each_photos_reason(client, world):
    answer = await register(client, plain(), plain())
    assert answer.status_code == 422
    body = answer.json()
    assert len(body["exemplars"]) == 2 and all(info["reason"] for info in body["exemplars"])
    assert world.files() == []


@pytest.mark.parametrize("number", [0, 11])
async def test_one_to_ten_photos_are_taken(client, number):
    answer = await client.post(URL, files=upload(*[plain(30, 30)] * number) or None, data={"consent": "true"})
    assert answer.status_code in (400, 415) and answer.json()["detail"]


async def test_other_wrong_requests(client):
    assert (await client.post(URL, json={"consent": True})).status_code == 415
    assert (await client.post(URL, data={"consent": "true", "photos": "x"}, files={"y": b""})).status_code == 400
    for days in ("0", "-3", "many", "99999"):
        answer = await register(client, portrait(), expires_days=days)
        assert answer.status_code == 400 and "expires_days" in answer.json()["detail"]
    assert (await register(client, portrait(), person="a b")).status_code == 400
    assert (await client.get("/api/people/a%2Fb/exemplars")).status_code == 400


async def test_a_body_without_a_length_is_bounded_too(client):
    async def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
        while True:
            yield bytes(1_000_000)

    answer = await client.post(URL, content=endless(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413


async def test_exif_orientation_is_applied_and_metadata_is_dropped(client, world):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned right by 90 degrees
    exif[0x010F] = "SecretCamera"
    turned = np.rot90(astronaut())
    answer = await register(client, encoded(turned, quality=95, exif=exif, comment=b"SecretComment"))
    assert answer.status_code == 201
    assert np.abs(world.detector.seen[0].astype(int) - astronaut()).mean() < 4
    picture = (await client.get(f"{URL}/{answer.json()['exemplars'][0]['id']}")).content
    assert b"Secret" not in picture
    assert not Image.open(BytesIO(picture)).getexif()


async def test_a_large_photo_is_reduced_and_its_box_is_the_originals(client, world):
    answer = await register(client, portrait(size=4096, quality=80))
    assert max(world.detector.seen[0].shape) <= 2048
    assert answer.json()["exemplars"][0]["box"] == pytest.approx([8 * v for v in (180, 61, 87, 112)])


async def test_files_are_the_owners_alone_and_their_names_tell_nothing(client, world):
    await register(client, portrait())
    (path,) = world.files()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for name in ("hime.key", "hime.db", "hime.db-wal"):
        path_of = world.settings.data / name
        assert not path_of.exists() or stat.S_IMODE(path_of.stat().st_mode) == 0o600
    assert "ann" not in path.name and len(path.stem) == 32


async def test_expired_photos_are_never_served_and_are_purged(client, world):
    info = (await register(client, portrait(), expires_days="2")).json()["exemplars"][0]
    world.clock.now += 2 * DAY - 1
    assert (await client.get(f"{URL}/{info['id']}")).status_code == 200
    world.clock.now += 1
    assert (await client.get(f"{URL}/{info['id']}")).status_code == 404
    assert (await client.get(URL)).json()["exemplars"] == []
    assert world.open_store().exemplars_of("ann") == []
    assert len(world.files()) == 1
    await world.service.purge()
    assert world.files() == []
    assert info["id"] in world.engine.forgotten and info["id"] in world.rooms.forgotten


async def test_a_person_is_forgotten_whole(client, world):
    await register(client, portrait(), portrait("PNG"))
    kept = (await register(client, portrait(), person="bob")).json()["exemplars"][0]["id"]
    people = world.rooms.people
    people.newcomer(people.next_sighting())
    ids = {path.stem for path in world.files()} - {kept}
    assert (await client.delete("/api/people/ann")).status_code == 204
    assert {path.stem for path in world.files()} == {kept}
    assert world.engine.forgotten == ids and people.everyone() == []
    assert (await client.delete("/api/people/ann")).status_code == 204


async def test_one_persons_photo_is_not_anothers(client):
    id = (await register(client, portrait())).json()["exemplars"][0]["id"]
    assert (await client.get(f"/api/people/bob/exemplars/{id}")).status_code == 404
    assert (await client.delete(f"/api/people/bob/exemplars/{id}")).status_code == 404
    assert (await client.get(f"{URL}/{id}")).status_code == 200


async def test_a_failed_write_leaves_nothing_behind(client, world, monkeypatch):
    replace, calls = os.replace, []

    def fails_at_second(draft, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        replace(draft, path)

    world.store.check()
    monkeypatch.setattr(os, "replace", fails_at_second)
    answer = await register(client, portrait(), portrait())
    assert answer.status_code == 503 and "Retry-After" in answer.headers
    assert world.files() == [] and world.rooms.people.exemplars() == []
    assert (await client.get(URL)).json()["exemplars"] == []
    assert world.store.purge() == []


async def test_what_a_crash_left_half_written_is_not_served_and_is_purged(client, world, monkeypatch):
    def crash(files, id, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(PhotoStore, "_erase", lambda store, ids: None)
    monkeypatch.setattr(PhotoStore, "_expire", lambda store, *chosen: [])
    monkeypatch.setattr(Files, "write", crash)
    exemplar = (await world.service._work(lambda: world.service._examine([portrait()])))[0]
    with pytest.raises(KeyboardInterrupt):
        world.store.add("ann", [(exemplar.exemplar, exemplar.box)], world.clock.now + DAY)
    monkeypatch.undo()
    assert world.store.photos_of("ann") == []
    assert world.store.purge() == []  # it might still be in the making
    world.clock.now += 601
    assert world.store.purge() == [exemplar.id]


async def test_a_file_that_cannot_be_erased_is_not_served_and_goes_later(client, world, monkeypatch):
    id = (await register(client, portrait())).json()["exemplars"][0]["id"]

    def refuses(files, path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LocalFileSystem, "rm_file", refuses)
    assert (await client.delete(f"{URL}/{id}")).status_code == 503
    assert (await client.get(f"{URL}/{id}")).status_code == 404
    assert id in world.engine.forgotten and world.rooms.forgotten == [id]
    monkeypatch.undo()
    await world.service.purge()
    assert world.files() == []


async def test_an_expired_file_that_cannot_be_erased_keeps_no_other_photo_in_use(client, world, monkeypatch):
    ids = [(await register(client, portrait(), expires_days="1")).json()["exemplars"][0]["id"] for _ in range(2)]
    remove = LocalFileSystem.rm_file

    def refuses_one(files, path):
        if ids[0] in path:
            raise PermissionError(13, "Permission denied")
        remove(files, path)

    world.clock.now += DAY
    monkeypatch.setattr(LocalFileSystem, "rm_file", refuses_one)
    with pytest.raises(Problem):
        await world.service.purge()
    assert set(ids) <= world.engine.forgotten and set(ids) <= set(world.rooms.forgotten)
    assert [path.stem for path in world.files()] == [ids[0]]
    monkeypatch.undo()
    await world.service.purge()
    assert world.files() == []


async def test_a_person_has_a_bounded_number_of_photos(tmp_path):
    world = World(tmp_path / "data", max_photos_per_person=2)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://localhost") as client:
        assert (await register(client, portrait(), portrait())).status_code == 201
        answer = await register(client, portrait())
        assert answer.status_code == 409 and "2 photos" in answer.json()["detail"]
    assert len(world.files()) == 2
    world.service.close()


async def test_storage_that_fails_is_503_without_its_inside(tmp_path):
    (tmp_path / "file").write_text("in the way")
    world = World(tmp_path / "file")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://localhost") as client:
        answer = await client.get(URL)
        assert answer.status_code == 503 and str(tmp_path) not in answer.text
    world.service.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_while_the_database_is_away_answers_are_503_and_then_as_before(client, postgresql):
    info = (await register(client, portrait())).json()["exemplars"][0]
    postgresql.stop()
    try:
        for answer in (
            await client.get(URL),
            await register(client, portrait()),
            await client.delete("/api/people/ann"),
        ):
            assert answer.status_code == 503 and answer.headers["retry-after"]
            assert answer.headers["content-type"] == "application/problem+json" and "/tmp" not in answer.text
    finally:
        postgresql.start()
    assert [one["id"] for one in (await client.get(URL)).json()["exemplars"]] == [info["id"]]
    assert (await register(client, portrait())).status_code == 201


async def test_detection_runs_beside_the_event_loop(client, world):
    threads = []
    detect = world.detector.detect

    def slow(rgb):
        threads.append(threading.current_thread())
        running.wait(10)
        return detect(rgb)

    running = threading.Event()
    world.detector.detect = slow
    task = asyncio.create_task(register(client, portrait()))
    while not threads:
        await asyncio.sleep(0.005)  # the loop goes on, though the detector waits
    running.set()
    assert (await task).status_code == 201
    assert threads[0] is not threading.main_thread()


async def test_requests_that_wait_for_the_detector_are_bounded(client, world):
    detect, running = world.detector.detect, threading.Event()
    world.detector.detect = lambda rgb: running.wait(10) and detect(rgb)
    tasks = [asyncio.create_task(register(client, portrait())) for _ in range(MAX_WAITING + 2)]
    while sum(task.done() for task in tasks) < 2:
        await asyncio.sleep(0.005)
    running.set()
    answers = await asyncio.gather(*tasks)
    assert sorted(answer.status_code for answer in answers) == [201] * MAX_WAITING + [503] * 2


async def test_any_fsspec_url_holds_the_photos(tmp_path):
    world = World(tmp_path / "data", photos_url="memory://hime-test/photos")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://localhost") as client:
        id = (await register(client, portrait())).json()["exemplars"][0]["id"]
        assert (await client.get(f"{URL}/{id}")).status_code == 200
        assert (await client.delete("/api/people/ann")).status_code == 204
    assert fsspec.filesystem("memory").find("hime-test") == [] and world.files() == []
    world.service.close()


async def test_a_real_detector_accepts_a_portrait_and_refuses_the_rest(client, world):
    from hime_core.faces.detector import MtcnnDetector, ScanningDetector

    world.service._detector = ScanningDetector(MtcnnDetector())
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    answer = await register(client, portrait(), portrait(size=128), encoded(noise), portrait(size=3000))
    assert answer.status_code == 201
    portrait_, tiny, nobody, large = answer.json()["exemplars"]
    assert portrait_["accepted"] and large["accepted"]
    assert portrait_["box"] == pytest.approx([FACE.x, FACE.y, FACE.width, FACE.height], abs=8)
    assert large["box"] == pytest.approx([v * 3000 / 512 for v in portrait_["box"]], abs=40)
    assert not tiny["accepted"] and "small" in tiny["reason"]
    assert not nobody["accepted"] and "no face" in nobody["reason"]
