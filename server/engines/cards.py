"""Which graphics cards there are, told without loading PyTorch."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping


def cards(environment: Mapping[str, str] = os.environ, count: Callable[[], int] | None = None) -> list[str]:
    """Each card as CUDA_VISIBLE_DEVICES names it. Blocks while the driver starts. count: asks the driver."""
    there = (count or _counted)()
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:there] if named else [str(number) for number in range(there)]


def _counted() -> int:
    """How many the driver shows this process, which CUDA_VISIBLE_DEVICES has a say in (CUDA's driver API)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    found = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(found)):
        return 0
    return found.value
