"""What is sent: cells of clip, size, codec and bitrate, and how a call of one cell runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hime_core.compositing.layout import Layout
from hime_core.errors import InputError
from hime_core.evaluation.clips import clips_in
from server.media.send.encoder import Codec

NEAR_AND_FAR = ("face_enters", "face_leaves", "far_")  # clips whose people really come near and go far
HEADSHOTS = {180: (96,), 360: (160,)}  # pixels in the frame, by its height
SHARE = 0.45  # of the height of other frames
LEAD = 1.0  # seconds of numbered frames before the clip
CONNECTING, MEASURING = 4.0, 12.0  # seconds of a call and of a cell beside the clip, for the estimate


@dataclass(frozen=True)
class Timing:
    """fps: frames per second at most. good: seconds at a good rate, so that the bank can fill; settle: seconds at the
    low rate before faces are measured; measured: seconds that they are. keyframe: whether the low
    rate begins with one, as after a loss; else what the good rate has shown stays until it is painted over. speed: of
    sending, below 1 in slow motion, so
    that a slow machine has as much time for each frame as a faster one would."""

    fps: float = 15.0
    good: float = 5.0
    settle: float = 1.5
    measured: float = 4.0
    good_kbps: int = 1000
    keyframe: bool = False
    speed: float = 1.0

    @property
    def seconds(self) -> float:
        """Of the clip in a call."""
        return self.good + self.settle + self.measured


@dataclass(frozen=True)
class Cell:
    """One bitrate of one clip at one size. headshot: pixels that its face has in the frame; None where the clip is
    sent as it is, reduced to the size."""

    clip: Path
    width: int
    height: int
    headshot: int | None
    codec: Codec
    kbps: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.clip.stem}-{self.size}-{self.headshot or 'own'}-{self.codec}-{self.kbps}"

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Matrix:
    """All cells of a run. headshots: of people who are close, None for one that suits each size."""

    kbps: tuple[int, ...] = (20, 40, 80, 160, 320)
    sizes: tuple[tuple[int, int], ...] = ((320, 180), (640, 360))
    codecs: tuple[Codec, ...] = ("VP8", "H264")
    headshots: tuple[int, ...] | None = None

    def cells(self, clips: Sequence[Path]) -> Iterator[Cell]:
        """Clip by clip, as reading one takes longest."""
        for clip in clips:
            for width, height in self.sizes:
                for headshot in self._headshots(clip, height):
                    for codec in self.codecs:
                        for kbps in self.kbps:
                            yield Cell(clip, width, height, headshot, codec, kbps)

    def _headshots(self, clip: Path, height: int) -> Sequence[int | None]:
        if clip.name.startswith(NEAR_AND_FAR):
            return (None,)
        if self.headshots is None:
            return HEADSHOTS.get(height, (round(SHARE * height),))
        return [side for side in self.headshots if side < height]


def short(matrix: Matrix, timing: Timing) -> tuple[Matrix, Timing]:
    """A few minutes' worth of it: the first size and codec, the lowest, a middle and the highest rate."""
    rates = sorted(matrix.kbps)
    few = (rates[0], rates[len(rates) // 2], rates[-1])
    less = replace(matrix, kbps=tuple(dict.fromkeys(few)), sizes=matrix.sizes[:1], codecs=matrix.codecs[:1])
    return less, replace(timing, measured=2.5)


def estimate(cells: int, calls: int, timing: Timing) -> float:
    """Seconds that a run takes. calls: of each cell."""
    return cells * (calls * ((LEAD + timing.seconds) / timing.speed + CONNECTING) + MEASURING)


def find_clips(folder: Path, only: Sequence[str]) -> list[Path]:
    """Raises InputError."""
    clips = clips_in(folder, only)
    if len({clip.stem for clip in clips}) < len(clips):
        raise InputError(f"{folder} holds clips whose names differ in their suffix alone; rename one")
    return clips


def parse_kbps(text: str) -> tuple[int, ...]:
    """Raises InputError."""
    rates = tuple(sorted({_whole("--kbps", part) for part in text.split(",")}))
    if not 5 <= rates[0] <= rates[-1] <= 5000:
        raise InputError(f"--kbps {text}: each must lie between 5 and 5000")
    return rates


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Raises InputError."""
    sizes = []
    for part in text.split(","):
        width, by, height = part.strip().partition("x")
        size = _whole("--sizes", width, "320x180,640x360"), _whole("--sizes", height if by else "", "320x180,640x360")
        if any(side % 2 or not 64 <= side <= 1920 for side in size):
            raise InputError(f"--sizes {part}: width and height must be even and between 64 and 1920")
        sizes.append(size)
    return tuple(sizes)


def parse_codecs(text: str) -> tuple[Codec, ...]:
    """Raises InputError."""
    known: dict[str, Codec] = {"VP8": "VP8", "H264": "H264"}
    names = [part.strip().upper() for part in text.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"--codecs {text}: {unknown[0] or 'nothing'} must be one of {', '.join(known)}")
    return tuple(known[name] for name in names)


def parse_headshots(text: str) -> tuple[int, ...]:
    """Raises InputError."""
    sides = tuple(_whole("--headshots", part, "96,160") for part in text.split(","))
    if not all(16 <= side <= 1080 for side in sides):
        raise InputError(f"--headshots {text}: each must lie between 16 and 1080 pixels")
    return sides


def parse_exemplars(text: str) -> tuple[int, ...]:
    """Raises InputError."""
    counts = tuple(sorted({_whole("--exemplars", part, "1,3") for part in text.split(",")}, reverse=True))
    if not all(1 <= count <= 3 for count in counts):
        raise InputError(f"--exemplars {text}: each must lie between 1 and 3; none at all is always measured")
    return counts


def parse_layout(text: str) -> Layout:
    """Raises InputError. The zoom's frames show the face at places of its own, which the truth does not know."""
    known: dict[str, Layout] = {"upscale": "upscale", "native": "native"}
    if text not in known:
        raise InputError(f"--layout {text}: it must be one of {', '.join(known)}")
    return known[text]


def _whole(option: str, text: str, such_as: str = "20,80,320") -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{option}: {text.strip() or 'nothing'} is no whole number; give such as {such_as}") from None
