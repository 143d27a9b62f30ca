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
from hime_core.training.degradations import turn
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
