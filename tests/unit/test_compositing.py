from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from skimage import data

from hime_core.compositing.detail import FEATHER, Carrier, Detail, Patch, difference, mask, patch
from hime_core.compositing.layout import WIDTHS, Zoom, enlargement, upscaled, width_class
from hime_core.compositing.render import Renderer
from hime_core.faces.geometry import FaceSquare, Headshot, crop, resized
from hime_core.video.picture import Picture


@dataclass(frozen=True)
class Frame:
    picture: Picture
    patches: tuple[Patch, ...] = ()
    faces: tuple[Headshot, ...] = field(default=())


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return data.astronaut()


def far_frame(astronaut: np.ndarray) -> tuple[np.ndarray, FaceSquare, np.ndarray]:
    """A 320x180 frame with a 32 px face in it, the face's square, and the sharp face, 128 px."""
    sharp = cv2.resize(astronaut[0:225, 105:330], (128, 128), interpolation=cv2.INTER_AREA)
    frame = np.full((180, 320, 3), 120, np.uint8)
    square = FaceSquare(101, 57, 32)
    frame[57:89, 101:133] = cv2.resize(sharp, (32, 32), interpolation=cv2.INTER_AREA)
    return frame, square, sharp


@pytest.mark.parametrize(
    ("size", "factor", "output"),
    [
        ((320, 180), 4.0, (1280, 720)),
        ((640, 360), 2.0, (1280, 720)),
        ((400, 300), 2.4, (960, 720)),
        ((1280, 720), 1.0, (1280, 720)),
        ((1920, 1080), 1.0, (1920, 1080)),
        ((160, 120), 4.0, (640, 480)),
        ((180, 320), 4.0, (720, 1280)),
    ],
)
def test_upscale_enlarges_as_the_design_says(size, factor, output):
    assert enlargement(*size) == pytest.approx(factor)
    placement = upscaled(*size)
    assert (placement.width, placement.height) == output


@pytest.mark.parametrize(
    ("size", "shown", "output"),
    [
        ((640, 360), 640, (640, 360)),
        ((640, 360), 960, (960, 540)),
        ((640, 360), 1920, (1920, 1080)),
        ((360, 640), 1920, (1080, 1920)),
        ((320, 180), 1920, (1280, 720)),  # four times is the most
        ((1280, 720), 1920, (1920, 1080)),
        ((1280, 720), 640, (1280, 720)),  # never smaller
        ((640, 480), 1280, (960, 720)),
        ((426, 240), 1600, (1598, 900)),
    ],
)
@pytest.mark.parametrize("layout", ["upscale", "zoom"])
def test_a_view_is_as_large_as_it_is_shown(size, shown, output, layout):
    frame = Frame(Picture.blank(*size), faces=(Headshot(100, 100, 32),))
    for view in ("original", "enhanced"):
        shown_as = Renderer(view, layout, shown).render(frame)
        assert (shown_as.width, shown_as.height) == output
    native = Renderer("original", "native", shown).render(frame)
    assert (native.width, native.height) == size


def test_widths_are_few_so_that_watchers_share_encodings():
    assert [width_class("enhanced", "upscale", shown) for shown in (1, 640, 641, 961, 1281, 1601, 10**9)] == [
        640, 640, 960, 1280, 1600, 1920, 1920,
    ]  # fmt: skip
    assert {width_class("original", "zoom", shown) for shown in range(1, 4000)} == set(WIDTHS)
    assert width_class("compare", "upscale", 1920) == 1280  # 2560 with both halves
    assert width_class("enhanced", "upscale", None) == 1280
    assert width_class("enhanced", "zoom", None) is None
    assert width_class("enhanced", "native", 1920) is None


@pytest.mark.parametrize("layout", ["upscale", "zoom", "native"])
def test_sizes_of_views(astronaut, layout):
    frame = Frame(Picture.from_rgb(far_frame(astronaut)[0]))
    expected = (1280, 720) if layout == "upscale" else (320, 180)
    original = Renderer("original", layout).render(frame)
    compare = Renderer("compare", layout).render(frame)
    assert (original.width, original.height) == expected
    assert (compare.width, compare.height) == (2 * expected[0], expected[1])


