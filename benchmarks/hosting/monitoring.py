"""What Prometheus knows, and whether the dashboard's and the alerts' questions have answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from benchmarks.hosting.compose import DOCKER
from benchmarks.hosting.stack import Stack, waited_for

PROMETHEUS = "http://127.0.0.1:9090"
# They count what does not happen in a call that goes well, and appear with their first event.
QUIET = ("hime_refused_total", "hime_failures_total", "hime_reference_gap_seconds", "hime_batch_size")


def panels() -> Iterator[tuple[str, str]]:
    """The title of each of the dashboard's panels, with each of its expressions."""
    dashboard = json.loads((DOCKER / "grafana/dashboards/hime.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def ask(stack: Stack, path: str, **parameters: str) -> Any:
    """Prometheus' answer. Raises ValueError with its error."""
    told = json.loads(stack.fetch(f"{PROMETHEUS}/api/v1/{path}?{urlencode(parameters)}"))
    if told["status"] != "success":
        raise ValueError(told["error"])
    return told["data"]


def scraped(stack: Stack) -> str:
    def ask_targets() -> str:
        targets = ask(stack, "targets")["activeTargets"]
        assert len(targets) == 2
        for target in targets:
            assert target["health"] == "up", f"{target['labels']['job']}: {target['lastError']}"
        return ", ".join(sorted(target["labels"]["job"] for target in targets))

    return f"{waited_for('Prometheus', ask_targets, 60)} are up"


def rules(stack: Stack) -> str:
    groups = ask(stack, "rules")["groups"]
    all_rules = [rule for group in groups for rule in group["rules"]]
    wrong = [f"{rule['name']}: {rule['lastError']}" for rule in all_rules if rule["health"] == "err"]
    if wrong:
        raise ValueError("; ".join(wrong))
    firing = [rule["name"] for rule in all_rules if rule["state"] == "firing"]
    return f"{len(all_rules)} alerts loaded and evaluated, firing: {', '.join(firing) or 'none'}"


def dashboard(stack: Stack) -> str:
    """Asks what every panel asks. Raises ValueError where one has no answer, though a call has gone through."""
    empty, asked = [], 0
    for title, expression in panels():
        asked += 1
        found = ask(stack, "query", query=expression)["result"]
        if not found and not any(name in expression for name in QUIET):
            empty.append(f"{title}: {expression}")
    if empty:
        raise ValueError("no answer to " + "; ".join(empty))
    return f"{asked} expressions of {len({title for title, _ in panels()})} panels have answers"
