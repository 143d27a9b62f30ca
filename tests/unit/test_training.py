import dataclasses
import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from hime_core.data.degradations import turn
from hime_core.errors import InputError
from hime_core.model.checkpoint import save_checkpoint
from hime_core.model.hime import Hime, HimeConfig
from hime_core.training.command import TrainSettings, build_model, build_pairs, on_device, parse_sides, train
from hime_core.training.curve import draw_curve
from hime_core.training.dataset import PairDataset, PairOptions
from hime_core.training.losses import LossWeights
from hime_core.training.trainer import FIRST_PAIRS, Trainer, TrainOptions

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
    assert run.step == 120
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
    for optimizer in (again.adam, again.muon):
        assert optimizer.param_groups[0]["lr"] is again._rate  # what a replayed step reads
    again.train(lambda progress: None)
    assert again.step == run.step + 12
    assert any(not torch.equal(a, b) for a, b in zip(again.model.parameters(), run.model.parameters(), strict=True))


def test_train_refuses_what_it_cannot_do(photos, tmp_path):
    def refused(match: str, name: str = "a", **options) -> None:
        with pytest.raises(InputError, match=match):
            train(TrainSettings(photos, tmp_path / name, **options))

    refused("recipe 'odd'", recipe="odd")
    refused("variant is 'huge'", variant="huge")
    refused("scale 5", scale=5)
    refused("no run to resume", resume=True)
    refused("tiny does not take", variant="tiny", alignment="conv")
    refused("alignment is 'odd'", alignment="odd")
    refused("flips 'odd'", flips="odd")
    refused("no weights named 'odd'", init="odd")
    refused("checkpoint for x4, not x8", init="small-x4-rec", scale=8)
    refused("nor all zero|VGG", vgg=tmp_path / "none.pth", losses=LossWeights(per=1.0))
    refused("is not a folder", clips=tmp_path / "none")
    refused("is no run's state", critic=tmp_path / "none.pt")
    torch.save({"objective": {}}, tmp_path / "state.pt")
    refused("holds no discriminator", critic=tmp_path / "state.pt")
    assert not (tmp_path / "a" / "state.pt").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "state.pt").touch()
    refused("--resume", "b")
    (tmp_path / "b" / "options.json").write_text('{"scale": 8}')
    refused("begun with scale 8", "b", resume=True)


def test_a_network_begins_from_another_where_it_fits(tmp_path):
    start = Hime(HimeConfig(steps=1))
    save_checkpoint(start, tmp_path / "start.safetensors")
    settings = TrainSettings(
        tmp_path, tmp_path / "run", variant="large", steps=1, init=str(tmp_path / "start.safetensors")
    )
    large = build_model(settings)
    assert large.flow is not None
    assert torch.equal(large.lr_conv.weight, start.lr_conv.weight)
    save_checkpoint(Hime(SMALL), tmp_path / "narrow.safetensors")
    with pytest.raises(InputError, match="little in common with large"):
        build_model(dataclasses.replace(settings, init=str(tmp_path / "narrow.safetensors")))


def test_a_run_leaves_a_curve_and_a_card_from_which_it_can_be_repeated(photos, tmp_path, capsys):
    train(TrainSettings(photos, tmp_path / "run", variant="tiny", minutes=0.01, losses=LossWeights(cor=1.0)))
    card = (tmp_path / "run" / "card.md").read_text()
    assert "# tiny-x4-rec" in card
    assert "2 people, 6 headshots" in card
    assert f"--data {photos.name} --out RUN --recipe rec --variant tiny" in card
    assert "cor 1" in card
    rows = [{"step": step, "loss": 1 / step} for step in (20, 40, 60)]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw_curve(log, tmp_path / "loss.svg")
    assert "step 60" in (tmp_path / "loss.svg").read_text()


def test_a_run_can_end_by_steps_whatever_the_clock_says(photos, tmp_path):
    torch.manual_seed(0)
    hours = itertools.count(step=3600)
    options = TrainOptions(minutes=1, iterations=30, workers=0, rate=1e-3, warmup=5)
    run = Trainer(Hime(SMALL), dataset(photos), tmp_path / "run", options, clock=lambda: float(next(hours)))
    assert run.rate() == pytest.approx(1e-3 / 5)
    reports = []
    run.train(reports.append)
    assert run.step == 30 and run.done == 1 and run.rate() == pytest.approx(0)
    assert [report.done for report in reports] == [pytest.approx(2 / 3)]


