"""How often the public may ask."""

from __future__ import annotations

import httpx
import pytest

from infra.servers.embedded import Endpoints
from tests.support.client import UNRULED, new_key
from tests.support.stack import in_process


@pytest.mark.asyncio(loop_scope="session")
async def test_public_look_ups_are_limited_per_number_and_per_address(servers: Endpoints) -> None:
    async with in_process(servers, look_up_rate_max=3, public_rate_max=5) as client:
        one, other = [await register(client) for _ in range(2)]
        statuses = [(await look_up(client, one)).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert (await look_up(client, other)).status_code == 200
        answer = await look_up(client, other)
        assert answer.status_code == 429, "the address has used up its own"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.json()["code"] == "too.many"


async def register(client: httpx.AsyncClient) -> dict[str, str]:
    answer = await client.post(
        "/intake/cases", json=UNRULED, headers={"Authorization": "Bearer demo-jj-window", "Idempotency-Key": new_key()}
    )
    assert answer.status_code == 201, answer.text
    told: dict[str, str] = answer.json()
    return told


async def look_up(client: httpx.AsyncClient, case: dict[str, str]) -> httpx.Response:
    return await client.get(f"/intake/public/{case['number']}", headers={"Case-Secret": case["secret"]})
