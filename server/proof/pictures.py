"""Curves over the bitrate, and contact sheets at full size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from server.proof.measure import PLAIN
from server.proof.scene import SIDE
from server.proof.summary import Curves

METRICS = {
    "psnr": "PSNR, dB",
    "lpips": "LPIPS (lower is better)",
    "identity": "identity",
    "warp": "warp error (lower is better)",
}
LABEL = 18  # pixels


def draw_curves(curves: Sequence[Curves], path: Path) -> None:
    """One row of axes for each setting, a figure over kbit/s in each; a PNG, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    names = [name for name in METRICS if any(one.curve(row, name) for one in curves for row in one.rows)]
    figure = Figure(figsize=(4.2 * len(names), 3.2 * len(curves)), layout="constrained")
    axes = figure.subplots(len(curves), len(names), squeeze=False)
    for line, one in zip(axes, curves, strict=True):
        for ax, name in zip(line, names, strict=True):
            for row in one.rows:
                points = one.curve(row, name)
                style = {"color": "black", "linestyle": "--"} if row == PLAIN else {}
                ax.plot(*zip(*points, strict=True), marker="o", markersize=3, label=row, **style)
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(ScalarFormatter())
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_xticks([round(point.kbps) for point in one.points])
            ax.set_xlabel("kbit/s")
            ax.set_ylabel(METRICS[name])
            ax.grid(alpha=0.3)
        line[0].set_title(f"{one.title}; {len(one.clips)} clip{'s' * (len(one.clips) > 1)}", loc="left", fontsize=9)
    axes[0][0].legend(fontsize=7)
    partial = path.with_name(path.stem + ".partial.png")
    FigureCanvasAgg(figure).print_png(partial)
    partial.replace(path)


def draw_sheet(rows: Sequence[tuple[str, Path]], names: Sequence[str], chosen: Sequence[str], path: Path) -> None:
    """rows: what each is, and its picture, faces of 256 px side by side, named by `names`; those `chosen` are shown.
    Rows whose picture is missing are left out; nothing is written without any."""
    kept = [(label, np.asarray(Image.open(file).convert("RGB"))) for label, file in rows if file.is_file()]
    kept = [(label, row) for label, row in kept if row.shape == (SIDE, SIDE * len(names), 3)]
    if not kept:
        return
    sheet = Image.new("RGB", (SIDE * len(chosen), LABEL + len(kept) * (SIDE + LABEL)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, name in enumerate(chosen):
        draw.text((column * SIDE + 3, 1), name, fill="black", font=font)
    for number, (label, row) in enumerate(kept):
        top = LABEL + number * (SIDE + LABEL)
        draw.text((3, top + 1), label, fill="black", font=font)
        for column, name in enumerate(chosen):
            at = names.index(name) * SIDE
            sheet.paste(Image.fromarray(row[:, at : at + SIDE]), (column * SIDE, top + LABEL))
    partial = path.with_name(path.stem + ".partial.png")
    sheet.save(partial)
    partial.replace(path)
