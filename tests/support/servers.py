"""Real servers for the tests: NATS and Postgres, started once per session in a temporary folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from infra.servers.composition import prepare, settings_for
from infra.servers.embedded import Embedded, Endpoints
from shared.kit.settings import Settings
from tests.support.folders import copy_made, open_folder

_numbers = count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Endpoints]:
    """Both servers. Data stays there for the session, so a test uses the fixtures `database` and `areas`."""
    stack = Embedded()
    with open_folder("servers") as folder:
        copy_made(folder / "data")
        try:
            yield await stack.start(folder / "data", nats_port=0)
        finally:
            await stack.stop()


@asynccontextmanager
async def own_servers(name: str, settings: Settings) -> AsyncIterator[Endpoints]:
    """Both servers in a folder of their own, with streams, tables and documents. No service runs yet."""
    stack = Embedded()
    with open_folder(name) as folder:
        copy_made(folder / "data")
        try:
            endpoints = await stack.start(folder / "data", nats_port=0)
            await prepare(settings_for(settings, endpoints, "admin"))
            yield endpoints
        finally:
            await stack.stop()


@asynccontextmanager
async def fresh_database(servers: Endpoints) -> AsyncIterator[Mapping[str, str]]:
    """An empty database, dropped afterwards: its DSN by role (admin, the four services, vault)."""
    name = f"test_{next(_numbers)}"
    admin = await asyncpg.connect(servers.postgres["admin"])
    await admin.execute(f"create database {name}")
    try:
        yield {role: urlsplit(dsn)._replace(path=f"/{name}").geturl() for role, dsn in servers.postgres.items()}
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()


@pytest_asyncio.fixture(loop_scope="function")
async def database(servers: Endpoints) -> AsyncIterator[Mapping[str, str]]:
    """An empty database of the test's own."""
    async with fresh_database(servers) as dsns:
        yield dsns


@pytest.fixture
def areas() -> tuple[str, str]:
    """Two areas (six digits each) that no other test of the session uses, and so log streams of the test's own."""
    number = next(_numbers)
    return f"99{number:04d}", f"98{number:04d}"
