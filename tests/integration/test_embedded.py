"""The embedded stack against the real servers."""
from __future__ import annotations

from infra.embedded import Endpoints


async def test_starts_both(servers: Endpoints, database: dict[str, str]) -> None:
    import asyncpg

    connection = await asyncpg.connect(database["vault"])
    assert await connection.fetchval("select current_user") == "vault"
    await connection.close()
