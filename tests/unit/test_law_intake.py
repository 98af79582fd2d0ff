"""Intake's decisions as a table: in which situation what is asked, and which status or reason comes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from pydantic import ValidationError

from shared.case.commands import COMMANDS
from shared.case.decide import Accepted, decide
from shared.case.lifecycle import Status
from shared.case.reasons import Reason, Rejected
from tests.support.law import (
    ANSWER,
    CASE,
    COMPLAINED,
    CONTACT,
    COUNTY,
    DESK_UNIT,
    FACTS,
    HOUSING,
    KIN,
    LABOUR,
    LI,
    NEIGHBOUR,
    OTHER_CASE,
    START,
    VILLAGE,
    WANG,
    WATER,
    WHERE,
    ZHANG,
    after,
    ask,
    given,
    refused,
)
from tests.support.law_table import Row, check_row, lines, row

S, R = Status, Reason

FIRST_ID, LAST_ID = (f"{x * 8}-{x * 4}-{x * 4}-{x * 4}-{x * 12}" for x in "0f")
EARLY, LATE = CONTACT - timedelta(seconds=1), START + timedelta(seconds=1)

TABLE: tuple[Row, ...] = (
    # the birth of a case
    row("unborn", "register", S.AWAITING_TRIAGE, clause="5.1.3a 11.1"),
    row("unborn", "register", S.SETTLED, clause="8.2a", **ANSWER),
    row("unborn", "register", S.AWAITING_TRIAGE, handed_by=COUNTY, clause="5.1.1i"),
    row("unborn", "register", R.NOT_ABOVE, handed_by=VILLAGE, clause="5.1.1i"),
    row("unborn", "register", S.AWAITING_TRIAGE, hold="import"),
    row("unborn", "register", R.HOLD_AT_REGISTRATION, hold="legal"),
    row("unborn", "register", R.WRONG_REGION, region=NEIGHBOUR, clause="4"),
    row("unborn", "register", R.WRONG_REGION, grid=f"{NEIGHBOUR[:9]}001003", clause="4"),
    row("unborn", "register", S.AWAITING_TRIAGE, grid=f"{VILLAGE}003", clause="4"),
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
    row("merged", "supplement", R.CASE_MERGED),
    row("merged", "supplement", S.MERGED, forwarded_to=OTHER_CASE),
    row("merged", "rate", R.CASE_MERGED),
    row("merged", "rate", S.MERGED, forwarded_to=OTHER_CASE),
    row("registered", "supplement", R.WRONG_STATUS, forwarded_to=OTHER_CASE),
    row("registered", "supplement", S.AWAITING_TRIAGE, from_case=OTHER_CASE),
    row("closed", "supplement", S.CLOSED, from_case=OTHER_CASE),
    row("declined", "supplement", S.DECLINED, from_case=OTHER_CASE),
    row("withdrawn", "supplement", S.WITHDRAWN, from_case=OTHER_CASE),
    row("split", "supplement", S.SPLIT, from_case=OTHER_CASE),
    row("merged", "supplement", R.CASE_MERGED, from_case=OTHER_CASE),
    row("handled", "correct", S.HANDLING),
    row("closed", "correct", S.CLOSED),
    row("declined", "correct", S.DECLINED),
    row("withdrawn", "correct", S.WITHDRAWN),
    row("merged", "correct", R.CASE_MERGED),
    row("split", "correct", R.CASE_SPLIT),
    row("registered", "correct", R.NOTHING_CORRECTED, severity=None),
    row("registered", "correct", S.AWAITING_TRIAGE, severity=None, matter={"title": "Gas", "text": "No gas."}),
    # who is complained of, or must stand aside, may become known later
    row("registered", "correct", S.AWAITING_TRIAGE, severity=None, informant=True),
    row("registered", "correct", S.AWAITING_TRIAGE, severity=None, stand_aside=(LI,)),
    row("registered", "correct", S.AWAITING_TRIAGE, severity=None, complained_unit=COMPLAINED),
    row("registered", "correct", R.COMPLAINS_OF_ANOTHER, complained_unit=LABOUR),
    row("registered", "correct", R.TOO_MANY_ASIDE, stand_aside=tuple(f"person-{n}" for n in range(50))),
    row("triaged, nobody complained of", "correct", R.UNIT_COMPLAINED_OF, complained_unit=WATER, clause="8.1f 12.3"),
    row("co-handled, nobody complained of", "correct", S.HANDLING, complained_unit=LABOUR, clause="8.1f 12.3"),
    row("co-handled, nobody complained of", "correct", R.UNIT_COMPLAINED_OF, complained_unit=HOUSING),
    row("co-handled, nobody complained of", "correct", R.UNIT_COMPLAINED_OF, complained_unit=WATER),
    row("co-handled, nobody complained of", "correct", S.HANDLING, stand_aside=(ZHANG,)),
    row("co-handled, nobody complained of", "correct", R.MUST_STAND_ASIDE, stand_aside=(LI,)),
    row("co-handled, nobody complained of", "correct", R.MUST_STAND_ASIDE, stand_aside=(ZHANG, WANG)),
    row("closed, nobody complained of", "correct", S.CLOSED, complained_unit=HOUSING, stand_aside=(LI,)),
    # a repeat joins an open case
    row("registered", "attach", S.AWAITING_TRIAGE),
    row("handled", "attach", S.HANDLING, merged_from=None, merged_registered_at=None),
    row("settled", "attach", S.SETTLED),
    row("registered", "attach", R.SAME_CASE, merged_from=CASE),
    row("registered", "attach", R.LATER_CASE, merged_registered_at=EARLY),
    row("registered", "attach", R.LATER_CASE, merged_registered_at=START, merged_from=FIRST_ID),
    row("registered", "attach", S.AWAITING_TRIAGE, merged_registered_at=START, merged_from=LAST_ID),
    row("registered", "attach", R.CONTACT_AFTER_REGISTRATION, contact_time=LATE),
    row("co-handled, nobody complained of", "attach", S.HANDLING, complained_unit=LABOUR, clause="8.1f 12.3"),
    row("co-handled, nobody complained of", "attach", R.UNIT_COMPLAINED_OF, complained_unit=WATER),
    row("co-handled, nobody complained of", "attach", R.MUST_STAND_ASIDE, stand_aside=(LI,)),
    row("registered", "attach", R.COMPLAINS_OF_ANOTHER, complained_unit=LABOUR),
    row("closed", "attach", R.CASE_CLOSED),
    row("merged", "attach", R.CASE_MERGED),
    # the resident's own word
    row("registered", "withdraw", S.WITHDRAWN),
    row("handled", "withdraw", S.WITHDRAWN),
    row("settled", "withdraw", R.WRONG_STATUS),
    row("settled", "call-back", S.SETTLED),
    row("closed", "call-back", S.CLOSED),
    row("handled", "call-back", R.WRONG_STATUS),
    row("settled", "call-back", S.SETTLED, contacted=False, satisfaction="unrated"),
    row("settled", "call-back", R.NOT_REACHED, contacted=False),
    row("settled", "call-back", R.NOT_REACHED, contacted=False, satisfaction="unrated", outcome="solved"),
    row("settled", "rate", S.SETTLED, clause="12.3"),
    row("closed", "rate", S.CLOSED, clause="12.3"),
    row("withdrawn", "rate", R.CASE_CLOSED),
)


@lines(TABLE)
def test_intake_decides(line: Row) -> None:
    check_row(line)


def test_a_repeat_adds_its_people_and_changes_nothing_else_of_the_demand() -> None:
    before, now = given("registered"), given("absorbed another")
    assert (now.repeats, now.people_count) == (1, before.people_count + 1)
    same = ("first_asked", "first_asked_unit", "contact_time", "channel", "nature", "complained_unit", "stand_aside")
    assert [getattr(now, name) for name in same] == [getattr(before, name) for name in same]


@pytest.mark.parametrize("half", [{"merged_from": None}, {"merged_registered_at": None}])
def test_a_merged_case_is_named_with_the_time_of_its_registration(half: dict[str, None]) -> None:
    with pytest.raises(ValidationError, match="go together"):
        COMMANDS["attach"].facts.model_validate(FACTS["attach"] | half)


@pytest.mark.parametrize("minutes", [-1, 0, 1])
def test_of_two_cases_one_can_go_on_in_the_other_and_not_both_ways(minutes: int) -> None:
    ours, theirs = (CASE, START), (OTHER_CASE, START + timedelta(minutes=minutes))
    verdicts = [
        decide(
            replace(ask("attach", merged_from=b, merged_registered_at=b_at).command, address=replace(WHERE, id=a)),
            replace(given("registered"), registered_at=a_at),
        )
        for (a, a_at), (b, b_at) in permutations((ours, theirs))
    ]
    assert sorted(isinstance(verdict, Accepted) for verdict in verdicts) == [False, True]


@pytest.mark.parametrize("name", ["correct", "attach"])
def test_from_whom_a_case_is_kept_is_added_to_and_holds_from_then_on(name: str) -> None:
    told = ask(name, complained_unit=COMPLAINED, stand_aside=(KIN, ZHANG), informant=True)
    state = after(given("co-handled, nobody complained of"), ask("correct", stand_aside=(ZHANG,)), told)
    assert (state.complained_unit, state.stand_aside, state.informant) == (COMPLAINED, (ZHANG, KIN), True)
    assert after(state, ask("correct")).stand_aside == (ZHANG, KIN), "what is not said again is not lifted"
    assert refused(state, ask("assign", unit=COMPLAINED)) is R.UNIT_COMPLAINED_OF
    assert refused(state, ask("reassign", person=ZHANG)) is R.MUST_STAND_ASIDE


def test_a_call_that_nobody_answered_takes_no_rating_back() -> None:
    assert given("settled, not satisfied, not reached again").satisfaction.value == "dissatisfied"


SAYS_WHY = [
    "withdraw",
    "decline",
    "hand-back",
    "rule",
    "transfer",
    "end-co-handling",
    "send-back",
    "decline-reopening",
    "reopen",
    "extend",
]
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


def test_who_stated_no_time_is_not_asked_to_correct_one() -> None:
    """Where the server's clock lies behind the case, as once it was ahead and was set right."""
    request = ask("supplement").command
    meta = request.meta.model_copy(update={"time": EARLY, "recorded_at": EARLY})
    verdict = decide(replace(request, meta=meta), given("registered"))
    assert isinstance(verdict, Rejected)
    assert verdict.reason is Reason.CLOCK_BEHIND
