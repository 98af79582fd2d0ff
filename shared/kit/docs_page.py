"""`GET /docs` of a service: its OpenAPI document to read and to try, without a network.

Swagger UI (Apache-2.0) comes with the package fastapi-offline (MIT) at set-up; only its files are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import fastapi_offline
from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse

HERE = "docs"
ASSETS = Path(fastapi_offline.__file__).parent / "static"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; "
    "script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The page. Its addresses are relative, so that it works below any path."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json", title=request.app.title, swagger_js_url=f"{HERE}/swagger-ui-bundle.js",
        swagger_css_url=f"{HERE}/swagger-ui.css", swagger_favicon_url=f"{HERE}/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},
    )  # fmt: skip
    page.headers.update(_HEADERS)
    return page


@router.get("/docs/{name}")
async def asset(name: Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]) -> FileResponse:
    """A file of the page."""
    return FileResponse(ASSETS / name, headers={"Cache-Control": "public, max-age=3600"})
