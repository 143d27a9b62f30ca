"""The Chromium that is driven, and the flags that it starts with."""

from __future__ import annotations

import shutil

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    # host candidates as addresses: there is no mDNS responder in a container
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)
# Gives camera, microphone and screen to whoever asks.
ALLOW_ALL = "--use-fake-ui-for-media-stream"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def chromium_path() -> str | None:
    """The machine's own; None for playwright's."""
    return next(filter(None, map(shutil.which, NAMES)), None)
