"""The part of docs/bad-input.md about submissions: what the demo platform publishes, and which receipt it gets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from infra.servers.partners import DEMO_PLATFORM
from tests.e2e.bad_input import TRIED, full, shown, table
from tests.support.client import UNRULED
from tests.support.stack import Stack

SUBJECT = "submit.demo.51.01.04.017.000"
ANSWER_S_MAX = 20.0
ACK_S_MAX = 2.0


async def answers(stack: Stack, rows: list[dict[str, Any]]) -> list[str]:
    """Publish each row as the platform; the receipts in one line each."""
    async with stack.connection() as admin:
        url = admin.client.connected_url
        assert url is not None
        port = url.port
    said: list[str] = []

    async def note(error: Exception) -> None:
        said.append(str(error))

    user = DEMO_PLATFORM.user
    address = f"nats://{user}:{stack.passwords()[user]}@127.0.0.1:{port}"
    platform = await nats.connect(address, inbox_prefix=DEMO_PLATFORM.inbox_prefix.encode(), error_cb=note)
    try:
        return [await _answer(platform, row, said) for row in rows]
    finally:
        await platform.close()


async def _answer(platform: Client, row: Mapping[str, Any], said: list[str]) -> str:
    if "first" in row:
        await _receipt(platform, await _publish(platform, {**row, "demand": row["first"]}), row["event"]["id"])
    said.clear()
    try:
        sequence = await _publish(platform, row)
    except (NatsTimeout, NoRespondersError):
        return f"refused by the server: {said[0].split(' to ')[0] if said else 'nobody may take it'}"
    except nats.errors.Error as error:
        return f"refused by the server: {error}"
    except KeyError as error:
        return f"refused by the server: {error.args[0]}"
    # where an answer stands under the id already, the second one stands under the sequence
    return await _receipt(platform, sequence, None if "first" in row else row.get("event", {}).get("id"))


async def _publish(platform: Client, row: Mapping[str, Any]) -> int:
    """The sequence. Raises what the client says of a refusal, KeyError with JetStream's words when it refuses."""
    if "raw" in row:
        data = str(full(row["raw"])).encode()
    else:
        event = {"specversion": "1.0", "source": "demo", **row["event"]}
        told = row.get("data", {**UNRULED, "channel": "app", **row.get("demand", {})})
        data = json.dumps(event | {"data": told}, ensure_ascii=False).encode()
    ack = json.loads((await platform.request(row.get("subject", SUBJECT), data, timeout=ACK_S_MAX)).data)
    if "error" in ack:
        raise KeyError(ack["error"]["description"])
    return int(ack["seq"])


async def _receipt(platform: Client, sequence: int, id: str | None) -> str:
    """The receipt of a submission: under its sequence, or else under its id."""
    end = time.monotonic() + ANSWER_S_MAX
    while time.monotonic() < end:
        for place in filter(None, (f"seq-{sequence}", id)):
            found = await platform.request(f"$JS.API.DIRECT.GET.RECEIPTS.receipt.demo.{place}", b"")
            if found.data:
                return _told(json.loads(found.data)["data"])
        await asyncio.sleep(0.02)
    return "no receipt: silence"


def _told(data: Mapping[str, Any]) -> str:
    problem = data.get("problem") or data.get("error") or data
    if "code" not in problem:
        return f"taken: {json.dumps(data, ensure_ascii=False)[:200]}"
    fields = "; ".join(f"{one['field']}: {one['message']}" for one in problem.get("fields", ()))
    return f"{problem.get('status', '')} `{problem['code']}` {problem['detail']}{f' [{fields}]' if fields else ''}"


def nats_part(stack: Stack) -> Iterator[str]:
    """The tables of what was published, done anew."""
    for title, rows in TRIED["nats"].items():
        found = asyncio.run(answers(stack, rows))
        told = [(row, _how(row), answer) for row, answer in zip(rows, found, strict=True)]
        yield from table(f"NATS: {title[0].lower()}{title[1:]}", told)


def _how(row: Mapping[str, Any]) -> str:
    words = [f"on `{row['subject']}`"] if "subject" in row else []
    words.append(f"`{shown(row['raw'])}`" if "raw" in row else f"`{shown(row['event'])}`")
    if row.get("demand"):
        words.append(f"the demand with `{shown(row['demand'])}`")
    if "data" in row:
        words.append(f"data `{shown(row['data'])}`")
    if "first" in row:
        words.append("after the demand itself")
    return ", ".join(words)
