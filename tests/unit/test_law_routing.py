"""Routing's decisions as a table: who has a case and what they do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.case.lifecycle import IN_PROGRESS, Status
from shared.case.reasons import Reason, Rejected
from shared.case.state import CoHandler
from tests.support.law import (
    CASE,
    CO,
    COMPLAINED,
    HOUSING,
    KIN,
    LABOUR,
    LI,
    START,
    TOWNSHIP,
    WANG,
    WATER,
    WHERE,
    ZHANG,
    accepted,
    after,
    ask,
    given,
    refused,
    then,
    when,
)
from tests.support.law_table import Row, check_row, lines, row

S, R = Status, Reason

_ONE_MATTER_TOO_MANY = {"matters": [{"title": "t", "text": "t"}] * 3}

TABLE: tuple[Row, ...] = (
    # triage
    row("unborn", "triage", R.NOT_REGISTERED),
    row("registered", "triage", S.TRIAGED, clause="5.1.3a"),
    row("triaged", "triage", S.TRIAGED),
    row("registered", "triage", R.UNIT_TWICE, co_units=(HOUSING,), clause="5.1.1b"),
    row("registered", "triage", R.UNIT_COMPLAINED_OF, unit=COMPLAINED, clause="8.1f 12.3"),
    row("registered", "triage", R.UNIT_COMPLAINED_OF, co_units=(COMPLAINED,), clause="8.1f 12.3"),
    row("assigned", "triage", R.WRONG_STATUS),
    row("registered", "decline", S.DECLINED),
    row("triaged", "decline", S.DECLINED),
    row("registered", "decline", R.BASIS_MISSING, legal_path=" "),
    row("registered", "decline", S.DECLINED, reason="invalid", legal_path=""),
    row("assigned", "decline", R.WRONG_STATUS),
    row("registered", "split", S.SPLIT),
    row("triaged", "split", S.SPLIT),
    row("registered", "split", R.PARTS_DIFFER, matters=_ONE_MATTER_TOO_MANY),
    row("handled", "split", R.WRONG_STATUS),
    # a repeat goes on in the other case
    row("registered", "merge", S.MERGED),
    row("handled", "merge", S.MERGED),
    row("settled", "merge", R.WRONG_STATUS),
    row("registered", "merge", R.SAME_CASE, into=CASE),
    row("absorbed another", "merge", S.MERGED, into="00000000-0000-0000-0000-000000000009"),
    # one responsible unit
    row("triaged", "assign", S.ASSIGNED, clause="5.1.3a"),
    row("triaged", "assign", S.ASSIGNED, **CO, clause="5.1.1b"),
    row("registered", "assign", R.WRONG_STATUS, clause="5.1.3a"),
    row("triaged", "assign", R.UNIT_TWICE, unit=WATER, **CO, clause="5.1.1b"),
    row("triaged", "assign", R.UNIT_COMPLAINED_OF, unit=COMPLAINED, clause="8.1f 12.3"),
    row("triaged", "assign", R.UNIT_COMPLAINED_OF, co_units=(WATER, COMPLAINED), clause="8.1f 12.3"),
    row("handled", "assign", R.UNIT_COMPLAINED_OF, unit=COMPLAINED, clause="8.1f 12.3"),
    row("assigned", "assign", R.SAME_UNIT),
    row("assigned", "assign", S.ASSIGNED, unit=LABOUR),
    row("assigned", "assign", S.ASSIGNED, **CO, clause="5.1.1b"),
    row("handled", "assign", S.HANDLING, **CO, clause="5.1.1b"),
    row("handled", "assign", S.ASSIGNED, unit=LABOUR, **CO),
    row("co-handled", "assign", S.HANDLING, clause="5.1.1b"),
    row("co-handled", "assign", R.SAME_UNIT, **CO),
    row("ruled, then more co-handlers", "assign", S.ASSIGNED),
    row("settled", "assign", R.WRONG_STATUS, **CO),
    row("settled", "assign", R.WRONG_STATUS, unit=LABOUR),
    row("closed", "assign", R.CASE_CLOSED),
    # one responsible person
    row("assigned", "sign-for", S.HANDLING, clause="5.1.3a"),
    row("assigned", "sign-for", S.HANDLING, person=ZHANG),
    row("assigned", "sign-for", R.MUST_STAND_ASIDE, person=KIN),
    row("assigned", "sign-for", R.NOT_RESPONSIBLE_UNIT, unit=LABOUR, clause="5.1.3a"),
    row("handled", "sign-for", R.WRONG_STATUS, clause="5.1.3a"),
    row("handled", "sign-for", R.WRONG_STATUS, person=WANG),
    row("triaged", "sign-for", R.WRONG_STATUS),
    row("assigned with a co-handler", "sign-for", S.ASSIGNED, unit=WATER, clause="5.1.1b"),
    row("co-handled", "sign-for", S.HANDLING, unit=WATER, clause="5.1.1b"),
    row("co-handled", "sign-for", R.MUST_STAND_ASIDE, unit=WATER, person=KIN),
    row("co-handled, co-handler signed", "sign-for", R.SAME_PERSON, unit=WATER, person=WANG),
    row("co-handled, co-handler signed", "sign-for", R.WRONG_STATUS, unit=WATER, person=LI),
    row("handled", "reassign", S.HANDLING, clause="5.1.3a"),
    row("handled", "reassign", R.SAME_PERSON, person=LI),
    row("handled", "reassign", R.MUST_STAND_ASIDE, person=KIN),
    row("handled", "reassign", R.NOT_RESPONSIBLE_UNIT, unit=LABOUR),
    row("assigned", "reassign", R.WRONG_STATUS),
    row("co-handled", "reassign", R.WRONG_STATUS, unit=WATER),
    row("co-handled, co-handler signed", "reassign", S.HANDLING, unit=WATER, person=LI, clause="5.1.1b"),
    row("co-handled, co-handler signed", "reassign", R.SAME_PERSON, unit=WATER, person=WANG),
    row("co-handled, co-handler taken off", "reassign", R.NOT_RESPONSIBLE_UNIT, unit=WATER),
    # not our remit
    row("assigned", "hand-back", S.AWAITING_TRIAGE, clause="5.1.1c"),
    row("handled", "hand-back", S.AWAITING_TRIAGE, clause="5.1.1c"),
    row("co-handled", "hand-back", R.NOT_RESPONSIBLE_UNIT, unit=WATER),
    row("triaged", "hand-back", R.WRONG_STATUS),
    row("settled", "hand-back", R.WRONG_STATUS),
    row("ruled", "hand-back", R.HAND_BACK_REFUSED, clause="5.1.1c"),
    row("ruled, then more co-handlers", "hand-back", R.HAND_BACK_REFUSED, clause="5.1.1c"),
    row("ruled, then reassigned elsewhere", "hand-back", S.AWAITING_TRIAGE, unit=LABOUR, clause="5.1.1c"),
    row("designated", "hand-back", R.HAND_BACK_REFUSED, clause="5.1.1c"),
    row("handed back", "rule", S.ASSIGNED, clause="5.1.1c"),
    row("handed back", "rule", R.UNIT_COMPLAINED_OF, unit=COMPLAINED, clause="8.1f 12.3"),
    row("handed back", "rule", R.UNIT_TWICE, co_units=(WATER, WATER), clause="5.1.1b"),
    row("ruled", "rule", S.ASSIGNED, unit=LABOUR, clause="5.1.1c"),
    row("triaged", "rule", R.NOTHING_TO_RULE),
    row("settled", "rule", R.WRONG_STATUS),
    # up, down and across the tree
    row("registered", "transfer", S.AWAITING_TRIAGE, clause="4"),
    row("handled", "transfer", S.AWAITING_TRIAGE, clause="4"),
    row("registered", "transfer", R.SAME_CENTRE, to=TOWNSHIP, clause="4"),
    row("settled", "transfer", R.WRONG_STATUS),
    # what they do
    row("handled", "progress", S.HANDLING, clause="5.1.2a"),
    row("co-handled", "progress", S.HANDLING, unit=WATER),
    row("handled", "progress", R.NOT_RESPONSIBLE_UNIT, unit=LABOUR),
    row("assigned", "progress", R.WRONG_STATUS, clause="5.1.3a"),
    row("assigned with a co-handler", "co-report", S.ASSIGNED, clause="5.1.1b"),
    row("co-handled", "co-report", S.HANDLING, clause="5.1.1b"),
    row("co-handled", "co-report", R.NOT_CO_HANDLING, unit=HOUSING),
    row("co-handled, co-handler reported", "co-report", R.ALREADY_REPORTED, clause="5.1.1b"),
    row("co-handled, co-handler taken off", "co-report", R.NOT_CO_HANDLING),
    row("assigned with a co-handler", "end-co-handling", S.ASSIGNED, clause="5.1.1b"),
    row("co-handled, co-handler reported", "end-co-handling", S.HANDLING, clause="5.1.1b"),
    row("handled", "end-co-handling", R.NOT_CO_HANDLING),
    row("handled", "settle", S.SETTLED, clause="5.1.3a"),
    row("assigned", "settle", R.WRONG_STATUS, clause="5.1.3a"),
    row("handled", "settle", R.BASIS_MISSING, basis="", clause="5.1.3a"),
    row("handled", "settle", R.BASIS_MISSING, basis=" ", clause="5.1.3a"),
    row("co-handled", "settle", R.CO_HANDLERS_OPEN, clause="5.1.1b"),
    row("co-handled, co-handler signed", "settle", R.CO_HANDLERS_OPEN, clause="5.1.1b"),
    row("co-handled, co-handler reported", "settle", S.SETTLED, clause="5.1.1b"),
    row("co-handled, co-handler taken off", "settle", S.SETTLED, clause="5.1.1b"),
    # the end, and after it
    row("settled", "send-back", S.HANDLING),
    row("answered on the spot", "send-back", S.AWAITING_TRIAGE, clause="8.2a"),
    row("handled", "send-back", R.WRONG_STATUS),
    row("settled", "close", S.CLOSED),
    row("answered on the spot", "close", S.CLOSED, clause="8.2a"),
    row("settled, not satisfied", "close", R.NOT_SATISFIED, clause="12.3"),
    row("settled, not satisfied, not reached again", "close", R.NOT_SATISFIED, clause="12.3"),
    row("settled, unsolved", "close", R.NOT_SATISFIED),
    row("settled, not satisfied", "close", S.CLOSED, basis="petitions regulation, 36"),
    row("handled", "close", R.WRONG_STATUS),
    row("closed", "close", R.CASE_CLOSED),
    # the resident of a closed case is not satisfied
    row("closed", "propose-reopening", S.CLOSED, clause="12.3"),
    row("closed, reopening proposed", "propose-reopening", R.ALREADY_PROPOSED, clause="12.3"),
    row("closed, reopening declined", "propose-reopening", S.CLOSED, clause="12.3"),
    row("settled", "propose-reopening", R.WRONG_STATUS),
    row("withdrawn", "propose-reopening", R.CASE_CLOSED),
    row("closed, reopening proposed", "decline-reopening", S.CLOSED, clause="12.3"),
    row("closed, reopening declined", "decline-reopening", R.NOT_PROPOSED),
    row("closed", "decline-reopening", R.NOT_PROPOSED),
    row("closed, reopening proposed", "reopen", S.AWAITING_TRIAGE, clause="12.3"),
    row("closed", "reopen", S.AWAITING_TRIAGE, clause="12.3"),
    row("declined", "reopen", S.AWAITING_TRIAGE),
    row("withdrawn", "reopen", S.AWAITING_TRIAGE),
    row("merged", "reopen", R.CASE_MERGED),
    # a wrong merge is undone: the case goes back to where it stood
    *(row("merged", "unmerge", status, status=status.value) for status in IN_PROGRESS),
    row("merged", "unmerge", R.MERGED_AGAIN, merged_at=START - timedelta(hours=1)),
    row("registered", "unmerge", R.WRONG_STATUS),
    row("closed", "unmerge", R.CASE_CLOSED),
    row("split", "reopen", R.CASE_SPLIT),
    row("erased", "reopen", R.ERASED, clause="9.4b"),
    row("settled", "reopen", R.WRONG_STATUS),
)


@lines(TABLE)
def test_routing_decides(line: Row) -> None:
    check_row(line)


@pytest.mark.clause("5.1.1c")
@pytest.mark.parametrize("situation", ["assigned", "handled", "assigned with a co-handler"])
def test_a_hand_back_leaves_the_centre_in_charge_and_nobody_else(situation: str) -> None:
    before = given(situation)
    now = after(before, ask("hand-back"))
    assert now.in_charge == before.in_charge
    assert (now.unit, now.person, now.co_handlers, now.triaged_unit) == (None, None, (), None)
    assert now.hand_backs == 1


@pytest.mark.clause("4")
def test_a_transfer_moves_the_case_and_leaves_its_address() -> None:
    before = given("handled")
    recorded = accepted(before, ask("transfer"))
    now = then(before, recorded)
    assert now.in_charge == recorded.known.to != before.in_charge
    assert (now.region, recorded.address) == (before.region, WHERE)


@pytest.mark.clause("5.1.1b")
def test_a_settled_case_names_the_units_it_waits_for_and_no_more() -> None:
    assert when(given("co-handled"), ask("settle").command) == Rejected(R.CO_HANDLERS_OPEN, WATER)


@pytest.mark.clause("5.1.1b")
def test_another_co_handling_unit_takes_nothing_from_those_at_work() -> None:
    before = given("co-handled, co-handler reported")
    joined = after(before, ask("assign", co_units=(LABOUR, WATER)))
    assert (joined.status, joined.unit, joined.person) == (before.status, before.unit, before.person)
    assert joined.co_handlers == (CoHandler(LABOUR, since=START), *before.co_handlers)
    assert when(joined, ask("settle").command) == Rejected(R.CO_HANDLERS_OPEN, LABOUR)
    assert after(joined, ask("assign", **CO)).co_handlers == before.co_handlers


@pytest.mark.clause("5.1.1b")
def test_who_is_sent_back_reports_again() -> None:
    state = after(given("co-handled, co-handler reported"), ask("settle"), ask("send-back"))
    assert refused(state, ask("settle")) is R.CO_HANDLERS_OPEN
    assert (state.unit, state.person) == (HOUSING, LI)


def test_a_reopened_case_belongs_to_nobody_and_no_ruling_binds_it() -> None:
    state = given("reopened")
    assert (state.unit, state.person, state.co_handlers, state.outcome, state.closed_at) == (None, None, (), None, None)
    assert after(state, ask("triage"), ask("assign"), ask("hand-back")).hand_backs == 1
