from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from hime_core.data.codec import CODECS, transmit
from hime_core.training.call import KERNELS, CallOptions, call_lr, call_reference, draw_native, softened
from hime_core.video.picture import Picture

FINE = CallOptions(frames=(4, 4), blur=0.0, noise=0.0, coarseness=(0.0, 0.0), clean=0.0, near_frames=(3, 8))


def headshot(side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(data.astronaut()[12:212, 121:321]).resize((side, side), Image.Resampling.BOX))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-3, np.square(a.astype(float) - b).mean())))


def test_chroma_lies_between_its_four_pixels():
    """A colour edge on an even column comes back where it was; a left or top siting would smear it to one side."""
    rgb = np.full((32, 32, 3), (200, 60, 60), np.uint8)
    rgb[:, 16:] = (60, 60, 200)
    assert psnr(Picture.from_rgb(rgb).rgb(), rgb) > 40
    ramp = np.zeros((32, 64, 3), np.uint8)
    ramp[..., 0] = np.linspace(40, 220, 64).round().astype(np.uint8)
    received = cv2.GaussianBlur(Picture.from_rgb(ramp).rgb(), (1, 5), 0).astype(float)
    error = received[4:-4, 4:-4] - ramp[4:-4, 4:-4]
    assert abs(error[..., 0].mean()) < 0.7  # half a pixel off would be 1.4


@pytest.mark.parametrize("codec", CODECS)
def test_frames_come_back_one_for_one_and_coarser_is_worse(codec):
    frames = [np.roll(headshot(64), i, axis=1) for i in range(4)]
    fine, coarse = transmit(frames, codec, 5), transmit(frames, codec, 45)
    assert len(fine) == len(coarse) == 4
    for sent, good, poor in zip(frames, fine, coarse, strict=True):
        assert psnr(good, Picture.from_rgb(sent).rgb()) > 38
        assert psnr(poor, sent) < psnr(good, sent) - 5


@pytest.mark.parametrize(("side", "scale"), [(32, 4), (16, 8), (33, 4)])
def test_at_fine_quality_a_calls_picture_lies_exactly_on_the_plain_one(side, scale):
    hr = headshot(side * scale)
    for seed in range(6):
        lr = call_lr([hr], side, np.random.default_rng(seed), FINE)
        assert lr.shape == (side, side, 3)
        plain = [np.asarray(Image.fromarray(hr).resize((side, side), kernel)) for kernel in KERNELS]
        gray = cv2.cvtColor(lr, cv2.COLOR_RGB2GRAY)
        grays = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in plain]
        right = max(psnr(gray, p) for p in grays)
        assert right > 34
        inner = np.s_[1:-1, 1:-1]
        for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            assert right > 6 + max(psnr(gray[inner], np.roll(p, shift, (0, 1))[inner]) for p in grays)


@pytest.mark.parametrize(("side", "whole"), [(32, 128), (48, 192), (64, 250), (96, 384), (96, 96)])
def test_a_face_sent_with_more_pixels_lies_exactly_on_its_reduction(side, whole):
    hr = headshot(whole)
    plain = cv2.cvtColor(cv2.resize(hr, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    inner = np.s_[1:-1, 1:-1]
    for seed in range(4):
        native = draw_native(side, whole, np.random.default_rng(seed), replace(FINE, near=1.0))
        assert side <= native <= whole
        lr = call_lr([hr], side, np.random.default_rng(seed), FINE, native)
        assert lr.shape == (side, side, 3)
        gray = cv2.cvtColor(lr, cv2.COLOR_RGB2GRAY)
        right = psnr(gray[inner], plain[inner])
        assert right > 30
        for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            assert right > 4 + psnr(gray[inner], np.roll(plain, shift, (0, 1))[inner])


def test_reduction_takes_damage_away_that_a_far_face_keeps():
    """At one quantizer of VP8 the face sent with four times the pixels is the better one once reduced."""
    hr = headshot(256)
    plain = cv2.resize(hr, (64, 64), interpolation=cv2.INTER_AREA)
    far = transmit([plain], "vp8", 40)[-1]
    near = cv2.resize(transmit([hr], "vp8", 40)[-1], (64, 64), interpolation=cv2.INTER_AREA)
    assert psnr(near, plain) > 3 + psnr(far, plain)
    coarse = replace(FINE, coarseness=(1.0, 1.0))
    sent = [np.mean([psnr(call_lr([hr], 64, np.random.default_rng(seed), coarse, native), plain) for seed in range(6)])
            for native in (64, 128, 256)]  # fmt: skip
    assert sent[0] + 1 < sent[1] < sent[2] - 1


def test_a_steady_calls_exemplar_has_no_more_detail_than_was_sent():
    hr = headshot(256)
    soft = softened(hr, 80)
    assert psnr(soft, cv2.resize(cv2.resize(hr, (80, 80), interpolation=cv2.INTER_AREA), (256, 256))) > 30
    assert softened(hr, 256) is hr

    def detail(rgb: np.ndarray) -> float:
        return float(
            cv2.Laplacian(cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1.0), cv2.CV_32F).std()
        )

    steady = np.mean([detail(call_reference(hr, np.random.default_rng(seed), native=80)) for seed in range(6)])
    assert steady < 0.8 * np.mean([detail(call_reference(hr, np.random.default_rng(seed))) for seed in range(6)])


def test_a_calls_picture_is_the_same_for_a_seed_and_shows_the_last_moment():
    hr = headshot(128)
    moments = [np.ascontiguousarray(hr[:, ::-1]), hr]
    one, again = (call_lr(moments, 32, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, call_lr(moments, 32, np.random.default_rng(4)))
    plain = np.asarray(Image.fromarray(hr).resize((32, 32), Image.Resampling.BICUBIC))
    fine = call_lr(moments, 32, np.random.default_rng(3), FINE)
    assert psnr(fine, plain) > 10 + psnr(fine, plain[:, ::-1])


def test_bad_uplinks_are_among_those_drawn():
    """From almost untouched to what 60 kbit/s leaves."""
    hr = headshot(128)
    plain = np.asarray(Image.fromarray(hr).resize((32, 32), Image.Resampling.BICUBIC))
    quality = [psnr(call_lr([hr], 32, np.random.default_rng(seed)), plain) for seed in range(24)]
    assert min(quality) < 25
    assert max(quality) > 29


def test_references_are_lightly_compressed():
    hr = headshot(128)
    quality = []
    for seed in range(12):
        made = call_reference(hr, np.random.default_rng(seed))
        assert made.shape == hr.shape
        quality.append(psnr(made, hr))
    assert min(quality) > 24
    assert len({round(q, 2) for q in quality}) > 6
