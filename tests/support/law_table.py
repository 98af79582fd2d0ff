"""Decision tables of the law: a situation, a request, and the expected status or reason."""

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

# The reasons by which the status alone refuses a command.
STATUS_REASONS = frozenset({Reason.WRONG_STATUS, Reason.CASE_CLOSED, Reason.CASE_MERGED, Reason.CASE_SPLIT})


@dataclass(frozen=True)
class Row:
    """A line of a decision table: situation, request, expected status or reason, and the clauses that it proves."""

    situation: str
    request: Ask
    then: Status | OrderStatus | Reason
    clauses: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return COMMANDS[self.request.name].kind

    def __str__(self) -> str:
        request = self.request
        facts = request.facts | ({"by": request.by} if request.by != CHIEF else {})
        facts |= {"at": request.at - START} if request.at != START else {}
        changed = ", ".join(f"{name}={_short(value)}" for name, value in facts.items())
        return f"{self.situation}: {self.request.name}({changed}) -> {self.then.name.lower()}"


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
    """A table as the parameters of a test. The id of a parameter is the text of the line; its marks are the clauses."""
    marked = [pytest.param(line, id=str(line), marks=[pytest.mark.clause(c) for c in line.clauses]) for line in table]
    return pytest.mark.parametrize("line", marked)


def check_row(line: Row) -> None:
    """Run one line. An accepted command is sent twice, and the second time adds no event."""
    before = given(line.situation)
    command = line.request.command
    verdict = when(before, command)
    if isinstance(line.then, Reason):
        assert isinstance(verdict, Rejected), f"accepted, though the table says {line.then}"
        assert verdict.reason is line.then
        return
    assert isinstance(verdict, Accepted), f"refused: {verdict}"
    assert verdict.recorded is not None
    assert type(verdict.recorded.event) is COMMANDS[line.request.name].event
    now = then(before, verdict.recorded)
    assert now.status is line.then
    assert when(now, command) == Accepted(None)


def transition_of(line: Row) -> tuple[Any, ...]:
    """The key of the transition of an accepted line, in the table of a case or of an order."""
    before = given(line.situation)
    made = event(line.request)
    return (before.status, type(made), variant(made, before)) if line.kind == "case" else (before.status, type(made))
