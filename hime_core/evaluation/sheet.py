"""Contact sheets: the same faces by everything that was compared, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hime_core.arrays import Array

LABEL = 16  # pixels


class Sheet:
    """Collects up to `rows` of `total` items, evenly, and writes them as one picture with a label over each column."""

    def __init__(self, total: int, rows: int = 8) -> None:
        self._chosen = {i * total // rows for i in range(rows)}
        self._seen = 0
        self._rows: list[Array] = []
        self._names: list[str] = []

    def add(self, truth: Array, pictures: dict[str, Array]) -> None:
        """uint8 (side, side, 3) each."""
        if self._seen in self._chosen:
            self._names = [*("HIME" if name == "model" else name for name in pictures), "truth"]
            self._rows.append(np.concatenate([*pictures.values(), truth], axis=1))
        self._seen += 1

    def save(self, path: Path) -> None:
        """path: its suffix says the format. The file is written whole or not at all."""
        body = np.concatenate(self._rows)
        sheet = Image.new("RGB", (body.shape[1], body.shape[0] + LABEL), "white")
        sheet.paste(Image.fromarray(body), (0, LABEL))
        draw, column = ImageDraw.Draw(sheet), body.shape[1] // len(self._names)
        for i, name in enumerate(self._names):
            draw.text((i * column + 2, 2), name, fill="black", font=ImageFont.load_default(10))
        partial = path.with_name(path.stem + ".partial" + path.suffix)
        sheet.save(partial)
        partial.replace(path)
