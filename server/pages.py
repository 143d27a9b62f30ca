"""The web client: the call page and the dashboard, as Vite built them."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

HEADERS = {"Cache-Control": "no-cache"}

NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>HIME Relay</title>
<body>
<h1>HIME Relay</h1>
<p>The service runs, but its web client is not built: <code>{page}</code> is missing.</p>
<p>Build it with <code>make run</code>, or in <code>client_web</code> with
<code>npm install &amp;&amp; npm run build</code>.</p>
"""


class Assets(StaticFiles):
    """Vite's assets carry a hash of their content in the name, so they never change."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def install(app: FastAPI, build: Path) -> None:
    """Serves the directory `build`, which may also be filled while the service runs."""

    def page(name: str) -> Response:
        file = build / name
        if file.is_file():
            return FileResponse(file, headers=HEADERS)
        return HTMLResponse(NOT_BUILT.format(page=escape(str(Path("client_web/dist") / name))), 503, HEADERS)

    missing: dict[int | str, dict[str, Any]] = {503: {"description": "The web client is not built"}}

    @app.head("/", include_in_schema=False)
    @app.get("/", summary="The call page", tags=["pages"], response_class=HTMLResponse, responses=missing)
    async def call() -> Response:
        return page("index.html")

    @app.head("/dashboard", include_in_schema=False)
    @app.get(
        "/dashboard", summary="The latency dashboard", tags=["pages"], response_class=HTMLResponse, responses=missing
    )
    async def dashboard() -> Response:
        return page("dashboard.html")

    @app.get("/favicon.{extension}", include_in_schema=False)
    async def favicon(extension: str) -> Response:
        file = build / f"favicon.{extension}"
        if extension not in ("ico", "svg", "png") or not file.is_file():
            raise HTTPException(404)
        return FileResponse(file, headers=HEADERS)

    app.mount("/assets", Assets(directory=build / "assets", check_dir=False), name="assets")
