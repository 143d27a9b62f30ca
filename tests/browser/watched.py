"""A page whose browser's complaints, requests and devices are watched, and a relay that asks or refuses as told."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from playwright.sync_api import BrowserContext, Page, Request, Route

# Keeps what the page asks of devices, which blob: URLs are in use, and what the policy forbids it.
WATCH = """
  window.asked = [];
  window.violations = [];
  for (const name of ['getUserMedia', 'getDisplayMedia']) {
    const real = navigator.mediaDevices[name].bind(navigator.mediaDevices);
    navigator.mediaDevices[name] = (wanted) => { window.asked.push(name); return real(wanted); };
  }
  window.blobs = new Set();
  const { createObjectURL, revokeObjectURL } = URL;
  URL.createObjectURL = (blob) => { const url = createObjectURL(blob); window.blobs.add(url); return url; };
  URL.revokeObjectURL = (url) => { window.blobs.delete(url); revokeObjectURL(url); };
  document.addEventListener('securitypolicyviolation', (event) => {
    window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
  });
"""
PHONE = (390, 844)


class Watched:
    """A page, and all that its browser complained of."""

    def __init__(self, context: BrowserContext) -> None:
        context.grant_permissions(["camera", "microphone"])  # a permission given before changes nothing
        context.add_init_script(WATCH)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    @property
    def asked(self) -> list[str]:
        return self.page.evaluate("() => window.asked")

    def sent(self, part: str, method: str | None = None) -> list[Request]:
        """The requests so far to addresses that hold the part."""
        self.page.evaluate("() => 0")  # lets the events come in
        return [one for one in self.requests if part in one.url and method in (None, one.method)]

    def assert_clean(self) -> None:
        assert self.complaints == [], self.complaints
        assert self.page.evaluate("() => window.violations") == []


def token(name: str = "ann", room: str = "den", **video: Any) -> str:
    """As the page reads it; whether it counts is the relay's business."""
    claims = {
        "iss": "key",
        "sub": name,
        "exp": int(time.time()) + 3600,
        "video": {"room": room, "roomJoin": True, "canPublish": True, "canSubscribe": True, **video},
    }
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "HS256"}, claims)
    ]
    return ".".join([*parts, "signature"])


def asks(page: Page, tokens: bool = False, open_to_all: bool = False) -> None:
    page.route("**/api/access", lambda route: route.fulfill(json={"tokens": tokens, "open_to_all": open_to_all}))


def refuses(page: Page, pattern: str, status: int, detail: str) -> None:
    def answer(route: Route) -> None:
        body = {"type": "about:blank", "title": "", "status": status, "detail": detail}
        route.fulfill(status=status, content_type="application/problem+json", json=body)

    page.route(pattern, answer)
