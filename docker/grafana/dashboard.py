"""Writes dashboards/hime.json from the panels that the relay's own dashboard is made from as well.

python docker/grafana/dashboard.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PANELS = HERE.parents[1] / "client_web/src/dashboard/panels.json"
DASHBOARD = HERE / "dashboards/hime.json"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}


def main() -> None:
    DASHBOARD.write_text(made())


def made() -> str:
    """The dashboard as Grafana's JSON."""
    told = json.loads(PANELS.read_text())
    panels = [panel(number, one, told["budget_ms"]) for number, one in enumerate(told["panels"], 1)]
    dashboard = {
        "uid": "hime-relay",
        "title": "HIME Relay",
        "tags": ["hime"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "timezone": "browser",
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": panels,
    }
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"


def panel(number: int, told: dict[str, Any], budget_ms: dict[str, float]) -> dict[str, Any]:
    x, y, width, height = told["place"]
    figure = told["draw"] == "figure"
    defaults: dict[str, Any] = {"unit": told["unit"]}
    if figure:
        defaults["decimals"] = 1
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        options: dict[str, Any] = {"reduceOptions": reduced, "colorMode": "none", "graphMode": "area"}
    else:
        defaults |= {"custom": drawn(stacked=told["draw"] == "stack"), "min": 0}
        options = {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "none"}}
        if (budget := budget_ms.get(told.get("budget", ""))) is not None:
            steps = [{"color": "green", "value": None}, {"color": "orange", "value": budget / 1000}]
            defaults["thresholds"] = {"mode": "absolute", "steps": steps}
            defaults["custom"]["thresholdsStyle"] = {"mode": "dashed"}
    made = {
        "id": number,
        "type": "stat" if figure else "timeseries",
        "title": told["title"],
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [target(chr(ord("A") + at), one) for at, one in enumerate(told["series"])],
    }
    return made | ({"description": told["note"]} if "note" in told else {})


def drawn(stacked: bool) -> dict[str, Any]:
    line = {"drawStyle": "line", "lineWidth": 1 if stacked else 2, "fillOpacity": 70 if stacked else 0}
    return {**line, "showPoints": "never"} | ({"stacking": {"mode": "normal", "group": "A"}} if stacked else {})


def target(name: str, series: dict[str, str]) -> dict[str, Any]:
    return {
        "refId": name,
        "datasource": SOURCE,
        "expr": series["query"],
        "legendFormat": series["label"],
        "range": True,
    }


if __name__ == "__main__":
    main()
