"""Figure 6: correlation maps as pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hime_core.arrays import Array
from hime_core.errors import InputError
from hime_core.evaluation.headshot import unit
from hime_core.training.losses import correlation_map

WINDOWS = (3, 5, 7)


def correlation_picture(image: Array, window: int) -> Array:
    """M_cor of a uint8 (H, W, 3) picture, its k*k channels summed: how alike a pixel and those around it are. From
    blue (little, fine texture) to red (much, smooth), uint8 (H, W, 3)."""
    alike = correlation_map(unit(image), window, 1)[0].sum(dim=0).numpy()
    low, high = np.percentile(alike, (1, 99))
    scaled = ((alike - low) / max(high - low, 1e-6)).clip(0, 1) * 255
    return np.ascontiguousarray(cv2.applyColorMap(scaled.round().astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1])


def write_maps(path: Path) -> None:
    """scikit-image's astronaut at 128x128 and its maps with windows 3, 5, 7, side by side, enlarged twice."""
    try:
        from skimage import data
    except ImportError as error:
        raise InputError("Figure 6 shows scikit-image's astronaut; pip install scikit-image") from error
    portrait = Image.fromarray(np.ascontiguousarray(data.astronaut()[12:212, 121:321]))
    image = np.asarray(portrait.resize((128, 128), Image.Resampling.BOX))
    row = np.concatenate([image, *(correlation_picture(image, k) for k in WINDOWS)], axis=1)
    sheet = Image.fromarray(row).resize((row.shape[1] * 2, row.shape[0] * 2), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.stem + ".partial" + path.suffix)
    sheet.save(partial)
    partial.replace(path)
