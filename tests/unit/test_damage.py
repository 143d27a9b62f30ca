import cv2
import numpy as np
import pytest
from safetensors import SafetensorError
from skimage import data

from hime_core.data.codec import CODECS, transmit
from hime_core.data.damaged import TYPES, photo_faces, target
from hime_core.faces.damage import LARGEST, STEPS, WEIGHTS, DamageEstimator, middle
from hime_core.model.checkpoint import CheckpointError, find_weights
from hime_core.video.picture import Picture

THRESHOLD = 24.0
FINE, COARSE = {"vp8": 10, "h264": 20}, {"vp8": 56, "h264": 44}  # steps of 7 and 6, of 92 and 101


@pytest.fixture(scope="module")
def estimator() -> DamageEstimator:
    return DamageEstimator()


def frames(side: int = 176, count: int = 6) -> list[np.ndarray]:
    """The astronaut's headshot, moving a little."""
    scene = cv2.resize(data.astronaut()[:260, 90:350], (side + 16, side + 16), interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(scene[8 : 8 + side, n : n + side]) for n in range(count)]


def luma(rgb: np.ndarray) -> np.ndarray:
    return Picture.from_rgb(rgb).y


def mean_step(estimator: DamageEstimator, pictures: list[np.ndarray]) -> float:
    return float(np.exp(np.mean([np.log(estimator.step(luma(rgb))) for rgb in pictures])))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("side", [144, 176, 220])
def test_fine_and_coarse_coding_are_told_apart(estimator, codec, side):
    fine = mean_step(estimator, transmit(frames(side), codec, FINE[codec]))
    coarse = mean_step(estimator, transmit(frames(side), codec, COARSE[codec]))
    assert fine < THRESHOLD < coarse
    assert coarse > 2 * fine


@pytest.mark.parametrize("codec", CODECS)
def test_damage_outlives_a_fine_coding(estimator, codec):
    """What a poor uplink has taken is seen in what somebody else codes finely afterwards."""
    poor = transmit(frames(), codec, COARSE[codec])
    assert mean_step(estimator, transmit(poor, "h264", FINE["h264"])) > THRESHOLD


@pytest.mark.parametrize("codec", CODECS)
def test_estimates_rise_with_the_quantizer(estimator, codec):
    between = (FINE[codec] + COARSE[codec]) // 2
    steps = [mean_step(estimator, transmit(frames(), codec, q)) for q in (FINE[codec], between, COARSE[codec])]
    assert steps == sorted(steps)
    assert len(set(steps)) == 3


def test_a_noisy_camera_and_one_out_of_focus_are_no_damage(estimator):
    rng = np.random.default_rng(0)
    plain = frames()
    noisy = [np.clip(rgb + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8) for rgb in plain]
    blurred = [cv2.GaussianBlur(rgb, (0, 0), 1.2) for rgb in noisy]
    for pictures in (plain, noisy, blurred):
        assert mean_step(estimator, pictures) < THRESHOLD


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (31, 31), (64, 64), (97, 97), (128, 128), (181, 181), (300, 300)])
def test_any_size_gives_a_step(estimator, shape):
    noise = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert STEPS[0] <= estimator.step(noise) <= STEPS[1]
    assert STEPS[0] <= estimator.step(np.full(shape, 90, np.uint8)) <= STEPS[1]


def test_only_the_middle_is_looked_at(estimator):
    """At the frame's own scale, in views of other memory too."""
    face = luma(frames(200)[0])
    inside = face[36:164, 36:164]
    assert middle(face).shape == (LARGEST, LARGEST)
    assert estimator.step(face) == estimator.step(inside) == estimator.step(np.ascontiguousarray(inside))


def test_the_weights_are_no_checkpoint_of_hime():
    assert WEIGHTS.is_file()
    with pytest.raises(CheckpointError) as error:
        find_weights("no-such-weights")
    assert WEIGHTS.stem not in str(error.value)


def test_weights_that_are_none_are_refused(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(SafetensorError):
        DamageEstimator(tmp_path / "bad.safetensors")


def test_targets_count_what_took_most():
    samples = np.zeros(4, TYPES)
    samples["scale"] = (1, 0.5, 1, 1)
    samples["step"], samples["codec"], samples["again"] = (0, 32, 32, 8), (0, 0, 1, 0), (0, 4, 4, 16)
    np.testing.assert_allclose(2 ** target(samples), (STEPS[0], 16, 48, 16), rtol=1e-5)


def test_samples_are_the_same_for_a_seed(tmp_path):
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), data.astronaut()[:256, 90:346, ::-1])
    one, again = (np.stack(list(photo_faces([path], 6, np.random.default_rng(2)))) for _ in range(2))
    assert len(one) == 12
    assert np.array_equal(one["luma"], again["luma"]) and np.array_equal(one["step"], again["step"])
    coded = one[one["step"] > 0]
    assert len(coded) and (coded["error"] > 0).all()
    assert one["luma"].std((1, 2)).min() > 10
