"""Which tiles of a frame are searched, and when."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from hime_core.faces.geometry import Box
from hime_core.faces.tiles import HEAD_START, OVERLAP, SWEEP, Turns, tiles_of

SIZES = [(640, 360), (960, 540), (1280, 720), (1920, 1080), (1080, 1920), (1440, 1080)]


def room(size, seed=0):
    return np.random.default_rng(seed).integers(90, 160, (size[1], size[0], 3), np.uint8)


@pytest.mark.parametrize("size", [*SIZES, (3840, 2160)])
def test_every_face_of_an_octave_lies_whole_in_one_of_its_tiles(size):
    octaves: dict[int, list] = {}
    for tile in tiles_of(*size):
        octaves.setdefault(round(np.log2(tile.scale)), []).append(tile)
    assert min(octaves) == (0 if size[0] <= 1920 else 1)
    for tiles in octaves.values():
        face = OVERLAP * tiles[0].scale
        for axis in ("xwidth", "yheight"):
            spans = sorted({(getattr(t, axis[0]), getattr(t, axis[1:])) for t in tiles})
            assert spans[0][0] == 0 and sum(spans[-1]) == size[axis[0] == "y"]
            for (start, length), (following, _) in pairwise(spans):
                assert start + length - following >= face - 2


def test_what_the_small_copy_shows_needs_no_tiles():
    assert tiles_of(320, 180) == tiles_of(180, 320) == tiles_of(1, 1) == ()
    assert {tile.scale for tile in tiles_of(640, 360)} == {1}
    pixels = [sum(tile.pixels for tile in tiles_of(*size)) for size in ((1920, 1080), (3840, 2160), (8000, 6000))]
    assert max(pixels) < 1.1 * pixels[0]


@pytest.mark.parametrize("size", SIZES)
def test_a_still_frame_is_searched_in_equal_turns(size):
    turns, frame, tiles = Turns(), room(size), tiles_of(*size)
    dealt = [turns.next(frame) for _ in range(4 * SWEEP)]
    assert {tile for call in dealt[:SWEEP] for tile in call} == set(tiles)
    counts = [sum(tile in call for call in dealt) for tile in tiles]
    assert max(counts) - min(counts) <= 1
    share = max([sum(tile.pixels for tile in tiles) / SWEEP, *(tile.pixels for tile in tiles)])
    spent = np.cumsum([sum(tile.pixels for tile in call) for call in dealt])
    assert (spent <= share * np.arange(1, len(dealt) + 1)).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("moving", [0.2, 0.6, 0.95])
def test_no_tile_waits_for_long_whatever_moves(size, moving):
    random, turns, tiles = np.random.default_rng(2), Turns(), tiles_of(*size)
    frame, last = room(size), dict.fromkeys(tiles, 0)
    busy = [tile for tile in tiles if random.random() < moving]
    waits = []
    for call in range(1, 60):
        for tile in busy:
            middle = np.s_[tile.y + tile.height // 3 :, tile.x + tile.width // 3 :]
            frame[middle][:64, :64] = random.integers(0, 255)
        for tile in turns.next(frame):
            waits.append(call - last[tile])
            last[tile] = call
    assert max(waits + [60 - call for call in last.values()]) <= SWEEP + HEAD_START + 1


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_a_tile_that_has_changed_goes_first(size):
    turns, before = Turns(), room(size)
    waits = []
    for index in range(24):
        tile = [tile for tile in tiles_of(*size) if tile.scale == 1][index % 6]
        for _ in range(7 + index % 3):
            turns.next(before)
        after = before.copy()
        x, y = tile.x + tile.width // 2, tile.y + tile.height // 2
        after[y : y + 24, x : x + 24] //= 2
        waits.append([wait(copy.deepcopy(turns), tile, frame) for frame in (before, after)])
    still, changed = np.array(waits).T
    assert (changed <= still).all() and changed.max() <= SWEEP - HEAD_START + 1
    assert changed.mean() < 0.7 * still.mean()


def wait(turns, tile, frame):
    """Calls until a tile is searched."""
    return next(call for call in range(1, 20) if tile in turns.next(frame))


def test_noise_and_exposure_are_no_change():
    size, random = (1280, 720), np.random.default_rng(3)
    plain, lit = Turns(), Turns()
    frame = room(size)
    for step in range(20):
        noisy = np.clip(frame + random.normal(0, 6, frame.shape) + 3 * step, 0, 255).astype(np.uint8)
        assert lit.next(noisy) == plain.next(frame)


def test_a_tile_that_a_known_face_fills_is_left_out():
    turns, frame = Turns(), room((1280, 720))
    gone = next(tile for tile in tiles_of(1280, 720) if tile.scale == 1)
    face = Box(gone.x - 5, gone.y - 5, gone.width + 10, gone.height + 10)
    dealt = {tile for _ in range(12) for tile in turns.next(frame, [face])}
    assert dealt == set(tiles_of(1280, 720)) - {gone}


def test_known_faces_are_grayed_in_a_tile_and_the_frame_is_not():
    frame = np.full((720, 1280, 3), 10, np.uint8)
    for tile in tiles_of(1280, 720):
        box = Box(tile.x + 40, tile.y - 20, 60, 100)
        part = tile.cut(frame, [box, Box(-500, 0, 20, 20)])
        assert part.shape == (*tile.size[::-1], 3)
        gray = (part == 127).all(2)
        assert gray.sum() == pytest.approx(60 * 80 / tile.scale**2, rel=0.1)
        assert gray[0, round(70 / tile.scale)]
    assert (frame == 10).all()


def test_a_frame_of_another_size_starts_anew():
    turns = Turns()
    turns.next(room((1280, 720)))
    assert set(turns.next(room((640, 360)))) <= set(tiles_of(640, 360))
    assert turns.next(room((320, 180))) == []