def test_what_pairs_are_made_of_can_be_chosen_and_is_kept_with_the_run(photos, tmp_path):
    settings = TrainSettings(
        photos,
        tmp_path / "run",
        variant="tiny",
        iterations=1,
        varied=0.25,
        lr_sides=parse_sides("32=0.9,64=0.1"),
        mirrored=True,
    )
    options = build_pairs(settings).options
    assert options.varied == 0.25 and options.lr_sides == ((32, 0.9), (64, 0.1))
    train(settings)
    card = (tmp_path / "run" / "card.md").read_text()
    assert "--iterations 1" in card and "--varied 0.25" in card and "--sides 32=0.9,64=0.1" in card
    assert "--mirrored" in card and "mirrored True" in card and "teacher 1" not in card
    assert Hime.from_pretrained(tmp_path / "run" / "weights.safetensors").config.mirrored
    train(dataclasses.replace(settings, resume=True, iterations=2))
    with pytest.raises(InputError, match="begun with lr_sides"):
        train(dataclasses.replace(settings, resume=True, lr_sides=((32, 1.0),)))
    for text in ("32", "32=x", "4=1", "32=0", "32=nan", "32=inf"):
        with pytest.raises(InputError, match=f"--sides {text}: .*as in 32=0.9"):
            parse_sides(text)


def test_the_average_of_a_short_run_is_of_its_end(photos, tmp_path):
    torch.manual_seed(0)
    options = TrainOptions(minutes=0.5, workers=0, rate=2e-3, warmup=1)  # 30 steps, with the longest average
    seconds = itertools.count()
    run = Trainer(Hime(SMALL), dataset(photos), tmp_path / "run", options, clock=lambda: float(next(seconds)))
    begun = run.model.lr_conv.weight.detach().clone()
    run.train(lambda progress: None)
    average, ended = run.average.lr_conv.weight, run.model.lr_conv.weight
    assert (average - ended).norm() < 0.5 * (ended - begun).norm()


def test_pairs_can_be_used_several_times_and_the_run_resumed(photos, tmp_path):
    class Counted(PairDataset):
        drawn = 0

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            Counted.drawn += 1
            return super().__getitem__(index)

    options = PairOptions(batch=8, window=24, lr_sides=((32, 1.0),))
    data = Counted(photos, options, seed=1, length=100_000)
    seconds = itertools.count()
    made = TrainOptions(minutes=2.0, workers=0, rate=2e-3, warmup=5, echoes=8)
    run = Trainer(Hime(SMALL), data, tmp_path / "run", made, clock=lambda: float(next(seconds)))
    losses = []
    run.train(lambda progress: losses.append(progress.loss))
    assert run.step == 120
    assert losses[-1] < 0.8 * losses[0]
    assert Counted.drawn == FIRST_PAIRS + 128  # one pair a step
    again = Trainer(Hime(SMALL), data, tmp_path / "run", dataclasses.replace(made, minutes=2.2))
    assert again.resume()
    assert again.step == 120


def test_settings_suit_the_device(tmp_path):
    given = TrainSettings(tmp_path, tmp_path, batch=4)
    assert (on_device(given, cuda=False).batch, on_device(given, cuda=False).echoes) == (4, 1)
    assert on_device(given, cuda=True).echoes > 1
    assert on_device(dataclasses.replace(given, batch=None, echoes=3), cuda=True).batch == 64
    assert on_device(dataclasses.replace(given, workers=0), cuda=True).workers == 0


def test_a_mirrored_network_is_trained_from_one_that_is_not(tmp_path):
    start = Hime(HimeConfig(steps=1)).eval()
    save_checkpoint(start, tmp_path / "start.safetensors")
    settings = TrainSettings(
        tmp_path, tmp_path / "run", steps=1, mirrored=True, init=str(tmp_path / "start.safetensors")
    )
    model, lr = build_model(settings).eval(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(model(lr), (start(lr) + start(lr.flip(-1)).flip(-1)) / 2, atol=1e-5)
    save_checkpoint(model, tmp_path / "end.safetensors")
    assert Hime.from_pretrained(tmp_path / "end.safetensors").config.mirrored


def test_a_network_of_more_steps_begins_as_the_one_it_begins_from(tmp_path):
    start = Hime(HimeConfig(steps=1)).eval()
    save_checkpoint(start, tmp_path / "start.safetensors")
    settings = TrainSettings(tmp_path, tmp_path / "run", variant="large", init=str(tmp_path / "start.safetensors"))
    lr, references = torch.rand(1, 3, 16, 16), torch.rand(1, 2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(build_model(settings).eval()(lr, references), start(lr, references), atol=1e-5)
