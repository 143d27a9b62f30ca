"""Whose face it is: alignment, likeness, limits, and which network makes the embeddings."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hime_core.errors import InputError
from hime_core.faces import fetching
from hime_core.faces.detector import MtcnnDetector
from hime_core.faces.geometry import crop, headshot_of
from hime_core.faces.networks import LANDMARKS, SIDE, aligned
from hime_core.faces.recognisers import OWN, load_recogniser
from hime_core.faces.recognition import NEVER, SIDES, FacePicture, Limits, coarsened, likeness, limits_between


@pytest.fixture(scope="module")
def astronaut() -> FacePicture:
    data = pytest.importorskip("skimage.data")
    rgb = data.astronaut()
    face = MtcnnDetector(min_face=60).detect(rgb)[0]
    headshot = headshot_of(face.box)
    side = round(headshot.side)
    x, y = round(headshot.cx - side / 2), round(headshot.cy - side / 2)
    return FacePicture(crop(rgb, x, y, side), face.landmarks - np.float32([x, y]))


@pytest.fixture(scope="module")
def others(astronaut: FacePicture) -> list[FacePicture]:
    """Faces of the LFW subset that scikit-image carries, 25 px each, without names."""
    faces = pytest.importorskip("skimage.data").lfw_subset()[:100]
    found = []
    for face in faces[::10]:
        gray = cv2.resize((face * 255).astype(np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
        square = cv2.copyMakeBorder(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB), 20, 20, 20, 20, cv2.BORDER_REPLICATE)
        found.append(FacePicture(square, LANDMARKS * square.shape[0]))
    return found


@pytest.fixture(scope="module")
def recogniser():
    return load_recogniser()


def changed(face: FacePicture, angle: float, gain: float) -> FacePicture:
    """The same face with its head on one side, in other light."""
    side = face.rgb.shape[0]
    move = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 0.95)
    rgb = np.clip(cv2.warpAffine(face.rgb, move, (side, side), borderMode=cv2.BORDER_REPLICATE) * gain, 0, 255)
    landmarks = face.landmarks @ move[:, :2].T + move[:, 2]
    return FacePicture(rgb.astype(np.uint8), landmarks.astype(np.float32))


def test_embeddings_are_of_unit_length_whatever_the_size(recogniser, astronaut):
    faces = [coarsened(astronaut, side) for side in (12, *SIDES, 120)]
    found = recogniser.embed(faces)
    assert found.shape[0] == len(faces) and found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert recogniser.embed([]).shape == (0, found.shape[1])


@pytest.mark.parametrize("side", [48, 64, 96])
def test_a_turned_head_in_other_light_is_the_same_person_and_others_are_not(recogniser, astronaut, others, side):
    gallery = recogniser.embed([coarsened(astronaut, side)])
    limits = recogniser.limits(side)
    own = recogniser.embed([coarsened(changed(astronaut, 12, 0.8), side)])[0]
    assert likeness(own, gallery) >= limits.same
    for stranger in recogniser.embed([coarsened(face, side) for face in others]):
        assert likeness(stranger, gallery) < limits.same


def test_one_face_is_embedded_alike_in_any_batch_and_thread(recogniser, astronaut, others):
    faces = [astronaut, *others]
    together = recogniser.embed(faces)
    with ThreadPoolExecutor(4) as pool:
        alone = list(pool.map(lambda face: recogniser.embed([face])[0], faces * 4))
    assert np.allclose(np.stack(alone), np.tile(together, (4, 1)), atol=1e-3)


def test_limits_lie_between_those_measured():
    measured = {16: Limits(2.0, -0.5), 64: Limits(0.6, 0.1)}
    assert limits_between(measured, 32) == Limits(pytest.approx(1.3), pytest.approx(-0.2))
    assert limits_between(measured, 300) == measured[64]
    assert limits_between(measured, 15) == NEVER


def test_own_limits_are_in_order(recogniser):
    for side in SIDES:
        limits = recogniser.limits(side)
        assert -1 <= limits.other < limits.same
    assert recogniser.limits(8) == NEVER


def test_likeness_is_the_cosine_with_the_mean():
    gallery = np.float32([[1, 0, 0], [0, 1, 0]])
    assert likeness(np.float32([1, 0, 0]), gallery) == pytest.approx(2**-0.5)
    assert likeness(np.float32([0, 0, 1]), gallery) == 0
    assert likeness(np.float32([1, 0, 0]), np.float32([[1, 0, 0], [-1, 0, 0]])) == 0


def test_coarsened_reduces_and_never_enlarges(astronaut):
    small = coarsened(astronaut, 32)
    assert small.rgb.shape == (32, 32, 3)
    scale = 32 / astronaut.rgb.shape[0]
    assert np.allclose(small.landmarks + 0.5, (astronaut.landmarks + 0.5) * scale, atol=1e-3)
    assert coarsened(small, 64) is small


def test_alignment_brings_the_landmarks_to_one_place(astronaut):
    marked = np.zeros((400, 400, 3), np.uint8)
    landmarks = LANDMARKS * 400 - 0.5
    for x, y in landmarks:
        cv2.circle(marked, (round(float(x)), round(float(y))), 9, (255, 255, 255), -1)
    upright = aligned(FacePicture(marked, landmarks), SIDE)
    turned = aligned(changed(FacePicture(marked, landmarks), 25, 1.0), SIDE)
    assert upright.max() > 200
    assert np.abs(upright.astype(int) - turned).mean() < 2


def test_a_file_comes_before_the_bundled_network(tmp_path, recogniser, astronaut):
    tensors = load_file(OWN)
    tensors = {name: tensor * 0.9 if name.endswith("head.weight") else tensor for name, tensor in tensors.items()}
    other = tmp_path / "other.safetensors"
    save_file(tensors, other, metadata={"limits": '{"16": [0.9, 0.1], "96": [0.5, 0.2]}'})
    loaded = load_recogniser(other)
    assert loaded.limits(96) == Limits(0.5, 0.2)
    assert recogniser.limits(96) != Limits(0.5, 0.2)
    assert load_recogniser("").name == load_recogniser().name


@pytest.mark.parametrize("name", ["face.safetensors", "face.pt"])
@pytest.mark.parametrize("content", [None, b"", b"no weights at all"])
def test_a_bad_file_is_named(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        load_recogniser(path)


def test_weights_of_another_network_or_without_limits_are_refused(tmp_path):
    alien, bare = tmp_path / "alien.safetensors", tmp_path / "bare.safetensors"
    save_file({"weight": torch.zeros(2, 2)}, alien)
    save_file(load_file(OWN), bare)
    for path in (alien, bare):
        with pytest.raises(InputError, match=str(path)):
            load_recogniser(path)
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "alien.pt")
    with pytest.raises(InputError, match=r"alien\.pt"):
        load_recogniser(tmp_path / "alien.pt")


def test_inception_of_other_training_is_refused_as_its_limits_are_unknown(tmp_path):
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(1)
    path = tmp_path / "random.pt"
    torch.save(InceptionResnetV1(pretrained=None).half().state_dict(), path)
    with pytest.raises(InputError, match="CASIA"):
        load_recogniser(path)


@pytest.fixture
def publisher(tmp_path, monkeypatch) -> Iterator[tuple[str, dict]]:
    """A web server on this machine, what it answers, and an empty cache."""
    monkeypatch.setenv("HIME_CACHE", str(tmp_path / "cache"))
    behaviour = {"body": b"", "wait": threading.Event(), "asked": 0}
    behaviour["wait"].set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behaviour["asked"] += 1
            self.send_response(200)
            self.end_headers()
            behaviour["wait"].wait(30)
            self.wfile.write(behaviour["body"])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/weights.pt", behaviour
    behaviour["wait"].set()
    server.shutdown()
    server.server_close()


def finish() -> None:
    for thread in threading.enumerate():
        if thread.name == "fetch-identity":
            thread.join(30)
            assert not thread.is_alive()


def cached() -> list[Path]:
    return [path for path in fetching.cache_folder().rglob("*") if path.is_file()]


def test_a_wrong_checksum_is_refused_and_the_bundled_network_serves(publisher, caplog, recogniser):
    url, behaviour = publisher
    behaviour["body"] = b"not what was promised"
    assert load_recogniser(f"{url}#sha256={'0' * 64}").name == recogniser.name
    finish()
    assert behaviour["asked"] == 1 and cached() == []
    assert hashlib.sha256(behaviour["body"]).hexdigest() in caplog.text


def test_what_is_no_network_is_refused_whatever_its_checksum(publisher, caplog):
    url, behaviour = publisher
    behaviour["body"] = b"not a network"
    load_recogniser(f"{url}#sha256={hashlib.sha256(behaviour['body']).hexdigest()}")
    finish()
    assert cached() == [] and "was not taken" in caplog.text


def test_the_start_does_not_wait_for_a_slow_publisher(publisher, monkeypatch, caplog, astronaut):
    url, behaviour = publisher
    behaviour["wait"].clear()
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.3)
    begun = time.monotonic()
    recogniser = load_recogniser(f"{url}#sha256={'0' * 64}")
    assert recogniser.embed([astronaut]).shape[0] == 1
    assert time.monotonic() - begun < 25, "the server answers after 30 s"
    finish()
    assert cached() == [] and "timed out" in caplog.text


def test_what_is_in_the_cache_is_not_fetched_again(publisher, monkeypatch):
    url, behaviour = publisher
    body = b"weights"
    checksum = hashlib.sha256(body).hexdigest()
    behaviour["body"] = body
    monkeypatch.setattr("hime_core.faces.networks.read_inception", lambda path: ("read", path.read_bytes()))
    load_recogniser(f"{url}#sha256={checksum}")
    finish()
    assert [path.name for path in cached()] == [checksum]
    assert load_recogniser(f"{url}#sha256={checksum}") == ("read", body)
    assert behaviour["asked"] == 1


@pytest.mark.parametrize("end", ["", "#sha256=12", "#md5=" + "0" * 64, "#sha256=" + "z" * 64])
def test_a_url_needs_its_checksum(end):
    with pytest.raises(InputError, match="sha256"):
        load_recogniser("https://example.org/weights.pt" + end)
