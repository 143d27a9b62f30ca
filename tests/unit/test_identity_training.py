"""What the network that recognises faces is trained on, its training, and how it is measured."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from hime_core.evaluation.identity import (
    LOOKS,
    IdentityEvaluation,
    Scores,
    calibrate,
    keep,
    render,
)
from hime_core.faces.networks import (
    DIMENSIONS,
    LANDMARKS,
    SIDE,
    Calibration,
    IdentityNetwork,
    NetworkRecogniser,
    read_own,
    read_tensors,
)
from hime_core.faces.recognition import NEVER, SIDES, FacePicture, Limits, Recogniser
from hime_core.training.identity import Targets, train, write
from hime_core.training.people import FACES, Callers, People, held_out, made_people, mirrored_points


def drawn(hue: int, number: int, side: int = 96) -> np.ndarray:
    """A face of one colour with two eyes, a nose and a mouth, in a little other light each time."""
    rgb = np.full((side, side, 3), (hue, 128, 255 - hue), np.uint8)
    for x, y in LANDMARKS * side:
        cv2.circle(rgb, (round(float(x)), round(float(y))), side // 20, (20, 20, 20), -1)
    return cv2.convertScaleAbs(rgb, alpha=1 - 0.03 * number)


def people(count: int = 3, photos: int = 4, side: int = 96) -> People:
    rgb = np.stack(
        [
            drawn(round(40 + 160 * person / (count - 1)), number, side)
            for person in range(count)
            for number in range(photos)
        ]
    )
    landmarks = np.tile(LANDMARKS * side - 0.5, (count * photos, 1, 1)).astype(np.float32)
    return People(rgb, landmarks, np.repeat(np.arange(count), photos), tuple(f"p{n}" for n in range(count)))


class ByColour(Recogniser):
    name = "by colour"

    def embed(self, faces: list[FacePicture]) -> np.ndarray:
        found = np.stack([face.rgb.reshape(-1, 3).mean(0) - 128 for face in faces]).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def limits(self, side: int) -> Limits:
        return Limits(0.9, 0.0)


def test_draws_are_repeatable_and_all_pictures_come():
    first, second = (iter(Callers(people(6, 8), 3)) for _ in range(2))
    seen = set()
    for _ in range(2):
        crops, picks, flips = next(first)
        assert crops.shape == (FACES, SIDE, SIDE, 3) and crops.dtype == np.uint8
        again = next(second)
        assert np.array_equal(picks, again[1]) and np.array_equal(flips, again[2])
        assert np.abs(crops.astype(int) - again[0]).mean() < 3, "libvpx minds the clock, and nothing else differs"
        seen |= set(picks.tolist())
    assert seen == set(range(48))


def test_made_people_lie_between_two_others():
    made = made_people(people(3, 4), 2, 3, np.random.default_rng(1))
    assert made.person.tolist() == [0, 0, 0, 1, 1, 1] and len(made.names) == 2
    assert np.allclose(made.landmarks, LANDMARKS * 96 - 0.5, atol=2)
    red = made.rgb[:, :, :, 0].mean((1, 2))
    assert np.ptp(red[:3]) < 12 and all(35 < value < 205 for value in red)


def test_mirrored_twice_is_as_before():
    points = (LANDMARKS * 64).astype(np.float32)
    assert np.allclose(mirrored_points(mirrored_points(points, 64), 64), points, atol=1e-4)
    assert mirrored_points(points, 64)[0, 0] == pytest.approx(63 - points[1, 0])


def test_who_is_held_out_depends_on_names_alone(tmp_path):
    for name, photos in (("a", 9), ("b", 8), ("c", 7), ("d", 12)):
        (tmp_path / name).mkdir()
        for number in range(photos):
            (tmp_path / name / f"{number}.jpg").touch()
    assert set(held_out(tmp_path)) == {"a", "b", "d"}
    assert held_out(tmp_path, 2) == held_out(tmp_path)[:2]


def test_targets_are_centred_unit_and_keep_who_is_alike():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(5, 512))
    embeddings = np.repeat(centres, 40, 0)[:, None] + 0.1 * rng.normal(size=(200, 2, 512)) + 7
    values = Targets(embeddings.astype(np.float32), 200).values.numpy()
    assert values.shape == (200, 2, DIMENSIONS)
    assert np.allclose(np.linalg.norm(values, axis=2), 1, atol=1e-4)
    cosines = values[:, 0] @ values[:, 1].T
    assert cosines[:40, :40].min() > 0.8 and cosines[:40, 40:].max() < 0.5


def test_training_goes_on_where_it_was(tmp_path, capsys):
    shown = people(3, 8)
    targets = torch.nn.functional.normalize(torch.randn(24, 2, DIMENSIONS), dim=2)
    (tmp_path / "data" / "p0").mkdir(parents=True)
    (tmp_path / "data" / "p0" / "0.jpg").touch()
    steps = []
    for minutes in (0.02, 0.04):
        train(IdentityNetwork(), shown, targets, tmp_path, minutes, 2e-3, 1, tmp_path / "data")
        steps.append(torch.load(tmp_path / "state.pt", weights_only=True)["steps"])
    assert 0 < steps[0] < steps[1]
    assert read_own(tmp_path / "identity.safetensors", calibrated=False).limits(64) == NEVER


def test_rates_count_what_crosses_the_limits():
    scores = Scores(np.array([0.9, 0.5, 0.1, 0.7]), np.array([0.0, 0.6, 0.2, -0.5, 0.1]))
    rates = scores.rates(Limits(0.6, 0.15))
    assert rates == {"false_accepts": 0.2, "false_rejects": 0.5, "denied": 0.25, "excluded": 0.6}


def test_a_probe_never_meets_itself_and_calls_keep_the_colour():
    evaluation = IdentityEvaluation(people(2, 4))
    scores = evaluation.scores(ByColour(), 32)
    assert set(scores) == {"clean", "coded", f"coded, {LOOKS} looks"}
    for found in scores.values():
        assert found.own.min() > 0.7 > found.others.max()
    each = np.eye(8, dtype=np.float32)
    apart = evaluation._compared(each, each, evaluation._galleries())
    assert len(apart.own) == len(scores["clean"].own) and apart.own.max() == 0


def test_calibration_goes_into_the_file_and_comes_back(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "identity.safetensors"
    network = IdentityNetwork()
    write(network, path)
    bare = NetworkRecogniser("bare", network, SIDE, None)
    found = calibrate(IdentityEvaluation(people(3, 3)), bare, lambda side: None)
    assert set(found.limits) == set(SIDES) and found.means.shape == (len(SIDES), DIMENSIONS)
    keep(found, read_tensors(path)[0], path)
    loaded = read_own(path)
    assert loaded.limits(48) == found.limits[48]
    faces = [people().face(number) for number in range(3)]
    assert np.allclose(loaded.embed(faces), bare.calibrated(found).embed(faces), atol=0.05)


def test_means_lie_between_those_measured():
    means = np.float32([[n] for n in range(len(SIDES))])
    calibration = Calibration({}, means)
    assert calibration.mean(8) == 0 and calibration.mean(200) == len(SIDES) - 1
    assert calibration.mean(SIDES[2]) == pytest.approx(2)
    assert 1 < calibration.mean(28)[0] < 2


def test_the_table_has_a_row_per_side_and_condition():
    row = {"recogniser": "own", "side": 32, "condition": "clean", "same": 0.5, "false_accepts": 0.0005}
    row |= {"false_rejects": 0.25, "excluded": 0.9, "denied": 0.01}
    text = render({"rows": [row, {**row, "condition": "coded"}], "calls": [row], "clips": 4})
    assert "| 32 px | clean | 0.50 | 0.050% | 25.0% | 90% |" in text
    assert text.count("| 32 px |") == 3 and "4 clips" in text
