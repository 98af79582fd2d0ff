"""The row declarations of read models say what the migrations make: names, types, order of nothing but the columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import pytest

from infra.servers.composition import migrations
from infra.servers.services import BY_OWNER
from services.reporting.read_model import CaseRow, OrderRow
from services.routing.read_model import WorkRow
from services.supervision.read_model import MomentRow, WatchedRow
from shared.case.base import Owner
from shared.kit.rows import columns_of
from shared.kit.sql import migrate

ROWS: tuple[tuple[Owner, str, Any], ...] = (
    (Owner.ROUTING, "work", WorkRow),
    (Owner.SUPERVISION, "watched", WatchedRow),
    (Owner.SUPERVISION, "moments", MomentRow),
    (Owner.REPORTING, "cases", CaseRow),
    (Owner.REPORTING, "orders", OrderRow),
)


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "table", "row"), ROWS, ids=[row.__name__ for _, _, row in ROWS])
async def test_a_row_is_what_its_table_is(database: Mapping[str, str], owner: Owner, table: str, row: Any) -> None:
    for schema, role, folder in migrations():
        if schema in ("kit", owner):
            await migrate(database["admin"], schema, role, folder)
    connection = await asyncpg.connect(database[owner])
    try:
        types = await connection.fetch(
            "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
            " where attrelid = $1::regclass and attnum > 0 and not attisdropped",
            f"{owner}.{table}",
        )
        declared = {name: column.type for name, column in columns_of(row).items()}
        assert declared == {record["attname"]: record["type"] for record in types}
        for statement in BY_OWNER[owner].statements.values():
            await connection.execute(f"set search_path = {owner}, public")
            if f"insert into {table} (" in statement:
                await connection.prepare(statement)
    finally:
        await connection.close()
