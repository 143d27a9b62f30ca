"""Attributes of aiortc's objects that it hides by name mangling."""

from __future__ import annotations

from typing import Any

from aiortc import RTCRtpReceiver, RTCRtpSender


def private(owner: RTCRtpReceiver | RTCRtpSender, name: str) -> Any:
    return getattr(owner, f"_{type(owner).__name__}__{name}")


def set_private(owner: RTCRtpReceiver | RTCRtpSender, name: str, value: Any) -> None:
    private(owner, name)  # AttributeError where aiortc has renamed it
    setattr(owner, f"_{type(owner).__name__}__{name}", value)
