"""HIME and what a video call needs around it. `Hime` is the network, `HimePredictor` what uses it on pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hime_core.model.hime import Hime
    from hime_core.predictor import HimePredictor

__all__ = ["Hime", "HimePredictor"]


def __getattr__(name: str) -> object:
    """Imported when they are asked for, as they bring PyTorch with them."""
    if name == "Hime":
        from hime_core.model.hime import Hime

        return Hime
    if name == "HimePredictor":
        from hime_core.predictor import HimePredictor

        return HimePredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
