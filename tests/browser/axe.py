"""Accessibility by axe-core, which client_web's tools bring along."""

from __future__ import annotations

from typing import Any, Literal

from playwright.sync_api import Page

from tests.browser.paths import ROOT

AXE = ROOT / "client_web" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
LOOKS: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def serious_findings(page: Page) -> list[tuple[str, str, list[Any]]]:
    """Rules of axe that the page breaks seriously, in the light look and in the dark one, and where.

    The look is the device's own afterwards: `dark` where the page's was dark, else `light`.
    """
    before = page.evaluate("() => matchMedia('(prefers-color-scheme: dark)').matches")
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())  # by the debugger, whatever the page's content security policy says
    found = [each for look in LOOKS for each in _found(page, look)]
    page.emulate_media(color_scheme="dark" if before else "light")
    return found


def _found(page: Page, look: Literal["light", "dark"]) -> list[tuple[str, str, list[Any]]]:
    page.emulate_media(color_scheme=look)
    # what moves or fades in is looked at where it comes to rest
    page.evaluate("() => Promise.allSettled(document.getAnimations().map((one) => one.finished))")
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(look, one["id"], [node["target"] for node in one["nodes"]]) for one in found if one["impact"] in SERIOUS]
