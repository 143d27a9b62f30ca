"""Section 3.4's L_rec and Equations 8 to 14 against literal versions in plain loops."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from hime_core.training.critics import Discriminator, VggFeatures
from hime_core.training.losses import (
    LossWeights,
    charbonnier,
    correlation_loss,
    correlation_map,
    perceptual_loss,
    psnr_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from hime_core.training.objective import Critics, Objective

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def literal_correlation(image: np.ndarray, k: int, d: int) -> np.ndarray:
    """Eq. 8: cor(i, j, x, y) = <I(x, y), I(x - i, y - j)> / k^2, channel means removed, zero beyond the border."""
    channels, height, width = image.shape
    centred = image - np.array([[[np.mean(image[c])]] for c in range(channels)])
    out, reach = np.zeros((k * k, height, width)), (k - 1) // 2
    shifts = [(j, i) for j in range(-reach, reach + 1) for i in range(-reach, reach + 1)]
    for number, (j, i) in enumerate(shifts):
        for y in range(height):
            for x in range(width):
                yy, xx = y - j * d, x - i * d
                if 0 <= yy < height and 0 <= xx < width:
                    for channel in range(channels):
                        out[number, y, x] += centred[channel, y, x] * centred[channel, yy, xx] / k**2
    return out


def test_the_psnr_loss_is_the_mean_of_the_pictures_psnr():
    hr = torch.rand(3, 3, 8, 8)
    sr = hr + torch.tensor([0.01, 0.05, 0.2])[:, None, None, None]
    psnr = torch.tensor([-20 * math.log10(off) for off in (0.01, 0.05, 0.2)])
    assert psnr_loss(sr, hr, epsilon=0.0).item() == pytest.approx(-psnr.mean().item() / 10, abs=1e-5)
    assert psnr_loss(hr, hr).item() == pytest.approx(-6.0, abs=1e-3)
    terms = Objective(LossWeights(rec=0.0, psnr=0.05), Critics(), 1e-4, CPU).terms(sr, hr, sr, sr)
    assert terms["psnr"].item() == pytest.approx(0.05 * psnr_loss(sr, hr).item())


@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 3)])
def test_eq_8_correlation_map(k, d):
    images = torch.rand(2, 3, 7, 9)
    ours = correlation_map(images, k, d)
    assert ours.shape == (2, k * k, 7, 9)
    for number in range(2):
        expected = literal_correlation(images[number].double().numpy(), k, d)
        assert np.allclose(ours[number].numpy(), expected, atol=1e-6)


def test_eq_8_dilation_widens_the_window_to_kd_minus_d_plus_1():
    """A single bright pixel correlates with those it reaches, and with no others."""
    image = torch.zeros(1, 1, 31, 31)
    image[..., 15, 15] = 1
    k, d = 3, 4
    other = image.clone()
    touched = []
    for x in range(31):
        changed = other.clone()
        changed[..., 15, x] += 1e-1
        difference = (correlation_map(changed, k, d) - correlation_map(image, k, d))[0, :, 15, 15]
        touched += [x] if x != 15 and difference.abs().max() > 1e-2 else []
    assert touched == [11, 19]
    assert touched[1] - touched[0] + 1 == k * d - d + 1


@pytest.mark.parametrize(("k", "d"), [(3, 1), (5, 2)])
def test_eq_9_correlation_loss(k, d):
    sr, hr = torch.rand(2, 3, 6, 6), torch.rand(2, 3, 6, 6)
    maps = [[literal_correlation(i.double().numpy(), k, d) for i in images] for images in (sr, hr)]
    expected = np.mean([np.abs(a - b).mean() for a, b in zip(*maps, strict=True)])
    assert float(correlation_loss(sr, hr, k, d)) == pytest.approx(expected, rel=1e-4)
    assert float(correlation_loss(sr, sr, k, d)) == 0
    assert float(correlation_loss(sr + 0.1, sr, k, d)) == pytest.approx(0, abs=1e-6)  # means do not count


def test_section_3_4_charbonnier():
    sr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    total = sum(math.sqrt((float(a) - float(b)) ** 2 + 1e-6) for a, b in zip(sr.flatten(), hr.flatten(), strict=True))
    assert float(charbonnier(sr, hr)) == pytest.approx(total / sr.numel(), rel=1e-5)
    assert float(charbonnier(sr, sr)) == pytest.approx(1e-3, rel=1e-4)


def test_eq_10_is_the_weighted_sum_of_the_terms():
    objective = Objective(LossWeights(rec=2.0, cor=0.5, window=5), Critics(), 1e-4, CPU)
    sr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    terms = objective.terms(sr, hr, torch.rand(1, 3, 4, 4), torch.rand(1, 1, 1, 16, 16))
    assert set(terms) == {"rec", "cor"}
    assert float(terms["rec"]) == pytest.approx(2.0 * float(charbonnier(sr, hr)))
    assert float(terms["cor"]) == pytest.approx(0.5 * float(correlation_loss(sr, hr, 5, 1)))


def test_eq_11_perceptual_loss():
    sr, hr = ([torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)] for _ in range(2))
    layers = []
    for a, b in zip(sr, hr, strict=True):
        pairs = list(zip(a.flatten(), b.flatten(), strict=True))
        layers.append(sum(abs(float(x) - float(y)) for x, y in pairs) / len(pairs))
    assert float(perceptual_loss(sr, hr)) == pytest.approx(sum(layers) / 2, rel=1e-5)


def test_eq_11_features_are_those_before_the_relu():
    """The first block of a VGG-19, narrow: what is compared has negative values."""
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    vgg = VggFeatures(nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True)), 19, blocks=1)
    image = torch.rand(1, 3, 8, 8)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = second(torch.relu(first((image - mean) / deviation)))
    (found,) = vgg(image)
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.min() < 0


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def relativistic(of: list[float], against: list[float]) -> list[float]:
    """Eq. 13: D_Ra = sigma(C(I) - E[C(I')]) for each image I."""
    return [sigmoid(x - sum(against) / len(against)) for x in of]


def mean_log(values: list[float]) -> float:
    return sum(math.log(v) for v in values) / len(values)


def test_eqs_12_and_13_generator():
    real, fake = torch.randn(5), torch.randn(4)
    d_real, d_fake = relativistic(real.tolist(), fake.tolist()), relativistic(fake.tolist(), real.tolist())
    expected = -mean_log([1 - d for d in d_real]) - mean_log(d_fake)
    assert float(relativistic_generator_loss(real, fake)) == pytest.approx(expected, rel=1e-5)


def test_eqs_13_and_14_discriminator():
    real, fake = torch.randn(5), torch.randn(4)
    d_real, d_fake = relativistic(real.tolist(), fake.tolist()), relativistic(fake.tolist(), real.tolist())
    expected = -mean_log(d_real) - mean_log([1 - d for d in d_fake])
    assert float(relativistic_discriminator_loss(real, fake)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [relativistic_generator_loss, relativistic_discriminator_loss])
def test_adversarial_losses_stay_finite_where_the_sigmoid_is_full(loss):
    real = torch.tensor([200.0, 100.0], requires_grad=True)
    value = loss(real, torch.tensor([-200.0, 0.0]))
    value.backward()
    assert value.isfinite()
    assert real.grad.isfinite().all()


def test_the_discriminator_learns_to_tell_and_the_generator_loss_says_so():
    critic = Discriminator(width=8)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    real, fake = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32) * 0.2
    first = relativistic_discriminator_loss(critic(real), critic(fake)).item()
    for _ in range(20):
        loss = relativistic_discriminator_loss(critic(real), critic(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert relativistic_discriminator_loss(critic(real), critic(fake)).item() < 0.5 * first
        assert relativistic_generator_loss(critic(real), critic(fake)).item() > first


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window": 4}, "must be odd"),
        ({"dilation": 0}, "at least 1"),
        ({"rec": -1.0}, "negative"),
        ({"rec": 0.0}, "all zero"),
    ],
)
def test_weights_that_cannot_be_are_said(wrong, says):
    with pytest.raises(ValueError, match=says):
        LossWeights(**wrong)
