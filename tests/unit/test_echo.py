"""Pairs used several times: what is drawn from the pool is what was put in, and fits together."""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch

from hime_core.data.headshots import Person, Shot, encode
from hime_core.training.dataset import PairDataset, PairOptions
from hime_core.training.echo import EchoPool, Sample, by_side

OPTIONS = PairOptions(batch=16, window=16, lr_sides=((16, 0.5), (24, 0.5)), counts=(1, 1, 1, 1), varied=0)


@pytest.fixture(scope="module")
def people():
    """Two of three pictures each, smooth, so that a window's LR picture tells where it lies."""

    def shot(seed: int) -> Shot:
        small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
        return Shot(encode(cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)), side=128)

    return [Person(name, tuple(shot(i) for i in numbers)) for name, numbers in (("a", (1, 2, 3)), ("b", (4, 5, 6)))]


@pytest.fixture
def filled(people):
    whole = PairDataset(people, OPTIONS, seed=1, length=1000).whole()
    samples = [whole[i] for i in range(32)]
    pool = EchoPool(OPTIONS, torch.device("cpu"), seed=1)
    pool.put(by_side(samples))
    return pool, samples


def test_whole_pairs_have_three_references(filled):
    _, samples = filled
    assert {sample["lr"].shape[-1] for sample in samples} == {16, 24}
    for sample in samples:
        side = sample["lr"].shape[-1]
        assert sample["hr"].shape == (3, 4 * side, 4 * side)
        assert sample["references"].shape == (3, 1, 4 * side, 4 * side)
        assert sample["hr"].dtype == torch.uint8


def test_windows_of_input_truth_and_references_lie_in_one_place(filled):
    pool, samples = filled
    counts, mirrored = set(), 0
    for step in range(12):
        drawn = pool.draw(step)
        count = drawn["references"].shape[1]
        counts.add(count)
        assert drawn["references"].shape == (16, count, 1, 64, 64)
        for lr, hr, references in zip(drawn["lr"], drawn["hr"], drawn["references"], strict=True):
            fits = [
                flip
                for whole, y, x, flip in found(lr, samples)  # several, where a shot was drawn twice
                if torch.equal(hr, cut(whole["hr"], y, x))
                and all(any(torch.equal(r, one) for one in cut(whole["references"], y, x)) for r in references)
            ]
            assert fits
            mirrored += fits[0]
    assert counts == {0, 1, 2, 3}
    assert 60 < mirrored < 132


def test_draws_repeat_for_a_seed_and_step(filled):
    pool, _ = filled
    one, again, other = pool.draw(7), pool.draw(7), pool.draw(8)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["lr"], other["lr"])


def test_the_newest_pairs_are_kept(people):
    whole = PairDataset(people, OPTIONS, seed=1, length=1000).whole()
    pool = EchoPool(OPTIONS, torch.device("cpu"), seed=1, size=4)
    samples = [sample for sample in (whole[i] for i in range(64)) if sample["lr"].shape[-1] == 16][:10]
    for sample in samples:
        pool.put(by_side([sample]))
    for step in range(4):
        for lr in pool.draw(step)["lr"]:
            assert any(torch.equal(lr, s["lr"]) or torch.equal(lr, s["lr"].flip(-1)) for s in samples[-4:])


def cut(picture: torch.Tensor, y: int, x: int) -> torch.Tensor:
    return picture[..., 4 * y : 4 * y + 64, 4 * x : 4 * x + 64]


def found(lr: torch.Tensor, samples: list[Sample]) -> Iterator[tuple[Sample, int, int, bool]]:
    """The samples, mirrored or not, and the places in them that an LR window can have been cut from."""
    for sample in samples:
        for flip in (False, True):
            whole = {name: value.flip(-1) if flip else value for name, value in sample.items()}
            height, width = whole["lr"].shape[-2:]
            for y, x in itertools.product(range(height - 15), range(width - 15)):
                if torch.equal(whole["lr"][:, y : y + 16, x : x + 16], lr):
                    yield whole, y, x, flip
