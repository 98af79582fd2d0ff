"""The decisions about supervision orders as a table (clause 5.1.1 f; Weifang 12345, article 26)."""

from __future__ import annotations

from shared.case.orders import OrderStatus
from shared.case.reasons import Reason
from tests.support.law import (
    DUE,
    LATER,
    NEIGHBOUR,
    OTHER_CASE,
    START,
    WHERE,
    given,
)
from tests.support.law_table import Row, check_row, lines, row

S, R = OrderStatus, Reason

TABLE: tuple[Row, ...] = (
    row("no order", "issue-order", S.ISSUED, clause="5.1.1f"),
    row("no order", "issue-order", R.WRONG_REGION, region=NEIGHBOUR),
    row("no order", "issue-order", R.SAME_CASE, cases=(WHERE.subject, WHERE.subject)),
    row("no order", "issue-order", R.NOT_LATER, due=START),
    row("no order", "answer-order", R.NOT_REGISTERED),
    row("issued", "issue-order", R.ALREADY_REGISTERED),
    row("issued", "answer-order", S.ANSWERED),
    row("answered", "answer-order", S.ANSWERED),
    row("order refused", "answer-order", S.ANSWERED),
    row("order accepted", "answer-order", R.WRONG_STATUS),
    row("answered", "accept-answer", S.ACCEPTED),
    row("issued", "accept-answer", R.WRONG_STATUS),
    row("answered", "refuse-answer", S.ISSUED),
    row("issued", "refuse-answer", R.WRONG_STATUS),
    row("issued", "declare-order-overdue", S.ISSUED),
    row("order refused", "declare-order-overdue", S.ISSUED),
    row("issued", "declare-order-overdue", R.NOT_YET_DUE, seen_at=DUE),
    row("issued", "declare-order-overdue", R.DEADLINE_MOVED, due=LATER),
    row("order overdue", "declare-order-overdue", R.ALREADY_FIRED),
    row("answered", "declare-order-overdue", R.WRONG_STATUS),
    row("issued", "withdraw-order", S.WITHDRAWN),
    row("answered", "withdraw-order", S.WITHDRAWN),
    row("order withdrawn", "withdraw-order", R.WRONG_STATUS),
    row("issued", "note-case-refusal", S.ISSUED),
    row("answered", "note-case-refusal", S.ANSWERED),
    row("order accepted", "note-case-refusal", S.ACCEPTED),
    row("order withdrawn", "note-case-refusal", S.WITHDRAWN),
    row("issued", "note-case-refusal", R.NOT_REGISTERED, case=OTHER_CASE),
    row("order with a refusing case", "note-case-refusal", R.ALREADY_REPORTED),
)


@lines(TABLE)
def test_an_order_is_decided(line: Row) -> None:
    check_row(line)


def test_an_order_stays_what_was_issued() -> None:
    issued, later = given("issued"), given("order refused")
    demanded = ("kind", "region", "unit", "cases", "due")
    assert [getattr(later, name) for name in demanded] == [getattr(issued, name) for name in demanded]
