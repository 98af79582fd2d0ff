"""What supervision asks of Postgres."""

from __future__ import annotations

from pathlib import Path

from shared.kit.sql import Statements

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"))
TABLES: tuple[str, ...] = ()
