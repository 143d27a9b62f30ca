"""What a run found, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from hime_core.evaluation.bjontegaard import DeltaRate
from server.proof.plan import Timing
from server.proof.result import Result
from server.proof.summary import Curves, best_row, delta_rates, gains, gather, quality, worse_cells

COLUMNS = {  # heading, digits
    "psnr": ("PSNR, dB", ".2f"),
    "lpips": ("LPIPS", ".3f"),
    "identity": ("identity", ".3f"),
    "warp": ("warp error", ".2f"),
}
OUTCOMES = ("enhanced", "carried", "passed", "dropped")


def report(
    results: Sequence[Result], timing: Timing, what: str, left_out: Sequence[str], missing: Sequence[str]
) -> str:
    """what: the relay's network and layout; left_out: clips that could not serve, and why; missing: cells that failed,
    and why."""
    parts = [_preface(timing, what)]
    if results:
        curves = gather(results)
        parts += [_overall(results), _deltas(curves), *(_table(one) for one in curves), _worse(results)]
    parts += [_listed("Left out", left_out), _listed("Not measured; run `hime prove` again", missing)]
    return "\n".join(part for part in parts if part)


def _preface(timing: Timing, what: str) -> str:
    how = "from a keyframe on" if timing.keyframe else "without a keyframe"
    pace = f", sent at {timing.speed:g} times its pace" if timing.speed != 1 else ""
    paragraphs = [
        f"Written by `hime prove`. {what}",
        f"Each call goes through a relay in a process of its own, on loopback: WHIP in, WHEP out. The clip, at most "
        f"{timing.fps:g} frames a second{pace}, goes out at {timing.good_kbps} kbit/s for {timing.good:g} s, then, "
        f"{how}, at the low rate. {timing.settle:g} s later, faces are measured for {timing.measured:g} "
        "s, in frames that the first part has not shown. kbit/s are those of the encoded video from the fall on.",
        "Faces, and the truth, which is the clip's own frame, are headshots brought to 256 px by Pillow's BICUBIC. \"3 "
        'exemplars" are 3 at most: what the bank had is told below. "0 exemplars" is the network\'s own answer to the '
        "plain view's face with a blank exemplar, and the peers' answers are to the same face: both at an LR side of "
        "the headshot's, at most 96. LPIPS is v0.1 over AlexNet, identity the cosine of InceptionResnetV1 embeddings "
        "with the truth's; the warp error is the mean luma difference, in grey levels, between a frame and the one "
        "before it moved onto it by the truth's optical flow.",
    ]
    return "\n\n".join(["# What arrives of a face", *(fill(text, 120) for text in paragraphs)]) + "\n"


def _overall(results: Sequence[Result]) -> str:
    found = gains(results)
    lines = [f"## Over {len(results)} cells, against plain", ""]
    lines += [_line(["", "PSNR, dB", "LPIPS", "identity", "warp error"]), "|---|---:|---:|---:|---:|"]
    for row, gain in found.items():
        cells = [
            _format(gain.get("psnr_gain"), "+.2f"),
            _format(gain.get("lpips_share"), ".2f", "× "),
            _format(gain.get("identity_gain"), "+.3f"),
            _format(gain.get("warp_share"), ".2f", "× "),
        ]
        lines.append(_line([row, *cells]))
    return "\n".join(lines) + "\n"


def _deltas(curves: Sequence[Curves]) -> str:
    """Uplink for equal quality, by Bjøntegaard."""
    lines = [
        "## Uplink for equal quality",
        "",
        "The share of the plain view's bitrate that a view needs for the same figure: Bjøntegaard's delta rate, over",
        "the range of the figure that both curves reach, which is given in brackets. Where they have none in common,",
        "nothing is extrapolated.",
        "",
    ]
    rows = []
    for one in curves:
        for row, deltas in delta_rates(one).items():
            cells = [describe(metric, deltas[metric]) if metric in deltas else "–" for metric in ("lpips", "identity")]
            rows.append(_line([one.title, row, *cells]))
    if not rows:
        return ""
    return "\n".join([*lines, _line(["", "", "equal LPIPS", "equal identity"]), "|---|---|---|---|", *rows]) + "\n"


def describe(metric: str, delta: DeltaRate) -> str:
    """A delta rate in words."""
    if delta.share is not None and delta.low is not None and delta.high is not None:
        ends = sorted(quality(metric, end) for end in (delta.low, delta.high))
        return f"{delta.share:.2f} × ({ends[0]:.3f} to {ends[1]:.3f})"
    low, high = delta.rates
    if delta.relation == "above":
        return (
            f"curves do not overlap: better at {low:.0f} kbit/s than plain at {delta.anchor_rates[1]:.0f}, "
            f"so below {delta.bound:.2f} ×"
        )
    if delta.relation == "below":
        return f"curves do not overlap: worse at {high:.0f} kbit/s than plain at {delta.anchor_rates[0]:.0f}"
    return "a curve does not rise with the bitrate"


def _table(curves: Curves) -> str:
    names = [name for name in COLUMNS if any(curves.curve(row, name) for row in curves.rows)]
    lines = [f"## {curves.title}", "", f"Means over {', '.join(curves.clips)}.", ""]
    lines += [_line(["kbit/s", "", *(COLUMNS[name][0] for name in names)]), "|---:|---|" + "---:|" * len(names)]
    for point in curves.points:
        for number, row in enumerate(point.figures):
            figures = [_format(point.figures[row][name], COLUMNS[name][1]) for name in names]
            lines.append(_line(["" if number else f"{point.kbps:.0f}", row, *figures]))
    heads = ["kbit/s", "exemplars at most", "in the bank", *OUTCOMES]
    lines += ["", "What became of the frames:", "", _line(heads), "|" + "---:|" * len(heads)]
    for point in curves.points:
        for count, outcomes in sorted(point.outcomes.items()):
            total = sum(outcomes.values()) or 1
            shares = [f"{100 * outcomes[name] / total:.0f} %" for name in OUTCOMES]
            lines.append(_line([f"{point.kbps:.0f}", count, f"{point.bank[count]:.1f}", *shares]))
    return "\n".join(lines) + "\n"


def _worse(results: Sequence[Result]) -> str:
    heading = f"Cells in which {best_row(results)} are worse than plain by more than 0.1 dB, 0.005 or 0.005"
    found = worse_cells(results)
    return _listed(
        f"{heading}: {len(found)} of {len(results)}",
        [
            f"{cell['clip']}, {cell['size']}, {cell['codec']}, {cell['kbps']} kbit/s: "
            + ", ".join(f"{metric} {by:+.3f}" for metric, by in cell["by"].items())
            for cell in found
        ],
        always=True,
    )


def _listed(heading: str, lines: Sequence[str], always: bool = False) -> str:
    if not (lines or always):
        return ""
    return "\n".join([f"## {heading}", "", *(f"- {line}" for line in lines), ""])


def _format(value: float | None, form: str, before: str = "") -> str:
    return "–" if value is None else before + format(value, form)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