def test_the_first_frame_of_a_rendered_picture_is_its_own_memory_and_others_are_copies(astronaut):
    picture = Renderer("original", "upscale").render(Frame(Picture.from_rgb(far_frame(astronaut)[0])))
    first, second = picture.to_frame(), picture.to_frame()
    assert np.shares_memory(picture.y, np.frombuffer(first.planes[0], np.uint8))
    assert not np.shares_memory(picture.y, np.frombuffer(second.planes[0], np.uint8))
    assert np.array_equal(first.to_ndarray(), second.to_ndarray())


def test_difference_has_no_light_or_colour_of_its_own(astronaut):
    _, _, sharp = far_frame(astronaut)
    lr = cv2.resize(sharp, (32, 32), interpolation=cv2.INTER_AREA)
    brighter = cv2.convertScaleAbs(sharp, alpha=1.0, beta=25)
    assert abs(difference(brighter, resized(lr, 128)).mean()) < 0.5


def test_the_network_picture_is_what_is_shown(astronaut):
    """At x4 the middle of the face is the network's output, pixel for pixel within rounding and chroma subsampling."""
    rgb, square, sharp = far_frame(astronaut)
    lr = crop(rgb, square.x, square.y, square.side)
    frame = Frame(Picture.from_rgb(rgb), (patch(square, difference(sharp, resized(lr, 128)), 1.0),))
    shown = Renderer("enhanced", "upscale").render(frame).rgb()[4 * 57 : 4 * 89, 4 * 101 : 4 * 133]
    plain = Renderer("original", "upscale").render(frame).rgb()[4 * 57 : 4 * 89, 4 * 101 : 4 * 133]

    def error(image):
        middle = np.s_[28:100, 28:100]
        return float(np.abs(image[middle].astype(int) - sharp[middle]).mean())

    assert error(shown) < 0.35 * error(plain)
    assert error(shown) < 4


@pytest.mark.parametrize("layout", ["upscale", "native", "zoom"])
@pytest.mark.parametrize("size", [(320, 180), (400, 300)])
def test_no_seam(astronaut, layout, size):
    """Around the face the views are the same, and just inside the border they nearly are."""
    rgb, square, _ = far_frame(astronaut)
    rgb = np.pad(rgb, ((0, size[1] - 180), (0, size[0] - 320), (0, 0)), mode="edge")
    wild = patch(square, np.full((128, 128, 3), 40.0, np.float32), 1.0)
    frame = Frame(Picture.from_rgb(rgb), (wild,), (Headshot(117, 73, 32),))
    one, other = Renderer("original", layout), Renderer("enhanced", layout)
    change = other.render(frame).y.astype(int) - one.render(frame).y
    rows, columns = np.nonzero(change)
    scale = one.render(frame).width / size[0] if layout == "upscale" else 1
    if layout != "zoom":
        assert rows.min() >= scale * 57 - 1
        assert rows.max() <= scale * 89
        assert columns.min() >= scale * 101 - 1
        assert columns.max() <= scale * 133
    steps = np.abs(np.diff(change, axis=1)).max(), np.abs(np.diff(change, axis=0)).max()
    assert max(steps) <= 40 / (FEATHER * 32 * scale) * 1.5 + 2


def test_mask_is_nothing_at_the_border():
    edge = mask(128)[0]
    assert edge.max() < 0.01
    assert mask(128)[64, 64, 0] == 1


def test_compare_shows_one_moment(astronaut):
    rgb, square, sharp = far_frame(astronaut)
    lr = crop(rgb, square.x, square.y, square.side)
    frame = Frame(Picture.from_rgb(rgb), (patch(square, difference(sharp, resized(lr, 128)), 1.0),))
    both = Renderer("compare", "upscale").render(frame)
    assert np.array_equal(both.y[:, :1280], Renderer("original", "upscale").render(frame).y)
    assert np.array_equal(both.v[:, 640:], Renderer("enhanced", "upscale").render(frame).v)


def test_a_face_half_outside_is_no_error(astronaut):
    rgb, _, sharp = far_frame(astronaut)
    square = FaceSquare(-10, 165, 32)
    lr = crop(rgb, square.x, square.y, square.side)
    frame = Frame(Picture.from_rgb(rgb), (patch(square, difference(sharp, resized(lr, 128)), 1.0),))
    for layout in ("upscale", "native", "zoom"):
        Renderer("enhanced", layout).render(frame)


