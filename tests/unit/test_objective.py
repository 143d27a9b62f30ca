"""What recipes minimise: terms, critics, and the errors of wrong settings."""

from __future__ import annotations

import copy

import pytest
import torch
from torchvision.models import vgg16

from hime_core.errors import InputError
from hime_core.model.hime import Hime, HimeConfig
from hime_core.training.command import RECIPES, parse_losses
from hime_core.training.critics import VggFeatures, load_vgg
from hime_core.training.losses import LossWeights
from hime_core.training.objective import Critics, Objective

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vgg() -> VggFeatures:
    torch.manual_seed(0)
    return VggFeatures(vgg16(weights=None).features, 16, blocks=2)


def batch(side: int = 24) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    sr = torch.rand(2, 3, side, side, requires_grad=True)
    return sr, torch.rand(2, 3, side, side), torch.rand(2, 3, side // 4, side // 4), torch.rand(2, 1, 1, side, side)


def test_the_papers_lambdas_are_the_default() -> None:
    assert RECIPES["rec"] == LossWeights(rec=1.0)
    perceptual = RECIPES["perceptual"]
    assert (perceptual.rec, perceptual.adv, perceptual.per, perceptual.cor) == (1.0, 0.1, 0.01, 0.1)
    assert RECIPES["call"].adv == 0


def test_every_term_of_a_recipe_counts_and_reaches_the_picture(vgg: VggFeatures) -> None:
    objective = Objective(RECIPES["perceptual"], Critics(vgg), 1e-3, CPU)
    sr, hr, lr, references = batch()
    terms = objective.terms(sr, hr, lr, references)
    assert set(terms) == {"rec", "cor", "per", "adv"}
    for name, value in terms.items():
        (gradient,) = torch.autograd.grad(value, sr, retain_graph=True)
        assert float(gradient.abs().sum()) > 0, name


def test_perceptual_loss_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="VGG"):
        Objective(LossWeights(per=0.01), Critics(), 1e-3, CPU)


def test_the_discriminator_learns_and_keeps_no_gradients_of_the_generator() -> None:
    objective = Objective(LossWeights(rec=0, adv=1.0), Critics(), 2e-3, CPU)
    _, _, lr, references = batch()
    hr, blurred = torch.rand(4, 3, 24, 24), torch.rand(4, 3, 24, 24) * 0.2 + 0.4
    first = float(objective.terms(blurred, hr, lr, references)["adv"].detach())
    for _ in range(30):
        last = float(objective.terms(blurred, hr, lr, references)["adv"].detach())
    assert last > first + 0.5  # the better it knows them apart, the greater the generator's loss
    assert objective.discriminator is not None
    assert all(p.requires_grad for p in objective.discriminator.parameters())


def test_a_teacher_is_matched() -> None:
    teacher = Hime(HimeConfig(width=8, lr_blocks=1, hr_blocks=1, reconstruction_blocks=1, groups=2))
    objective = Objective(LossWeights(), Critics(teacher=teacher), 1e-3, CPU)
    _, hr, lr, references = batch()
    with torch.no_grad():
        taught = teacher(lr, references)
    assert float(objective.terms(taught, hr, lr, references)["teacher"]) == pytest.approx(1e-3, rel=1e-3)
    twice = Objective(LossWeights(teacher=2), Critics(teacher=teacher), 1e-3, CPU)
    assert float(twice.terms(taught, hr, lr, references)["teacher"]) == pytest.approx(2e-3, rel=1e-3)


def test_discriminator_and_its_optimizer_are_resumed() -> None:
    weights = LossWeights(adv=0.1)
    one, other = (Objective(weights, Critics(), 1e-3, CPU) for _ in range(2))
    sr, hr, lr, references = batch()
    one.terms(sr, hr, lr, references)
    other.load_state_dict(copy.deepcopy(one.state_dict()))  # as from a file
    torch.manual_seed(1)
    a = one.terms(sr, hr, lr, references)["adv"]
    torch.manual_seed(1)
    b = other.terms(sr, hr, lr, references)["adv"]
    assert float(a.detach()) == pytest.approx(float(b.detach()), rel=1e-5)


def test_another_runs_discriminator_is_gone_on_with_at_a_rate_of_its_own() -> None:
    weights = LossWeights(adv=0.1)
    one = Objective(weights, Critics(), 1e-3, CPU)
    one.terms(*batch())
    other = Objective(weights, Critics(known=copy.deepcopy(one.state_dict())), 5e-4, CPU)
    assert one.discriminator is not None
    assert other.discriminator is not None
    for a, b in zip(one.discriminator.parameters(), other.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert other.optimizer.param_groups[0]["lr"] == 5e-4
    assert len(other.optimizer.state) == len(one.optimizer.state) > 0


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU emulates bf16")
def test_critics_in_bf16_judge_nearly_alike() -> None:
    weights = LossWeights(rec=0, adv=1.0)
    one = Objective(weights, Critics(), 1e-4, CPU)
    other = Objective(weights, Critics(known=copy.deepcopy(one.state_dict())), 1e-4, CPU, bf16=True)
    sr, *rest = batch()
    found = []
    for objective in (one, other):
        torch.manual_seed(1)  # of the part that is looked at
        shown = sr.detach().clone().requires_grad_()
        loss = objective.terms(shown, *rest)["adv"]
        loss.backward()
        assert loss.dtype == torch.float32
        found.append((float(loss.detach()), shown.grad))
    assert found[1][0] == pytest.approx(found[0][0], rel=0.01)
    assert (found[1][1] - found[0][1]).norm() < 0.3 * found[0][1].norm()


def test_losses_are_read_from_text() -> None:
    assert parse_losses("rec=1,per=0.01,window=5") == LossWeights(rec=1.0, per=0.01, window=5)
    assert parse_losses("cor=1") == LossWeights(rec=0.0, cor=1.0)


@pytest.mark.parametrize("text", ["rec", "sharp=1", "rec=much", "cor=1,window=4", "rec=-1", "rec=0"])
def test_losses_that_make_no_sense_are_named(text: str) -> None:
    with pytest.raises(InputError, match=f"--losses {text}"):
        parse_losses(text)


def test_a_file_without_vgg_weights_is_named(tmp_path) -> None:
    file = tmp_path / "no.pth"
    torch.save({"something": torch.zeros(1)}, file)
    with pytest.raises(InputError, match=r"no\.pth holds no VGG weights"):
        load_vgg(file)
    file.write_bytes(b"not a file of torch")
    with pytest.raises(InputError, match=r"no\.pth holds no VGG weights"):
        load_vgg(file)
