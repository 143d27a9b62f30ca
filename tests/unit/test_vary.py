"""Pictures varied on the device are what `degradations` makes of them, and what belongs together stays together."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from hime_core.data.headshots import Person, Shot, encode
from hime_core.training.dataset import PairDataset, PairOptions
from hime_core.training.echo import EchoPool, by_side
from hime_core.training.vary import as_variation, draw_variation, relit, shrunk, warped

OPTIONS = PairOptions(batch=16, window=32, lr_sides=((32, 1.0),), counts=(0, 0, 1, 0), varied=1.0)


def astronaut() -> torch.Tensor:
    picture = cv2.resize(data.astronaut()[20:220, 130:330], (128, 128), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def variation(count: int, varied: float, mirrored: bool = False, seed: int = 0):
    return as_variation(
        torch.from_numpy(draw_variation(np.random.default_rng(seed), count, varied, np.full(count, mirrored)))
    )


def test_what_is_not_varied_is_the_picture_or_its_mirror_image():
    picture = astronaut()
    for mirrored, wanted in ((False, picture), (True, picture.flip(-1))):
        still = variation(1, 0.0, mirrored)
        assert (relit(warped(picture, still), still) - wanted).abs().max() < 1e-4


def test_pictures_are_moved_where_opencv_moves_them():
    picture = astronaut()
    moved = variation(1, 1.0)
    got = warped(picture, moved)[0].permute(1, 2, 0).numpy()
    side = picture.shape[-1]
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    field = [cv2.resize(one.numpy(), (side, side), interpolation=cv2.INTER_CUBIC) for one in moved.field[0]]
    x, y = (
        side * (moved.across[0, k].item() * steps[None] + moved.along[0, k].item() * steps[:, None]
                + moved.shift[0, k].item() + field[k] + 0.5) - 0.5
        for k in (0, 1)
    )  # fmt: skip
    rgb = picture[0].permute(1, 2, 0).numpy()
    x, y = x.astype(np.float32), y.astype(np.float32)
    wanted = cv2.remap(rgb, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(wanted - rgb).mean() > 0.02
    assert np.abs(got - wanted)[4:-4, 4:-4].mean() < 0.003  # OpenCV rounds places to 1/32 pixel


def test_lr_pictures_are_reduced_as_pillow_reduces_them():
    picture = (astronaut() * 255).round().byte()
    got = shrunk(picture, 4)[0].permute(1, 2, 0).numpy()
    pillow = Image.fromarray(picture[0].permute(1, 2, 0).numpy()).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.abs(got.astype(int) - np.asarray(pillow)).max() <= 1


@pytest.fixture(scope="module")
def pool():
    """Of pictures that are their own reference, which is laid over them as it is."""
    gray = np.repeat(cv2.cvtColor(data.astronaut()[20:220, 130:330], cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    shot = Shot(encode(cv2.resize(gray, (256, 256))))
    options = replace(OPTIONS, self_share=0, other_share=1, wrong_share=0, blank_share=0, registered=False)
    people = [Person("a", (shot,) * 3)]
    whole = PairDataset(people, options, seed=1, length=1000).whole()
    pool = EchoPool(options, torch.device("cpu"), seed=1)
    pool.put(by_side([whole[i] for i in range(16)]))
    return pool


def test_draws_are_other_pictures_each_time_and_references_move_with_them(pool):
    drawn = pool.draw(3)
    again = pool.draw(3)
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    assert drawn["lr"].shape == (16, 3, 32, 32)
    assert drawn["hr"].shape == (16, 3, 128, 128)
    assert drawn["references"].shape == (16, 2, 1, 128, 128)
    hr, references = drawn["hr"].float().mean(1), drawn["references"][:, 0, 0].float()
    different = (references[0] - references[1:]).abs().mean(dim=(1, 2))
    assert different.min() > 2
    for one, reference in zip(hr, references, strict=True):  # lit otherwise, but in the same place
        inner = np.s_[8:-8, 8:-8]
        ranks = [torch.corrcoef(torch.stack([a[inner].flatten(), b[inner].flatten()]))[0, 1] for a, b in
                 ((one, reference), (one.roll(3, 1), reference))]  # fmt: skip
        assert ranks[0] > 0.97
        assert ranks[0] > ranks[1] + 0.02


def test_lr_pictures_are_of_the_varied_truth(pool):
    drawn = pool.draw(5)
    for lr, hr in zip(drawn["lr"], drawn["hr"], strict=True):
        rgb = Image.fromarray(hr.permute(1, 2, 0).numpy())
        wanted = np.asarray(rgb.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(lr.permute(1, 2, 0).numpy() - wanted).max() <= 1


def test_pictures_that_went_through_a_call_stay_as_they_are():
    assert OPTIONS.varies
    assert not PairOptions.for_recipe("call", 4).varies
    assert PairOptions.for_recipe("call", 4).whole().varied == PairOptions.for_recipe("call", 4).varied
