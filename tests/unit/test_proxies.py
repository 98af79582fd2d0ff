"""The address of a caller behind a proxy: the header counts only from proxies that the settings name."""

from __future__ import annotations

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from infra.cli.serving import web_config
from shared.kit.settings import Settings


async def address_of(scope: Scope, receive: Receive, send: Send) -> None:
    client = Request(scope).client
    await PlainTextResponse(client.host if client else "?")(scope, receive, send)


@pytest.mark.parametrize(
    ("proxies", "peer", "header", "address"),
    [
        ("", "127.0.0.1", "198.51.100.7", "127.0.0.1"),
        ("10.0.0.0/8", "203.0.113.9", "198.51.100.7", "203.0.113.9"),
        ("10.0.0.0/8", "10.1.2.3", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.0/8", "10.1.2.3", "192.0.2.1, 198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.0.0.0/8,2001:db8::/32", "2001:db8::1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.0/8", "10.1.2.3", None, "10.1.2.3"),
    ],
)
async def test_the_address_of_a_caller(proxies: str, peer: str, header: str | None, address: str) -> None:
    settings = Settings.from_env({"CASEFLOW_PROXIES": proxies} if proxies else {})
    config = web_config(address_of, settings)
    config.load()
    transport = httpx.ASGITransport(config.loaded_app, client=(peer, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://caseflow") as client:
        answer = await client.get("/", headers={} if header is None else {"X-Forwarded-For": header})
    assert answer.text == address
