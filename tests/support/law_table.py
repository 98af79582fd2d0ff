"""Decision tables: in this situation, this is asked, and this comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from shared.case.commands import COMMANDS
from shared.case.decide import Accepted
from shared.case.lifecycle import Status
from shared.case.orders import OrderStatus
from shared.case.reasons import Reason, Rejected
from shared.case.state import variant
from tests.support.law import CHIEF, START, TOWNSHIP, Ask, event, given, then, when


@dataclass(frozen=True)
class Row:
    """One line of a decision table: in this situation, this is asked, and this comes of it (proving which clauses)."""

    situation: str
    asked: Ask
    then: Status | OrderStatus | Reason
    clauses: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return COMMANDS[self.asked.name].kind

    def __str__(self) -> str:
        asked = self.asked
        facts = asked.facts | ({"by": asked.by} if asked.by != CHIEF else {})
        facts |= {"at": asked.at - START} if asked.at != START else {}
        changed = ", ".join(f"{name}={_short(value)}" for name, value in facts.items())
        return f"{self.situation}: {self.asked.name}({changed}) -> {self.then.name.lower()}"


def _short(value: Any) -> str:
    return str(getattr(value, "value", value)).replace(TOWNSHIP, "")[:40]


def row(
    situation: str,
    name: str,
    then: Status | OrderStatus | Reason,
    /,
    *,
    clause: str = "",
    by: str = CHIEF,
    at: datetime = START,
    **facts: Any,
) -> Row:
    """A line; `clause` names the clauses that it proves, separated by spaces."""
    return Row(situation, Ask(name, facts, by, at), then, tuple(clause.split()))


def lines(table: tuple[Row, ...]) -> pytest.MarkDecorator:
    """A table as the parameters of a test, each line named by itself and marked with its clauses."""
    marked = [pytest.param(one, id=str(one), marks=[pytest.mark.clause(c) for c in one.clauses]) for one in table]
    return pytest.mark.parametrize("line", marked)


def check_row(line: Row) -> None:
    """Run one line; an accepted command is asked twice, and the second time nothing new comes of it."""
    before = given(line.situation)
    command = line.asked.command
    verdict = when(before, command)
    if isinstance(line.then, Reason):
        assert isinstance(verdict, Rejected), f"accepted, though the table says {line.then}"
        assert verdict.reason is line.then
        return
    assert isinstance(verdict, Accepted), f"refused: {verdict}"
    assert verdict.recorded is not None
    assert type(verdict.recorded.event) is COMMANDS[line.asked.name].event
    now = then(before, verdict.recorded)
    assert now.status is line.then
    assert when(now, command) == Accepted(None)


def transition_of(line: Row) -> tuple[Any, ...]:
    """The key of the transition that an accepted line makes, in the table of a case or of an order."""
    before = given(line.situation)
    made = event(line.asked)
    return (before.status, type(made), variant(made, before)) if line.kind == "case" else (before.status, type(made))
