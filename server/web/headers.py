"""What browsers are told to forbid: the headers of every answer, pages, assets, API and errors alike.

Strict-Transport-Security is left to the proxy that ends TLS, as the relay itself speaks plain HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Scripts and styles come from files alone. img: blob: for photos that were fetched with a token, data: for the bank's
# thumbnails; media: blob: for streams.
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
# Of everything that is no page, opened by itself in a browser.
DATA_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

# What the pages use; sound begins without a click (autoplay), and the button that copies the link writes to the
# clipboard.
_OWN = (
    "autoplay",
    "camera",
    "clipboard-write",
    "display-capture",
    "fullscreen",
    "microphone",
    "picture-in-picture",
)
_NONE = (
    "accelerometer",
    "browsing-topics",
    "clipboard-read",
    "encrypted-media",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "keyboard-map",
    "local-fonts",
    "magnetometer",
    "midi",
    "otp-credentials",
    "payment",
    "publickey-credentials-create",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "storage-access",
    "usb",
    "window-management",
    "xr-spatial-tracking",
)

COMMON = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join([f"{name}=(self)" for name in _OWN] + [f"{name}=()" for name in _NONE]),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class SecurityHeaders:
    """Adds them to every answer that does not have its own."""

    def __init__(self, app: ASGIApp, nodes: Iterable[str] = ()) -> None:
        """nodes: origins that pages may talk to besides their own; looked at for each answer."""
        self._app, self._nodes = app, nodes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in COMMON.items():
                    headers.setdefault(name, value)
                page = headers.get("content-type", "").startswith("text/html")
                headers.setdefault("Content-Security-Policy", self._page_policy() if page else DATA_POLICY)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)

    def _page_policy(self) -> str:
        return PAGE_POLICY.replace("connect-src 'self'", " ".join(["connect-src 'self'", *self._nodes]))
