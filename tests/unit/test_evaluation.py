import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from hime_core.data.degradations import turn
from hime_core.errors import InputError
from hime_core.evaluation.bench import bench, stages
from hime_core.evaluation.command import EvaluateOptions, evaluate
from hime_core.evaluation.evaluate import Evaluation
from hime_core.evaluation.headshot import face_square, inner_face
from hime_core.evaluation.lists import Item, draw_list, native_sides, of_another, read_list, spread
from hime_core.evaluation.metrics import Meter, psnr, ssim
from hime_core.evaluation.sheet import Sheet
from hime_core.evaluation.store import Store, write_json
from hime_core.faces.registration import luma
from hime_core.model.checkpoint import save_checkpoint
from hime_core.model.count import multiply_accumulates
from hime_core.model.hime import Hime, HimeConfig
from server.cli import main


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


def test_the_inner_face_lies_around_the_box_centre():
    headshot = np.zeros((169, 169), np.uint8)
    # A box of 100 pixels in the headshot's geometry: 1.69 box heights a side, centred 0.03 of them above the box.
    headshot[round(84.5 + 3) - 2 : round(84.5 + 3) + 3, 82:87] = 255
    x, y, side = face_square(169, 0.5)
    assert (x, y, side) == (42, 46, 84)
    rows, columns = np.nonzero(inner_face(headshot))
    assert abs(rows.mean() - 41.5) <= 1 and abs(columns.mean() - 41.5) <= 1


def test_the_inner_face_is_measured_by_itself():
    truth = np.full((64, 64, 3), 100, np.uint8)
    outside, inside = truth.copy(), truth.copy()
    outside[:8] += 20
    inside[30:36, 30:36] += 20
    figures = Meter().measure({"outside": outside, "inside": inside}, truth)
    assert figures["outside"]["psnr_inner"] > 90 > figures["inside"]["psnr_inner"]
    assert figures["inside"]["psnr_inner"] < figures["inside"]["psnr"]
    assert figures["inside"]["lpips"] is figures["inside"]["identity"] is None


def test_one_list_serves_every_number_of_references(photos):
    three, skipped = draw_list(photos, 3)
    assert (len(three), skipped) == (4, 2)
    for count in (0, 1, 2):
        items, skipped = draw_list(photos, count)
        assert skipped == 2 and items == [Item(i.target, i.references[:count]) for i in three]
    assert all(r.split("/")[0] == i.person and r != i.target for i in three for r in i.references)
    with pytest.raises(InputError, match="no identity has more than 5 photos"):
        draw_list(photos, 5)


def test_identities_with_few_photos_serve_where_there_are_no_others(photos, tmp_path):
    (tmp_path / "ben").symlink_to(photos / "ben")
    (tmp_path / "cat").symlink_to(photos / "cat")
    items, skipped = draw_list(tmp_path, 1)
    assert (len(items), skipped) == (2, 1)


def test_wrong_references_are_of_another_person():
    items = [Item(f"{person}/{n}.jpg", (f"{person}/9.jpg",)) for person in "abc" for n in range(3)]
    wrong = of_another(items)
    assert [i.target for i in wrong] == [i.target for i in items]
    assert all(r.split("/")[0] != i.person for i in wrong for r in i.references)
    assert wrong == of_another(items)
    with pytest.raises(InputError, match="at least two identities"):
        of_another(items[:3])


def test_a_limit_spreads_over_the_people():
    items = [Item(f"{person}/{n}.jpg", ()) for person in "abcd" for n in range(5)]
    assert [i.person for i in spread(items, 4)] == list("abcd")
    assert spread(items, 99) == spread(items, None) == items


def test_native_sides_come_from_a_manifest(tmp_path):
    (tmp_path / "val").mkdir()
    assert native_sides(tmp_path / "val") == {}
    (tmp_path / "manifest.csv").write_text("file,native_px\ntrain/a/0.jpg,90\nval/b/0.jpg,310\n")
    assert native_sides(tmp_path / "val") == {"b/0.jpg": 310}
    (tmp_path / "manifest.csv").write_text("name\nx\n")
    with pytest.raises(InputError, match="native_px"):
        native_sides(tmp_path / "val")


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
    result = evaluate(EvaluateOptions(photos, 4, 32, refs, weights))
    expected = {"images": 4, "scale": 4, "lr": 32, "refs": refs if refs == "blank" else int(refs)}
    assert {k: result[k] for k in expected} == expected
    assert result["gain_db"] == pytest.approx(0, abs=0.5)
    assert result["gain_db"] == pytest.approx(result["model"]["psnr"] - result["bicubic"]["psnr"])
    assert result["model"]["lpips"] is result["bicubic"]["lpips"] is None
    assert result["gain_inner_db"] == pytest.approx(result["model"]["psnr_inner"] - result["bicubic"]["psnr_inner"])
    assert result["params"] > 0
    assert result["gmacs"] > 0


