import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from hime_core.errors import InputError
from hime_core.evaluation.bench import bench, stages
from hime_core.evaluation.command import evaluate, write
from hime_core.evaluation.evaluate import Evaluation
from hime_core.evaluation.lists import draw_list, read_list
from hime_core.evaluation.metrics import psnr, ssim
from hime_core.model.checkpoint import save_checkpoint
from hime_core.model.count import multiply_accumulates
from hime_core.model.hime import Hime, HimeConfig
from hime_core.training.degradations import turn


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    headshot = np.ascontiguousarray(data.astronaut()[12:212, 121:321])
    for name, count in (("ann", 4), ("ben", 2), ("cat", 1)):
        (root / name).mkdir()
        for i in range(count):
            image = Image.fromarray(turn(headshot, np.random.default_rng(i), 0.5))
            image.resize((256, 256)).save(root / name / f"{i:03}.jpg", quality=95)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "plain.safetensors"
    torch.manual_seed(0)
    model = Hime(HimeConfig(width=8, groups=2, lr_blocks=1, hr_blocks=1, reconstruction_blocks=1))
    torch.nn.init.zeros_(model.reconstructor.out.weight)
    torch.nn.init.zeros_(model.reconstructor.out.bias)
    save_checkpoint(model, path)
    return str(path)


def test_metrics():
    a = np.full((32, 32, 3), 100, np.uint8)
    b = a + 10
    assert psnr(a, b) == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert ssim(a, a) == pytest.approx(1.0)


def test_lists_are_drawn_from_a_fixed_seed_and_skips_are_counted(photos):
    items, skipped = draw_list(photos, 1)
    assert (len(items), skipped) == (6, 1)
    assert items == draw_list(photos, 1)[0]
    assert all(i.references[0].split("/")[0] == i.target.split("/")[0] != i.references[0] for i in items)
    with pytest.raises(InputError, match="no identity has more than 5 photos"):
        draw_list(photos, 5)


def test_a_list_from_a_file(photos, tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([
        {"target": "ann/000.jpg", "references": ["ann/001.jpg", "ann/002.jpg"]},
        {"target": "ben/000.jpg", "references": []},
    ]))  # fmt: skip
    items, skipped = read_list(path, photos, 1)
    assert (len(items), skipped, items[0].references) == (1, 1, ("ann/001.jpg",))
    with pytest.raises(InputError, match="no entry has 3 references"):
        read_list(path, photos, 3)
    path.write_text('[{"target": "ann/900.jpg", "references": []}]')
    with pytest.raises(InputError, match=r"ann/900\.jpg"):
        read_list(path, photos, 0)
    path.write_text("{")
    with pytest.raises(InputError, match="no evaluation list"):
        read_list(path, photos, 0)


@pytest.mark.parametrize("refs", ["0", "2", "blank"])
def test_a_network_that_adds_nothing_is_bicubic(photos, weights, refs):
    """Torch's bicubic has another kernel than Pillow's, so the two are near, not the same."""
    result = evaluate(photos, 4, 32, refs, weights, None)
    expected = {"images": 4 if refs == "2" else 7, "scale": 4, "lr": 32, "refs": refs if refs == "blank" else int(refs)}
    assert {k: result[k] for k in expected} == expected
    assert result["gain_db"] == pytest.approx(0, abs=0.5)
    assert result["gain_db"] == pytest.approx(result["model"]["psnr"] - result["bicubic"]["psnr"])
    assert set(result["model"]) == {"psnr", "ssim", "lpips"}
    assert result["params"] > 0
    assert result["gmacs"] > 0


def test_pictures_are_made_as_the_design_says(photos, weights):
    from hime_core.model.checkpoint import load_weights

    evaluation = Evaluation(load_weights(weights), photos, 32, 0)
    item = draw_list(photos, 0)[0][0]
    hr, plain, sr = evaluation.pictures(item)
    photo = Image.open(photos / item.target)
    assert np.array_equal(hr, np.asarray(photo.resize((128, 128), Image.Resampling.BOX)))
    small = Image.fromarray(hr).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(plain, np.asarray(small.resize((128, 128), Image.Resampling.BICUBIC)))
    assert sr.shape == (128, 128, 3)


def test_multiply_accumulates_are_those_of_the_design():
    assert multiply_accumulates(Hime(HimeConfig(steps=4)), 32, 3) == pytest.approx(1.875, rel=0.01)


def test_bench_measures_every_setting(weights):
    rows = list(bench(weights, "cpu", rounds=1, sides=(16,)))
    assert [(r["lr"], r["refs"], r["batch"]) for r in rows] == [(16, 1, 1), (16, 1, 4), (16, 3, 1), (16, 3, 4)]
    assert all(set(r["ms_per_face"]) == {"torch", "onnx"} and min(r["ms_per_face"].values()) > 0 for r in rows)
    assert all(r["over_torch"]["torch"] == 1 for r in rows)
    assert set(stages((16,), 1)) == {"register_lr16"}


def test_wrong_arguments_are_said(photos, weights, tmp_path):
    with pytest.raises(InputError, match="--scale"):
        evaluate(photos, 8, 16, "0", weights, None)
    with pytest.raises(InputError, match="--refs"):
        evaluate(photos, 4, 32, "7", weights, None)
    with pytest.raises(InputError, match="--lr"):
        evaluate(photos, 4, 3, "0", weights, None)
    write({"a": 1}, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == {"a": 1}
