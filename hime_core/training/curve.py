"""The loss curve of a run, as an SVG drawn from its log."""

from __future__ import annotations

import json
import math
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 800, 400, 48
SMOOTHING = 0.9  # of the moving average over reports


def draw_curve(log: Path, target: Path) -> None:
    """log: JSON lines with "step" and "loss"; the loss is drawn on a logarithmic scale."""
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    rows = [row for row in rows if row["loss"] > 0 and math.isfinite(row["loss"])]
    if len(rows) < 2:
        return
    smooth, values = rows[0]["loss"], []
    for row in rows:
        smooth = SMOOTHING * smooth + (1 - SMOOTHING) * row["loss"]
        values.append(smooth)
    low, high = min(values), max(values)
    span = math.log(high / low) or 1.0
    last = rows[-1]["step"]
    points = " ".join(
        f"{MARGIN + row['step'] / last * (WIDTH - 2 * MARGIN):.1f},"
        f"{MARGIN + math.log(high / value) / span * (HEIGHT - 2 * MARGIN):.1f}"
        for row, value in zip(rows, values, strict=True)
    )
    bottom = HEIGHT - MARGIN
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<path d="M{MARGIN} {MARGIN}V{bottom}H{WIDTH - MARGIN}" fill="none" stroke="#888"/>'
        f'<text x="4" y="{MARGIN + 4}">{high:.4f}</text><text x="4" y="{bottom + 4}">{low:.4f}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 20}" text-anchor="end">step {last}</text>'
        f'<polyline points="{points}" fill="none" stroke="#06c" stroke-width="1.5"/></svg>\n'
    )