def test_pictures_are_made_as_the_design_says(photos, weights):
    evaluation = Evaluation(Hime.from_pretrained(weights), photos, 32, 0)
    item = draw_list(photos, 0)[0][0]
    hr, pictures = evaluation.pictures(item)
    plain, sr = pictures["bicubic"], pictures["model"]
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
    assert all(
        set(r["ms_per_face"]) == {"torch", "torchvision", "ncnn"} and min(r["ms_per_face"].values()) > 0 for r in rows
    )
    assert all(r["over_torch"]["torch"] == 1 for r in rows)
    assert set(stages((16,), 1)) == {"register_lr16"}


def test_references_can_go_in_as_they_are(photos, weights):
    item = draw_list(photos, 1)[0][0]
    seen = []

    class Spy(Hime):
        def forward(self, lr, references=None, features=None):
            seen.append(references)
            return super().forward(lr, references, features)

    spy = Spy(Hime.from_pretrained(weights).config)
    for registered in (False, True):
        evaluation = Evaluation(spy, photos, 32, 1, registered=registered)
        evaluation.pictures(item)
    raw = luma(evaluation.photo(item.references[0]))
    assert np.array_equal((seen[0][0, 0, 0] * 255).round().byte().numpy(), raw)
    assert not torch.equal(seen[0], seen[1])


def test_a_contact_sheet_shows_every_column(tmp_path):
    sheet = Sheet(3, rows=2)
    for shade in (10, 20, 30):
        picture = np.full((64, 64, 3), shade, np.uint8)
        sheet.add(picture, {"bicubic": picture, "model": picture})
    sheet.save(tmp_path / "sheet.png")
    found = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert found.shape == (2 * 64 + 16, 3 * 64, 3) and found[-1, -1, 0] == 20
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_figures_are_kept_until_their_inputs_change(tmp_path):
    store, calls = Store(tmp_path / "runs"), []

    def measure():
        calls.append(1)
        return {"psnr": len(calls)}

    assert store.get("a", {"lr": (32,)}, measure) == store.get("a", {"lr": (32,)}, measure) == {"psnr": 1}
    assert store.get("a", {"lr": (16,)}, measure) == {"psnr": 2}
    assert [kept["figures"]["psnr"] for kept in store.used] == [1, 1, 2]
    assert set(store.read("a")) == {"inputs", "figures", "seconds", "machine"} and store.read("b") is None


def test_wrong_arguments_are_said(photos, weights, tmp_path):
    with pytest.raises(InputError, match="--scale"):
        evaluate(EvaluateOptions(photos, 8, 16, "0", weights))
    with pytest.raises(InputError, match="--refs"):
        evaluate(EvaluateOptions(photos, 4, 32, "7", weights))
    with pytest.raises(InputError, match="--lr"):
        evaluate(EvaluateOptions(photos, 4, 3, "0", weights))
    with pytest.raises(InputError, match="--sheet"):
        evaluate(EvaluateOptions(photos, 4, 32, "0", weights, sheet=tmp_path / "sheet.txt"))
    write_json(tmp_path / "out.json", {"a": 1})
    assert json.loads((tmp_path / "out.json").read_text()) == {"a": 1}


@pytest.fixture
def broken(photos, weights, tmp_path):
    """A folder with a corrupt photo, one without identities, a checkpoint and a list that do not fit."""
    (tmp_path / "data" / "dan").mkdir(parents=True)
    for photo in (photos / "ann").iterdir():
        (tmp_path / "data" / "dan" / photo.name).write_bytes(photo.read_bytes()[:900])
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.json").write_text('[{"target": "ann/000.jpg", "references": []}]')
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "{broken}/data"], "not a readable photo"),
        (["--data", "{broken}/empty"], "<identity>/<photo>"),
        (["--data", "{photos}", "--list", "{broken}/list.json", "--refs", "2"], "no entry has 2 references"),
        (["--data", "{photos}", "--scale", "8", "--lr", "16"], "a checkpoint for x4, not x8"),
        (["--data", "{photos}", "--weights", "{broken}/junk.safetensors"], "safetensors"),
        (["--data", "{photos}", "--lpips", "{broken}"], "alexnet_features.pth does not exist"),
        (["--data", "{photos}", "--peers", "{broken}"], "inception_resnet_v1_casia_fp16.pt does not exist"),
        (["--data", "{photos}", "--table", "9"], "--table 9"),
        (["--data", "{photos}", "--table", "5"], "--clips"),
        (["--data", "{photos}", "--table", "2", "--runs", "{broken}/runs"], "--train"),
        (["--data", "{photos}", "--report", "{broken}/out.txt"], ".md"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    photos, weights, broken, capsys, monkeypatch, arguments, says
):
    given = [a.format(broken=broken, photos=photos) for a in arguments]
    if "--weights" not in given and "--table" not in given:
        given += ["--weights", weights]
    before = sorted(broken.rglob("*"))
    out = broken / "out.json"
    monkeypatch.setattr(sys, "argv", ["hime", "evaluate", *given, "--json", str(out), "--limit", "1"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in said and said.count("\n") == 1
    assert sorted(broken.rglob("*")) == before