def test_zoom_fills_the_frame_with_the_face_and_rests():
    zoom = Zoom()
    face = (Headshot(80, 60, 36),)
    for _ in range(100):
        placement = zoom.place(320, 180, face)
    assert placement.scale == pytest.approx(180 / (1.5 * 36), rel=0.05)
    assert placement.left < 80 < placement.left + 320 / placement.scale
    rest = placement
    for step in range(20):  # a face that trembles moves nothing
        placement = zoom.place(320, 180, (Headshot(80 + step % 2, 60, 36 + step % 2),))
        assert placement == rest


def test_zoom_shows_no_less_than_a_quarter_and_stays_inside():
    zoom = Zoom()
    for _ in range(200):
        placement = zoom.place(640, 360, (Headshot(3, 3, 10),))
    assert placement.scale == pytest.approx(4, rel=0.05)
    assert placement.left >= 0
    assert placement.top >= 0


def test_a_wide_zoom_shows_the_same_part_of_the_frame_larger(astronaut):
    """And what the network adds is where it belongs, beyond its own resolution too."""
    rgb, square, sharp = far_frame(astronaut)
    patches = (
        patch(square, difference(sharp, resized(crop(rgb, square.x, square.y, square.side), sharp.shape[0])), 1.0),
    )
    frame = Frame(Picture.from_rgb(rgb), patches, (Headshot(117, 73, 60),))
    shown, usual = {view: Renderer(view, "zoom", 1280) for view in ("original", "enhanced")}, Zoom()
    for _ in range(100):
        rendered = {view: renderer.render(frame) for view, renderer in shown.items()}
        placed = usual.place(320, 180, frame.faces)
    assert rendered["enhanced"].width == 1280 and placed.scale == pytest.approx(2, rel=0.05)
    scale = 4 * placed.scale
    left, top = (round((at - start) * scale) for at, start in ((101, placed.left), (57, placed.top)))
    side = round(32 * scale)
    truth = cv2.resize(sharp, (side, side), interpolation=cv2.INTER_CUBIC)
    middle = np.s_[side // 4 : -side // 4, side // 4 : -side // 4]

    def error(picture):
        found = picture.rgb()[top : top + side, left : left + side]
        return float(np.abs(found[middle].astype(int) - truth[middle]).mean())

    assert error(rendered["enhanced"]) < 0.55 * error(rendered["original"])


def test_detail_is_carried_where_the_face_goes(astronaut):
    """The face moves by 3.25 pixels and turns a little; carried detail fits it better than none and than a copy."""
    _, square, sharp = far_frame(astronaut)
    points = np.array([[110, 70], [124, 70], [117, 76], [112, 82], [122, 82]], np.float32)
    centre = (63.5, 63.5)

    def small(image):
        return cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)

    turn = cv2.getRotationMatrix2D(centre, 5, 1.0)
    turn[:, 2] += (13, 0)
    later = cv2.warpAffine(sharp, turn, (128, 128), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    canvas = (points - (square.x, square.y) + 0.5) * 4 - 0.5
    moved = ((canvas @ turn[:, :2].T + turn[:, 2]) + 0.5) / 4 - 0.5 + (square.x, square.y)

    def luma(image):
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

    added = difference(sharp, resized(small(sharp), 128))
    detail = Detail(added, luma(small(sharp)), points, square, 0.0)
    carried, trust = Carrier().carry(detail, luma(small(later)), moved.astype(np.float32), square)
    wanted = difference(later, resized(small(later), 128))
    middle = np.s_[32:96, 40:104, 0]

    def misfit(found):
        return float(np.square(found[middle] - wanted[middle]).mean())

    assert misfit(carried * trust) < 0.5 * misfit(np.zeros_like(added))
    assert misfit(carried * trust) < 0.4 * misfit(added)


def test_detail_of_another_picture_is_not_trusted(astronaut):
    _, square, sharp = far_frame(astronaut)
    small = cv2.cvtColor(cv2.resize(sharp, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    points = np.array([[110, 70], [124, 70], [117, 76], [112, 82], [122, 82]], np.float32)
    detail = Detail(np.ones((128, 128, 3), np.float32), small, points, square, 0.0)
    _, trust = Carrier().carry(detail, np.flipud(255 - small).copy(), points, square)
    assert trust.mean() < 0.3
