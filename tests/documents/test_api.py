"""docs/api.md tells of every route."""

from __future__ import annotations

from pathlib import Path

from server.app import create_app
from server.settings import Settings
from tests.documents.relay import ROOT


def test_every_route_is_told_of(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    paths = create_app(Settings(_env_file=None, data=tmp_path)).openapi()["paths"]
    routes = [f"`{method.upper()} {path}`" for path, operations in paths.items() for method in operations]
    assert len(routes) > 20
    assert [route for route in routes if route not in text and "favicon" not in route] == []
