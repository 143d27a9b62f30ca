from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from hime_core.data import clips
from hime_core.data.celebamask import IDENTITIES, IMAGES, MAPPING
from hime_core.data.degradations import degrade_lr, degrade_reference, jpeg, relight, turn, turn_with
from hime_core.data.headshots import CLIP_SIDE, Person, Shot, count, encode, mirrored, read_identities
from hime_core.data.packed import archive_of, read_pack, read_people, write_archive
from hime_core.data.packing import MIB, pack
from hime_core.errors import InputError
from hime_core.training.dataset import PairDataset, PairOptions

MARKS = np.float32([[0.38, 0.45], [0.6, 0.44], [0.5, 0.57], [0.41, 0.68], [0.59, 0.67]])
KINDS = {"self_share": 0.0, "other_share": 0.0, "wrong_share": 0.0, "blank_share": 0.0}
ONE = (0.0, 1.0, 0.0, 0.0)


def headshot() -> np.ndarray:
    return cv2.resize(data.astronaut()[12:212, 121:321], (256, 256), interpolation=cv2.INTER_CUBIC)


def picture(seed: int, side: int = 256) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two identities of three photos: the astronaut turned, and mirrored ones."""
    root = tmp_path_factory.mktemp("photos")
    for name, face in (("ann", headshot()), ("ben", headshot()[:, ::-1])):
        (root / name).mkdir()
        for i in range(3):
            image = turn(np.ascontiguousarray(face), np.random.default_rng(i))
            Image.fromarray(image).save(root / name / f"{i:03}.jpg", quality=95)
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A second and a half of a face that moves sideways, a face too far away, and a file that is no video."""
    root = tmp_path_factory.mktemp("clips")
    for name, side in (("close", 320), ("far", 96)):
        with av.open(str(root / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"crf": "12", "preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            for i in range(45):
                frame = data.astronaut()[: 2 * 160, 80 + i // 2 : 80 + i // 2 + 320]
                frame = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    (root / "odd.mkv").write_bytes(b"no video")
    return root


def dataset(source, **options) -> PairDataset:
    return PairDataset(source, PairOptions(batch=2, **options), seed=1, length=1000)


def detail(x: torch.Tensor) -> torch.Tensor:
    return (x - torch.nn.functional.avg_pool2d(x[None], 5, 1, 2)[0]).flatten()


def agreement(pairs: PairDataset, samples: int = 16) -> float:
    """How much of the target's detail the first reference shows in its place, -1..1."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    values = []
    for i in range(samples):
        sample = {name: value / 255 for name, value in pairs[i].items()}
        a, b = detail((sample["hr"] * weights).sum(0, keepdim=True)), detail(sample["references"][0])
        values.append(float(a @ b / (a.norm() * b.norm() + 1e-9)))
    return float(np.mean(values))


@pytest.mark.parametrize(("recipe", "scale", "window"), [("rec", 4, 24), ("call", 4, 24), ("rec", 8, 16)])
def test_pairs_have_their_shapes_and_share_a_number_of_references(photos, recipe, scale, window):
    options = PairOptions.for_recipe(recipe, scale)
    pairs = PairDataset(photos, options, seed=1, length=1000)
    counts = set()
    for i in range(0, 12 * options.batch, options.batch):
        one, two = pairs[i], pairs[i + options.batch - 1]
        assert one["lr"].shape == (3, window, window)
        assert one["hr"].shape == (3, scale * window, scale * window)
        assert one["references"].shape == two["references"].shape
        assert one["references"].shape[1:] == (1, scale * window, scale * window)
        counts.add(one["references"].shape[0])
    assert counts <= {0, 1, 2, 3}
    assert len(counts) > 1


def test_call_pairs_take_the_largest_lr_sides_where_a_shot_has_the_pixels():
    def sides(native: int) -> set[int]:
        moments = tuple(Shot(encode(picture(i, native)), MARKS, 15 * i, native) for i in range(4))
        options = replace(PairOptions.for_recipe("call", 4).whole(), batch=1)
        pairs = PairDataset([Person("clip", moments, clip=True)], options, seed=1, length=100)
        found = [pairs[i] for i in range(24)]
        assert all(s["hr"].shape[-1] == 4 * s["lr"].shape[-1] == s["references"].shape[-1] for s in found)
        return {s["lr"].shape[-1] for s in found}

    assert sides(CLIP_SIDE) == {32, 48, 64, 80, 96}
    assert sides(256) == {32, 48, 64}


@pytest.mark.parametrize("recipe", ["rec", "call"])
def test_a_sample_is_the_same_whenever_it_is_drawn(photos, recipe):
    options = PairOptions.for_recipe(recipe, 4)
    one, other = (PairDataset(photos, options, seed=1, length=1000) for _ in range(2))
    for i in (37, 5):
        first, again = one[i], other[i]
        assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(one[37]["lr"], one[39]["lr"])


def test_the_lr_picture_is_the_hr_one_made_small(photos):
    pairs = dataset(photos, lr_sides=((64, 1.0),))
    for i in range(4):
        sample = {name: value / 255 for name, value in pairs[i].items()}
        small = torch.nn.functional.interpolate(sample["hr"][None], scale_factor=0.25, mode="area")[0]
        assert (small - sample["lr"]).abs().mean() < 0.03


def test_near_references_are_aligned_and_other_kinds_are_what_they_say(photos):
    """The target a moment later, registered, shows the target's own detail."""
    near = agreement(dataset(photos, counts=ONE, **(KINDS | {"self_share": 1.0})))
    assert near > 0.4
    assert near > 0.1 + agreement(dataset(photos, counts=ONE, registered=False, **(KINDS | {"self_share": 1.0})))
    assert near > agreement(dataset(photos, counts=ONE, **(KINDS | {"wrong_share": 1.0})))
    assert not dataset(photos, counts=ONE, **(KINDS | {"blank_share": 1.0}))[0]["references"].any()


def test_landmarks_bring_far_references_over_the_face():
    """A shift far beyond what flow reaches."""
    face = headshot()
    moved = cv2.warpAffine(face, np.float32([[1, 0, 60], [0, 1, 30]]), (256, 256), borderMode=cv2.BORDER_REPLICATE)
    shift = np.float32([60, 30]) / 256
    options = {"counts": ONE, "landmark_error": 0.0, "lr_sides": ((24, 1.0),), **(KINDS | {"other_share": 1.0})}

    def people(landmarks: bool) -> list[Person]:
        marks = (MARKS, MARKS + shift) if landmarks else (None, None)
        return [Person("ann", (Shot(encode(face), marks[0]), Shot(encode(moved), marks[1])))]

    assert agreement(dataset(people(True), **options)) > 0.25 + agreement(dataset(people(False), **options))


def test_turned_landmarks_stay_on_the_picture():
    marks = np.zeros((256, 256), np.uint8)
    spots = (np.float32([[70, 80], [180, 90], [128, 140]]) / 256).astype(np.float32)
    for x, y in (spots * 256).astype(int):
        cv2.circle(marks, (int(x), int(y)), 4, 255, -1)
    for seed in range(5):
        turned, moved = turn_with(marks, spots, np.random.default_rng(seed))
        for x, y in moved * 256:  # within what the random field adds
            assert turned[max(0, round(y) - 9) : round(y) + 10, max(0, round(x) - 9) : round(x) + 10].max() > 128
    assert np.allclose(mirrored(mirrored(MARKS)), MARKS, atol=1e-6)
    assert mirrored(MARKS)[0, 0] < mirrored(MARKS)[1, 0]


def test_flips_are_even_uneven_or_none():
    """One person of two pictures: a ramp, dark at the left."""
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 256, 0).repeat(3, 2)
    people = [Person("ann", (Shot(encode(ramp)), Shot(encode(ramp))))]

    def directions(flips: str) -> set[tuple[bool, bool]]:
        pairs = dataset(
            people, counts=ONE, flips=flips, registered=False, varied=0, lr_sides=((24, 1.0),),
            **(KINDS | {"other_share": 1.0}),
        )  # fmt: skip
        samples = [pairs[i] for i in range(24)]
        return {
            tuple(bool(s[k][..., -1].float().mean() > s[k][..., 0].float().mean()) for k in ("hr", "references"))
            for s in samples
        }

    assert directions("none") == {(True, True)}
    assert directions("even") == {(True, True), (False, False)}
    assert directions("uneven") == {(True, True), (False, False), (True, False), (False, True)}
    with pytest.raises(InputError, match="flips 'odd'"):
        PairOptions(flips="odd")


def test_targets_prefer_people_with_several_photos_and_clips_get_their_share():
    shots = tuple(Shot(encode(picture(i))) for i in range(4))
    moments = tuple(Shot(encode(picture(i)), frame=3 * i) for i in range(10))
    people = [Person("one", shots[:1]), Person("four", shots), Person("clip", moments, clip=True)]
    weights = dataset(people, clip_share=0.3)._weights()
    assert weights.sum() == pytest.approx(1)
    assert weights[5:].sum() == pytest.approx(0.3)
    assert weights[0] == pytest.approx(0.15 * weights[1])
    assert not PairDataset(people, PairOptions.paper(4), 1, 10)._weights()[0]


def test_references_of_a_clip_keep_their_distance():
    moments = tuple(Shot(encode(picture(i)), frame=5 * i) for i in range(40))
    pairs = dataset([Person("ann", (Shot(encode(picture(99))),)), Person("clip", moments, clip=True)])
    gaps = {abs(pairs.photos[int(i)].frame - pairs.photos[11].frame) for i in pairs._others(11)}
    assert min(gaps) == 15
    assert max(gaps) == 145
    assert pairs._moments(11) == [9, 10]
    assert pairs._moments(1) == []
    assert pairs._moments(0) == []


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


def test_clips_are_cut_once_into_close_headshots(videos, tmp_path, monkeypatch):
    told = {}
    people = clips.read_clips(videos, cache=tmp_path / "cache", advance=told.__setitem__)
    assert [person.name for person in people] == ["close"]
    assert told == {"close": len(people[0].shots), "far": 0, "odd": 0}
    frames = [shot.frame for shot in people[0].shots]
    assert frames == sorted(frames)
    assert len(frames) >= 15
    for shot in people[0].shots:
        assert shot.rgb().shape == (shot.side, shot.side, 3)
        assert 128 <= shot.side <= CLIP_SIDE
        eyes, mouth = shot.landmarks[:2].mean(0), shot.landmarks[3:].mean(0)
        assert 0.3 < eyes[0] < 0.7
        assert 0.3 < eyes[1] < mouth[1] < 0.8
    monkeypatch.setattr(clips, "cut_clip", None)  # a second time nothing is cut
    again = clips.read_clips(videos, cache=tmp_path / "cache")
    assert [s.data for s in again[0].shots] == [s.data for s in people[0].shots]
    assert clips.read_clips(videos, exclude=["close"], cache=tmp_path / "cache") == []
    with pytest.raises(InputError, match="clip absent"):
        clips.read_clips(videos, exclude=["absent"])


def test_a_training_set_is_packed_within_its_size(photos, videos, tmp_path):
    source, cache = tmp_path / "data", tmp_path / "cache"
    for folder in photos.iterdir():
        (source / folder.name).mkdir(parents=True)
        for path in folder.iterdir():
            (source / folder.name / path.name).write_bytes(path.read_bytes())
    (source / "ann" / "bad.jpg").write_bytes(b"no picture")
    Image.fromarray(picture(0, 700)).save(source / "ben" / "large.png")

    whole = pack(source, tmp_path / "whole.zip", 4, clips=videos, cache=cache)
    assert whole.quality is None
    assert whole.unreadable == ("ann/bad.jpg",)
    people = read_people(tmp_path / "whole.zip")
    assert [p.name for p in people] == ["ann", "ben", "close"]
    assert count(people) == whole.shots
    assert people[2].clip
    assert len(people[2].shots) <= 0.4 * whole.shots
    assert people[0].shots[0].data == (source / "ann" / "000.jpg").read_bytes()
    assert people[0].shots[0].landmarks is not None

    stages = []
    small = pack(source, tmp_path / "small.zip", 0.07, clips=videos, cache=cache, advance=lambda *a: stages.append(a))
    assert (tmp_path / "small.zip").stat().st_size == small.bytes <= 0.07 * MIB
    assert small.shots == whole.shots
    assert small.quality < 95
    assert stages[-1] == ("encode", 3, 3)
    pairs = PairDataset(tmp_path / "small.zip", PairOptions.for_recipe("call", 4), 1, 100, exclude=["close"])
    assert len(pairs.photos) == 7
    assert pairs[3]["hr"].shape == (3, 96, 96)
    assert np.allclose(read_pack(tmp_path / "small.zip")[0].shots[0].landmarks, people[0].shots[0].landmarks, atol=1e-3)


def test_what_does_not_fit_or_is_no_pack_is_refused(photos, tmp_path):
    with pytest.raises(InputError, match=r"do not fit into 0\.001 MiB"):
        pack(photos, tmp_path / "a.zip", 0.001)
    with pytest.raises(InputError, match="give a size above 0"):
        pack(photos, tmp_path / "a.zip", 0)
    with pytest.raises(InputError, match="folder that exists"):
        pack(photos, tmp_path / "absent" / "a.zip", 1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.zip").write_bytes(b"something")
    with pytest.raises(InputError, match="no training set"):
        read_people(tmp_path / "a.zip")
    people = [Person("ann", (Shot(b"abc"),))]
    write_archive(archive_of(people), tmp_path / "b.zip")
    (tmp_path / "b.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"b\.zip"):
        read_people(tmp_path / "b.zip")


def test_celebamask_is_split_by_identity(tmp_path):
    (tmp_path / IMAGES).mkdir()
    mapping, identities = ["idx orig_idx orig_file"], []
    for i in range(41):
        Image.fromarray(picture(i, 64)).save(tmp_path / IMAGES / f"{i}.jpg")
        mapping.append(f"{i} {1000 + i} {1000 + i:06}.jpg")
        identities.append(f"{1000 + i:06}.jpg {i // 4}")  # ten of four photos, one of one
    (tmp_path / MAPPING).write_text("\n".join(mapping))
    with pytest.raises(InputError, match=IDENTITIES):
        read_identities(tmp_path)
    (tmp_path / IDENTITIES).write_text("\n".join(identities))
    train, val = read_identities(tmp_path), read_identities(tmp_path, "val")
    assert len(train) == 9
    assert len(val) == 1
    assert not set(train) & set(val)
    assert "10" not in set(train) | set(val)
    assert [path.name for path in read_identities(tmp_path)["2" if "2" in train else "3"]] == (
        ["8.jpg", "9.jpg", "10.jpg", "11.jpg"] if "2" in train else ["12.jpg", "13.jpg", "14.jpg", "15.jpg"]
    )
    pairs = PairDataset(tmp_path, PairOptions.for_recipe("rec", 4), 1, 10)
    assert pairs[0]["hr"].shape == (3, 96, 96)
    assert read_people(tmp_path)[0].shots[0].rgb().shape == (256, 256, 3)


def test_varied_photos_are_never_twice_the_same_and_those_of_clips_stay():
    def seen(clip: bool, varied: float) -> set[bytes]:
        people = [Person("ann", (Shot(encode(data.astronaut()[:256, 96:352])),), clip)]
        pairs = dataset(people, counts=(1, 0, 0, 0), flips="none", zoom=0, varied=varied, window=None, lone=1)
        found = [pairs[i] for i in range(8)]
        for pair in found:
            hr = Image.fromarray(pair["hr"].permute(1, 2, 0).numpy())
            small = np.asarray(hr.resize(pair["lr"].shape[1:], Image.Resampling.BICUBIC))
            assert np.array_equal(small, pair["lr"].permute(1, 2, 0).numpy())
        return {pair["hr"].numpy().tobytes() for pair in found if pair["lr"].shape[-1] == 32}

    assert len(seen(False, 0)) == 1
    assert len(seen(True, 1)) == 1
    assert len(seen(False, 1)) > 3
