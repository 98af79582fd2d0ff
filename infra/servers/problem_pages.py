"""`GET /problems/<code>`: the address that stands as `type` in a problem explains it, in Chinese first and in English.

A browser gets a page, every other reader JSON (RFC 9457, section 3.1.1). `GET /problems` lists all.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from shared.kit.languages import Language, types
from shared.kit.problems import NotFound

_STYLE = (
    ":root{color-scheme:light dark;font:1rem/1.6 system-ui,'Noto Sans CJK SC',sans-serif}"
    "body{max-width:46rem;margin:2rem auto;padding:0 1rem}dt{margin-top:1.2rem;font-weight:600}dd{margin:0}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Vary": "Accept",
    "Cache-Control": "public, max-age=3600",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'",
}


async def _list(request: Request) -> Response:
    return _answer(request, sorted(types()))


async def _explain(request: Request) -> Response:
    code = request.path_params["code"]
    if code not in types():
        raise NotFound("There is no such problem. GET /problems lists those there are.")
    return _answer(request, [code])


def _answer(request: Request, codes: list[str]) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_page(codes), headers=_HEADERS)
    rows = [
        {
            "type": f"/problems/{code}",
            "code": code,
            "meaning": {language.value: types()[code][language] for language in Language},
        }
        for code in codes
    ]
    return JSONResponse(rows[0] if "code" in request.path_params else {"problems": rows}, headers=_HEADERS)


def _page(codes: list[str]) -> str:
    rows = "".join(
        f'<dt id="{escape(code)}"><a href="/problems/{escape(code)}"><code>{escape(code)}</code></a></dt>'
        f'<dd lang="zh-CN">{escape(types()[code][Language.CHINESE])}</dd>'
        f'<dd lang="en">{escape(types()[code][Language.ENGLISH])}</dd>'
        for code in codes
    )
    return (
        '<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>问题说明 / Problems</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f'<h1>问题说明 / Problems</h1><dl>{rows}</dl><p><a href="/problems">全部 / All</a></p></html>'
    )


ROUTES = (Route("/problems", _list), Route("/problems/{code}", _explain))
