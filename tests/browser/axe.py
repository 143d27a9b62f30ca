"""Accessibility by axe-core, which client_web's tools bring along."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.browser.conftest import ROOT

AXE = ROOT / "client_web" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")


def serious_findings(page: Page) -> list[tuple[str, list[Any]]]:
    """Rules of axe that the page breaks seriously, and where; `bypass_csp` must be set for its context."""
    page.add_script_tag(path=AXE)
    # what moves or fades in is looked at where it comes to rest
    page.evaluate("() => Promise.all(document.getAnimations().map((one) => one.finished))")
    found = page.evaluate("async () => (await axe.run()).violations")
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found if one["impact"] in SERIOUS]
