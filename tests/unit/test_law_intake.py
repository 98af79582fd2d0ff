"""Intake's decisions as a table: in which situation what is asked, and which status or reason comes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from shared.case.commands import COMMANDS
from shared.case.lifecycle import Status
from shared.case.reasons import Reason
from tests.support.law import (
    ANSWER,
    CASE,
    CONTACT,
    COUNTY,
    DESK_UNIT,
    FACTS,
    KIN,
    NEIGHBOUR,
    START,
    VILLAGE,
    Row,
    check_row,
    given,
    lines,
    row,
)

S, R = Status, Reason

EARLY, LATE = CONTACT - timedelta(seconds=1), START + timedelta(seconds=1)

TABLE: tuple[Row, ...] = (
    # the birth of a case
    row("unborn", "register", S.AWAITING_TRIAGE, clause="5.1.3a 11.1"),
    row("unborn", "register", S.SETTLED, clause="8.2a", **ANSWER),
    row("unborn", "register", S.AWAITING_TRIAGE, handed_by=COUNTY, clause="5.1.1i"),
    row("unborn", "register", R.NOT_ABOVE, handed_by=VILLAGE, clause="5.1.1i"),
    row("unborn", "register", S.AWAITING_TRIAGE, hold="import"),
    row("unborn", "register", R.HELD, hold="legal"),
    row("unborn", "register", R.WRONG_REGION, region=NEIGHBOUR, clause="4"),
    row("unborn", "register", R.CONTACT_AFTER_REGISTRATION, contact_time=LATE, clause="11.1"),
    row("unborn", "register", R.UNIT_COMPLAINED_OF, complained_unit=DESK_UNIT, **ANSWER, clause="8.1f 12.3"),
    row("unborn", "register", S.AWAITING_TRIAGE, complained_unit=DESK_UNIT),
    row("unborn", "register", R.MUST_STAND_ASIDE, first_asked=KIN, **ANSWER),
    row("unborn", "register", S.AWAITING_TRIAGE, first_asked=KIN, clause="11.1"),
    row("registered", "register", R.ALREADY_REGISTERED),
    row("erased", "register", R.ALREADY_REGISTERED),
    row("unborn", "supplement", R.NOT_REGISTERED),
    # more of the same demand
    row("registered", "supplement", S.AWAITING_TRIAGE),
    row("settled", "supplement", S.SETTLED),
    row("registered", "supplement", R.BEFORE_CASE, at=EARLY),
    row("registered", "supplement", S.AWAITING_TRIAGE, at=CONTACT),
    row("closed", "supplement", R.CASE_CLOSED),
    row("erased", "supplement", R.ERASED, clause="9.4b"),
    row("handled", "correct", S.HANDLING),
    row("closed", "correct", S.CLOSED),
    row("declined", "correct", S.DECLINED),
    row("withdrawn", "correct", S.WITHDRAWN),
    row("merged", "correct", R.CASE_CLOSED),
    row("split", "correct", R.CASE_CLOSED),
    row("registered", "correct", R.NOTHING_CORRECTED, severity=None),
    row("registered", "correct", S.AWAITING_TRIAGE, severity=None, matter={"title": "Gas", "text": "No gas."}),
    # a repeat joins an open case
    row("registered", "attach", S.AWAITING_TRIAGE),
    row("handled", "attach", S.HANDLING, merged_from=None),
    row("settled", "attach", S.SETTLED),
    row("registered", "attach", R.SAME_CASE, merged_from=CASE),
    row("registered", "attach", R.CONTACT_AFTER_REGISTRATION, contact_time=LATE),
    row("closed", "attach", R.CASE_CLOSED),
    row("merged", "attach", R.CASE_CLOSED),
    # the resident's own word
    row("registered", "withdraw", S.WITHDRAWN),
    row("handled", "withdraw", S.WITHDRAWN),
    row("settled", "withdraw", R.WRONG_STATUS),
    row("settled", "call-back", S.SETTLED),
    row("closed", "call-back", S.CLOSED),
    row("handled", "call-back", R.WRONG_STATUS),
    row("settled", "rate", S.SETTLED, clause="12.3"),
    row("closed", "rate", S.CLOSED, clause="12.3"),
    row("withdrawn", "rate", R.CASE_CLOSED),
)


@lines(TABLE)
def test_intake_decides(line: Row) -> None:
    check_row(line)


def test_a_repeat_adds_its_people_and_changes_nothing_else_of_the_demand() -> None:
    before, after = given("registered"), given("absorbed another")
    assert (after.repeats, after.people_count) == (1, before.people_count + 1)
    same = ("first_asked", "first_asked_unit", "contact_time", "channel", "nature", "complained_unit", "stand_aside")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]


def test_a_call_that_nobody_answered_takes_no_rating_back() -> None:
    assert given("settled, not satisfied, not reached again").satisfaction.value == "dissatisfied"


SAYS_WHY = ["withdraw", "decline", "hand-back", "rule", "transfer", "end-co-handling", "send-back", "reopen", "extend"]
SAYS_WHY += [
    "refuse-extension",
    "suspend",
    "refuse-pause",
    "escalate",
    "urge",
    "hold",
    "refuse-answer",
    "withdraw-order",
]


@pytest.mark.parametrize("name", SAYS_WHY)
@pytest.mark.parametrize("note", [None, {"text": ""}, {}])
def test_a_no_without_a_reason_in_words_cannot_even_be_asked(name: str, note: object) -> None:
    facts = COMMANDS[name].facts
    assert facts.model_validate(FACTS[name])
    with pytest.raises(ValidationError):
        facts.model_validate(FACTS[name] | {"note": note})
