"""Preconditions: which decision replaces another, how If-Match is read, and when a command is refused for it."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from shared.case.commands import COMMANDS, Replaces
from shared.case.decide import Accepted
from shared.case.replacement import replaces
from shared.kit.preconditions import (
    UNCHECKED,
    UNSTATED,
    Precondition,
    Unmet,
    entity_tag,
    judged,
    read_if_match,
)
from shared.kit.problems import BadRequest
from tests.support import law
from tests.support.law import DUE, LABOUR, Ask, ask, given

# The decision table: where a command finds a decision that it replaces, and where it is the first of its kind.
TABLE: dict[str, tuple[Ask, bool]] = {
    "registered, triage": (ask("triage"), False),
    "triaged, triage": (ask("triage"), True),
    "handed back, triage": (ask("triage"), False),
    "registered, decline": (ask("decline"), False),
    "triaged, decline": (ask("decline"), True),
    "triaged, split": (ask("split"), True),
    "triaged, assign": (ask("assign"), False),
    "assigned, assign": (ask("assign", unit=LABOUR), True),
    "assigned with a co-handler, end-co-handling": (ask("end-co-handling"), True),
    "handed back, rule": (ask("rule"), False),
    "ruled, rule": (ask("rule", unit=LABOUR), True),
    "registered, transfer": (ask("transfer"), False),
    "triaged, transfer": (ask("transfer"), True),
    "escalated, transfer": (ask("transfer"), True),
    "assigned, sign-for": (ask("sign-for"), False),
    "assigned, hand-back": (ask("hand-back"), False),
    "handled, hand-back": (ask("hand-back"), True),
    "handled, reassign": (ask("reassign"), True),
    "handled, settle": (ask("settle"), False),
    "sent back, settle": (ask("settle"), True),
    "settled, send-back": (ask("send-back"), True),
    "settled, close": (ask("close"), False),
    "closed, reopen": (ask("reopen"), True),
    "registered, correct": (ask("correct"), True),
    "extension asked, extend": (ask("extend"), False),
    "clocked, bounded, extended, extend": (ask("extend", due=DUE + timedelta(days=2)), True),
    "clocked, bounded, extended, refuse-extension": (ask("refuse-extension"), True),
    "pause asked, suspend": (ask("suspend"), False),
    "clocked, bounded, paused, suspend": (ask("suspend", until=DUE), True),
    "suspended, resume": (ask("resume"), True),
    "clocked, bounded, paused, refuse-pause": (ask("refuse-pause"), True),
    "registered, escalate": (ask("escalate"), False),
    "escalated, escalate": (ask("escalate"), True),
    "escalated, hand-down": (ask("hand-down"), True),
    "closed and held, release": (ask("release"), True),
    "issued, answer-order": (ask("answer-order"), False),
    "answered, accept-answer": (ask("accept-answer"), False),
    "answered, refuse-answer": (ask("refuse-answer"), True),
    "issued, withdraw-order": (ask("withdraw-order"), True),
}
# What is added stands beside what others have decided.
ADDS = (
    "register supplement attach withdraw call-back rate sign-for progress co-report close request-extension "
    "request-pause urge hold erase issue-order answer-order accept-answer"
).split()
OLD, NOW = law.given("registered"), law.given("triaged")


@pytest.mark.parametrize(("row", "request_", "expected"), [(row, *line) for row, line in TABLE.items()], ids=TABLE)
def test_a_command_replaces_a_decision_that_stands_and_the_first_of_its_kind_replaces_none(
    row: str, request_: Ask, expected: bool
) -> None:
    situation = row.rpartition(", ")[0]
    assert row.rpartition(", ")[2] == request_.name
    assert replaces(request_.command, given(situation)) is expected


def test_every_command_that_may_replace_a_decision_does_so_in_a_line_of_the_table() -> None:
    reached = {request.name for request, expected in TABLE.values() if expected}
    assert {name for name, spec in COMMANDS.items() if spec.replaces} == reached
    assert {COMMANDS[name].replaces for name in reached} == set(Replaces) - {Replaces.NOTHING}
    assert all(COMMANDS[name].replaces is Replaces.NOTHING for name in ADDS)


def test_only_what_people_may_send_replaces_a_decision() -> None:
    """The services decide on the newest state and have read it."""
    assert all(spec.offered for spec in COMMANDS.values() if spec.replaces)


LINES: dict[str, tuple[list[str], Precondition]] = {
    "one tag": (['"12"'], Precondition(frozenset(['"12"']))),
    "a list": (['"12", "13"'], Precondition(frozenset(['"12"', '"13"']))),
    "two lines": (['"12"', '"13"'], Precondition(frozenset(['"12"', '"13"']))),
    "empty items": ([', "12",, '], Precondition(frozenset(['"12"']))),
    "a comma in a tag": (['"1,2"'], Precondition(frozenset(['"1,2"']))),
    "a weak tag": (['W/"12"'], Precondition(frozenset(['W/"12"']))),
    "any": ([" * "], Precondition(anything=True)),
}


@pytest.mark.parametrize(("lines", "expected"), LINES.values(), ids=LINES)
def test_if_match_is_read_as_its_rfc_says(lines: list[str], expected: Precondition) -> None:
    assert read_if_match(lines) == expected


@pytest.mark.parametrize(
    "lines", [[""], [","], ["12"], ['"12'], ['w/"12"'], ['"12" "13"'], ['*, "12"'], ["*", "*"], ['"1\x00"'],
              ['"1",' * 1000 + "x"]],
)  # fmt: skip
def test_an_if_match_that_is_none_is_refused_with_an_advice(lines: list[str]) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_if_match(lines)
    assert refusal.value.problem.code == "precondition.malformed"
    assert 'If-Match: "12"' in refusal.value.problem.advice


def test_blanks_of_an_if_match_are_read_once() -> None:
    begin = time.process_time()
    with pytest.raises(BadRequest):
        read_if_match(['"1",' + " " * 60_000 + "x"])
    assert time.process_time() - begin < 1, "a run that is tried anew for each of its blanks takes 20 s"


HOLDS: dict[str, tuple[str, bool]] = {
    "this state": ('"2"', True),
    "this state, read without its content": ('"2f"', True),
    "an older state": ('"1"', False),
    "one of several": ('"1", "2"', True),
    "weakly this state": ('W/"2"', False),
    "a tag of somebody else": ('"abc"', False),
    "any state": ("*", True),
}


@pytest.mark.parametrize(("text", "expected"), HOLDS.values(), ids=HOLDS)
def test_a_strong_tag_of_the_state_is_met(text: str, expected: bool) -> None:
    assert read_if_match([text]).holds(2) is expected


def test_any_state_is_no_state_where_there_is_none() -> None:
    assert not Precondition(anything=True).holds(0)
    assert UNCHECKED.holds(0)


ANEW, SUPPLEMENT, WRONG = ask("triage").command, ask("supplement").command, ask("settle").command
JUDGED: dict[str, tuple[object, Precondition, Unmet | None]] = {
    "triage anew without If-Match": (ANEW, UNSTATED, Unmet(stated=False)),
    "triage anew with the state": (ANEW, Precondition(frozenset([entity_tag(2)])), None),
    "triage anew with the state before": (ANEW, Precondition(frozenset([entity_tag(1)])), Unmet(stated=True)),
    "triage anew, whatever stands": (ANEW, Precondition(anything=True), None),
    "triage anew by a service": (ANEW, UNCHECKED, None),
    "a supplement without If-Match": (SUPPLEMENT, UNSTATED, None),
    "a supplement with the state before": (SUPPLEMENT, Precondition(frozenset(['"1"'])), Unmet(stated=True)),
    "refused by the law, without If-Match": (WRONG, UNSTATED, None),
    "refused by the law, with the state before": (WRONG, Precondition(frozenset(['"1"'])), Unmet(stated=True)),
}


@pytest.mark.parametrize(("command", "precondition", "expected"), JUDGED.values(), ids=JUDGED)
def test_a_command_is_refused_for_what_it_has_not_read(
    command: object, precondition: Precondition, expected: Unmet | None
) -> None:
    assert judged(law.when(NOW, command), command, NOW, precondition) == expected  # type: ignore[arg-type]


def test_a_command_that_was_applied_before_has_no_precondition() -> None:
    verdict = law.when(OLD, ANEW)
    assert isinstance(verdict, Accepted)
    assert verdict.recorded is not None
    state = law.then(OLD, verdict.recorded)
    assert judged(law.when(state, ANEW), ANEW, state, Precondition(frozenset([entity_tag(1)]))) is None
    assert judged(law.when(state, ANEW), ANEW, state, UNSTATED) is None


def test_the_newest_state_that_was_read_is_named_by_the_tags() -> None:
    assert read_if_match(['W/"3", "7f", "x", "5"']).version_read == 7
    assert read_if_match(['"x"']).version_read == 0
