"""(f) Lists of 50 open cases over HTTP, from tables of ten thousand and of a million cases."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlencode

import asyncpg

from shared.case.events import Corrected
from shared.case.facts import Note
from shared.kit.clock import SystemClock
from shared.kit.seal import seal_fields
from shared.kit.sql import Database, Statements
from shared.kit.vault import MasterKeys, PgVault
from tests.bench.base import Figure, Say, percentiles, watched
from tests.bench.load import drive, request
from tests.support.reporting import matter, seed
from tests.support.stack import Stack

COUNTY = "510104000000"
TOWNSHIP = "510104004000"  # the township of the seeded open cases
SHAPES = {
    "city": {"region": "510100000000"},
    "county": {"region": COUNTY},
    "village": {"region": "510104004001"},
    "unit": {"unit": f"{TOWNSHIP}-housing"},
    "person": {"person": f"p{TOWNSHIP[:9]}.1"},
}
READER = "cd-director"  # may read the whole city
ROWS = 50
BARE = f"{ROWS} rows by primary key, straight from Postgres, p99"


async def measure(stack: Stack, quick: bool, say: Say) -> AsyncIterator[Figure]:
    """A figure for each shape of list and each size of table."""
    stack.start()
    rounds = 100 if quick else 500
    async with watched(stack) as bench:
        await bench.postgres.execute("set search_path to reporting, public")
        for count in (10_000, 100_000 if quick else 1_000_000):
            say(f"a table of {count} cases")
            await bench.postgres.execute("truncate cases, seen, tallies, sealed, grams")
            await seed(bench.postgres, count)
            await _seal(stack, bench.postgres)
            await bench.postgres.execute("vacuum analyze", timeout=600)  # as autovacuum does after many inserts
            peer = await _bare(bench.postgres, rounds)
            for shape, filters in SHAPES.items():
                data = _asked(filters)
                warm = await drive(stack.port, [data] * 10, callers=1)
                run = await drive(stack.port, [data] * rounds, callers=1)
                assert warm.errors + run.errors == 0, f"{shape}: {run.statuses} {run.bodies[-1]!r}"
                rows, titles = (run.bodies[-1].count(word) for word in (b'"number"', b'"title":"'))
                more = {**percentiles(run.times), "rows": rows, "titles": titles}
                what = f"list of {ROWS} open cases of a {shape} among {count:,} over HTTP, p99"
                yield Figure(f"list_{shape}_{count}", what, run.ms(99), "ms", 10, "less", BARE, peer, more)


async def _seal(stack: Stack, postgres: asyncpg.Connection) -> None:
    """Give the listed cases sealed matters, so that a list has titles to unseal."""
    clock, ids = SystemClock(), set[str]()
    for filters in SHAPES.values():
        run = await drive(stack.port, [_asked(filters)], callers=1)
        ids |= {case["id"] for case in json.loads(run.bodies[0])["cases"]}
    database = await Database.connect(stack.postgres_dsn("intake"), Statements({}), "intake")
    try:
        vault = PgVault(database, MasterKeys.load(stack.data / "secrets" / "master.key"), clock)
        keys = await vault.new_keys(None, [(id, TOWNSHIP) for id in ids])
    finally:
        await database.close()
    for id, key in keys.items():
        event = seal_fields(Corrected(note=Note(text="as told"), matter=matter()), key, id, id, clock)
        await postgres.execute(
            "insert into sealed (id, event_id, token) values ($1, $2, $3)", id, id, str(event.matter)
        )


def _asked(filters: Mapping[str, str]) -> bytes:
    return request(READER, f"/reporting/cases?{urlencode({'open': 'true', 'limit': ROWS, **filters})}")


async def _bare(postgres: asyncpg.Connection, rounds: int) -> float:
    """p99 in ms of the lower bound of a list: its rows by primary key, straight from Postgres."""
    found = [row["id"] for row in await postgres.fetch("select id from cases where open limit $1", ROWS)]
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await postgres.fetch("select * from cases where id = any ($1)", found)
        times.append(time.perf_counter() - began)
    return float(percentiles(times)["p99_ms"])
