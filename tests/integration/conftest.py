"""Servers that a test may kill: one of its own. And what sends webhooks, on servers that it does not kill."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from infra.servers.embedded import Endpoints
from tests.contract.conftest import server
from tests.support.nats import NatsServer
from tests.support.servers import fresh_database
from tests.support.webhooks import World, open_world, prepare

__all__ = ["server"]

Grounds = tuple[str, Mapping[str, str]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def webhook_grounds(servers: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Grounds]:
    """A NATS server and a database with streams and tables, that no other test writes to."""
    nats = NatsServer(tmp_path_factory.mktemp("webhooks") / "nats")
    nats.start()
    async with fresh_database(servers) as dsns:
        await prepare(nats.url, dsns)
        yield nats.url, dsns
    nats.kill()


@pytest_asyncio.fixture
async def webhook_world(webhook_grounds: Grounds, tmp_path: Path) -> AsyncIterator[World]:
    """What sends webhooks, a clock that stands still, and a receiver."""
    async with open_world(*webhook_grounds, tmp_path) as opened:
        yield opened
