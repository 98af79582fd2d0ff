"""What supervision asks of Postgres: nothing of its own yet; keys and files go through the kit."""

from __future__ import annotations

from shared.kit.sql import Statements

STATEMENTS = Statements({})
TABLES: tuple[str, ...] = ()
