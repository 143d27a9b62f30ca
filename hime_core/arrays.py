"""Names for the arrays that pictures, points and features are held in."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]  # pictures and planes
F32 = npt.NDArray[np.float32]  # landmarks, flow, differences, embeddings
Array = npt.NDArray[Any]  # any of them, and what OpenCV gives, whose annotations leave the type open
NOTHING = cast(Array, None)  # where OpenCV takes None for an array, and its annotations do not
