import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from hime_core.errors import InputError
from hime_core.model.hime import Hime, HimeConfig
from hime_core.training.command import train
from hime_core.training.dataset import PairDataset, PairOptions
from hime_core.training.degradations import degrade_lr, degrade_reference, jpeg, relight, turn
from hime_core.training.trainer import Trainer, TrainOptions

SMALL = HimeConfig(width=8, groups=2, lr_blocks=1, hr_blocks=1, reconstruction_blocks=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two identities of three photos: the astronaut turned, and mirrored ones."""
    root = tmp_path_factory.mktemp("photos")
    headshot = data.astronaut()[12:212, 121:321]
    for name, picture in (("ann", headshot), ("ben", headshot[:, ::-1])):
        (root / name).mkdir()
        for i in range(3):
            rng = np.random.default_rng(i)
            image = turn(np.ascontiguousarray(picture), rng)
            Image.fromarray(cv2.resize(image, (256, 256))).save(root / name / f"{i:03}.jpg", quality=95)
    return root


def dataset(photos, **options) -> PairDataset:
    return PairDataset(photos, PairOptions(batch=2, **options), seed=1, length=1000)


def test_pairs_have_their_shapes_and_share_a_number_of_references(photos):
    pairs = dataset(photos)
    counts = set()
    for i in range(0, 16, 2):
        one, two = pairs[i], pairs[i + 1]
        assert one["lr"].shape == (3, 24, 24)
        assert one["hr"].shape == (3, 96, 96)
        assert one["references"].shape == two["references"].shape
        assert one["references"].shape[1:] == (1, 96, 96)
        counts.add(one["references"].shape[0])
    assert counts <= {1, 2, 3}
    assert len(counts) > 1


def test_a_sample_is_the_same_whenever_it_is_drawn(photos):
    first, again = dataset(photos)[37], dataset(photos)[37]
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["lr"], dataset(photos)[39]["lr"])


def test_the_lr_picture_is_the_hr_one_made_small(photos):
    pairs = dataset(photos, degraded=0.0, lr_sides=((64, 1.0),))
    for i in range(4):
        sample = pairs[i]
        small = torch.nn.functional.interpolate(sample["hr"][None], scale_factor=0.25, mode="area")[0]
        assert (small - sample["lr"]).abs().mean() < 0.03


def test_near_references_are_aligned_and_other_kinds_are_what_they_say(photos):
    """The target a moment later, registered, shows the target's own detail."""

    def detail(x):
        return x - torch.nn.functional.avg_pool2d(x[None], 5, 1, 2)[0]

    def agreement(options):
        values = []
        pairs = dataset(photos, degraded=0.0, lr_sides=((32, 1.0),), **options)
        for i in range(24):
            sample = pairs[i]
            weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
            a = detail((sample["hr"] * weights).sum(0, keepdim=True)).flatten()
            b = detail(sample["references"][0]).flatten()
            values.append(float(a @ b / (a.norm() * b.norm() + 1e-9)))
        return np.mean(values)

    kinds = {"self_share": 0.0, "other_share": 0.0, "wrong_share": 0.0, "blank_share": 0.0}
    near = agreement(kinds | {"self_share": 1.0})
    assert near > 0.5
    assert near > agreement(kinds | {"wrong_share": 1.0})
    assert not dataset(photos, **(kinds | {"blank_share": 1.0}))[0]["references"].any()


def test_degradations_keep_shape_and_range():
    rng = np.random.default_rng(0)
    face = data.astronaut()[:64, :64]
    gray = face[..., 0].copy()
    for made in (degrade_lr(face, rng), jpeg(face, 40), relight(face, rng), turn(face, rng)):
        assert made.shape == face.shape
        assert made.dtype == np.uint8
    assert degrade_reference(gray, rng).shape == gray.shape


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        PairDataset(tmp_path / "absent", PairOptions(), 1, 10)
    with pytest.raises(InputError, match="holds no photos"):
        PairDataset(tmp_path, PairOptions(), 1, 10)
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "000.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"000\.jpg"):
        PairDataset(tmp_path, PairOptions(), 1, 10)


def run_of(photos, folder, minutes) -> Trainer:
    torch.manual_seed(0)
    options = TrainOptions(minutes=minutes, workers=0, rate=2e-3, warmup=5, ema=0.9)
    seconds = itertools.count()  # a step takes one
    return Trainer(Hime(SMALL), dataset(photos), folder, options, clock=lambda: float(next(seconds)))


def test_training_learns_and_resumes(photos, tmp_path):
    losses = []
    run = run_of(photos, tmp_path / "run", 2.0)
    assert not run.resume()
    run.train(lambda progress: losses.append(progress.loss))
    assert run.step == 121
    assert losses[-1] < 0.8 * losses[0]
    assert (tmp_path / "run" / "weights.safetensors").exists()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(20, log[-1]["step"] + 1, 20))

    again = run_of(photos, tmp_path / "run", 2.2)
    assert again.resume()
    assert again.step == run.step
    assert again.elapsed == run.elapsed
    for one, other in zip(again.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(one, other)
    again.train(lambda progress: None)
    assert again.step == run.step + 12


def test_train_refuses_what_it_cannot_do(photos, tmp_path):
    with pytest.raises(InputError, match="recipe 'odd'"):
        train(photos, tmp_path / "a", recipe="odd")
    with pytest.raises(InputError, match="variant 'huge'"):
        train(photos, tmp_path / "a", variant="huge")
    with pytest.raises(InputError, match="scale 5"):
        train(photos, tmp_path / "a", scale=5)
    with pytest.raises(InputError, match="no run to resume"):
        train(photos, tmp_path / "a", resume=True)
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "state.pt").touch()
    with pytest.raises(InputError, match="--resume"):
        train(photos, tmp_path / "b")
    (tmp_path / "b" / "options.json").write_text('{"scale": 8}')
    with pytest.raises(InputError, match="begun with scale 8"):
        train(photos, tmp_path / "b", resume=True)
