"""Registration of many references at once, against moves that are known."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from hime_core.faces import dense
from hime_core.faces.registration import Registration, luma, similarities, similarity


def face(side: int) -> np.ndarray:
    photo = cv2.cvtColor(data.astronaut()[12:212, 121:321], cv2.COLOR_RGB2GRAY)
    return cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)


def moved(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    side = picture.shape[0]
    return cv2.warpAffine(picture, np.float64([[1, 0, x], [0, 1, y]]), (side, side), flags=cv2.INTER_CUBIC,
                          borderMode=cv2.BORDER_REPLICATE)  # fmt: skip


def tensors(references: list[np.ndarray], lr: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.stack(references))[None].float(), torch.from_numpy(lr)[None].float()


@pytest.mark.parametrize("side", [16, 32, 48, 80])
def test_moves_are_found_to_a_fraction_of_a_pixel(side):
    truth, lr = face(4 * side), face(side)
    wanted = [(3.0, -2.0), (-1.5, 4.5), (0.0, 0.0)]
    references = [moved(truth, *move) for move in wanted]
    flow = dense.flow(torch.from_numpy(np.stack(references))[:, None].float(),
                      torch.from_numpy(lr).float().expand(3, 1, side, side))  # fmt: skip
    scale = 4 * side / flow.shape[-1]
    middle = slice(flow.shape[-1] // 4, 3 * flow.shape[-1] // 4)
    for found, move in zip(flow[:, :, middle, middle].numpy() * scale, wanted, strict=True):
        assert np.abs(np.median(found, axis=(1, 2)) - move).max() < 0.35


@pytest.mark.parametrize("side", [16, 32, 48])
def test_registered_references_are_as_near_the_truth_as_opencvs(side):
    truth, lr = face(4 * side), face(side)
    rng = np.random.default_rng(side)
    places = np.stack(np.meshgrid(np.arange(4.0 * side), np.arange(4.0 * side)), -1).astype(np.float32)
    references = []
    for _ in range(4):  # bent smoothly, darker and with less contrast
        bend = cv2.resize(rng.normal(0, 2.5, (4, 4, 2)).astype(np.float32), (4 * side, 4 * side),
                          interpolation=cv2.INTER_CUBIC)  # fmt: skip
        bent = cv2.remap(truth, places + bend, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        references.append(np.clip(bent * 0.8 + 10, 0, 255).astype(np.uint8))

    def error(pictures: np.ndarray) -> float:
        return float(np.abs(pictures - (truth * 0.8 + 10)).mean())

    found = dense.register(*tensors(references, lr))[0].numpy()
    opencv = np.stack([Registration().register(one, lr) for one in references]).astype(float)
    assert error(found) < 1.1 * error(opencv) < 0.7 * error(np.stack(references).astype(float))


def test_each_reference_is_registered_to_its_own_face():
    truth, lr = face(128), face(32)
    references = torch.from_numpy(np.stack([[truth, moved(truth, 3, 0)], [moved(truth, 0, 5), truth[:, ::-1]]])).float()
    faces = torch.from_numpy(np.stack([lr, lr[:, ::-1]])).float()
    together = dense.register(references, faces)
    for n in range(2):
        for r in range(2):
            alone = dense.register(references[n : n + 1, r : r + 1], faces[n : n + 1])
            assert (together[n, r] - alone[0, 0]).abs().max() <= 1


def test_a_blank_reference_stays_blank_and_a_blank_face_moves_nothing_far():
    assert not dense.register(torch.zeros(1, 1, 128, 128), torch.from_numpy(face(32))[None].float()).any()
    flow = dense.flow(torch.from_numpy(face(128))[None, None].float(), torch.full((1, 1, 32, 32), 128.0))
    assert torch.isfinite(flow).all() and flow.abs().max() <= 8


def test_luma_is_opencvs():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.abs(dense.luma(torch.from_numpy(rgb)[None])[0].numpy() - luma(rgb)).max() <= 1


def test_similarities_of_many_are_those_of_each():
    rng = np.random.default_rng(0)
    sources, targets = rng.normal(0, 20, (2, 40, 5, 2))
    targets[:20] = sources[:20] * 1.5 + rng.normal(0, 1, (20, 5, 2))
    sources[3] = 7.0  # without extent
    for one, source, target in zip(similarities(sources, targets), sources, targets, strict=True):
        assert np.allclose(one, similarity(source, target))
    assert np.allclose(similarities(sources, targets)[3][:, :2], np.eye(2))


def test_nothing_is_read_back_from_the_device():
    """Without values nothing can be: a loop that ends when it is good enough, say."""
    faces = torch.empty(2, 32, 32, 3, dtype=torch.uint8, device="meta")
    found = dense.register(torch.empty(2, 3, 128, 128, device="meta"), dense.luma(faces))
    assert found.shape == (2, 3, 128, 128)
