"""The advice of a refusal: the command that it names is not refused for the status of the case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest

from shared.case.reasons import Reason, Rejected
from tests.support.law import FACTS, ORDER_SITUATIONS, SITUATIONS, Ask, ask, given, when
from tests.support.law_table import STATUS_REASONS
from tests.unit.test_law_tables import ALL

# The commands that the message of a reason advises: of each group, one must be open to the caller.
ADVISED: dict[Reason, tuple[tuple[str, ...], ...]] = {
    Reason.CASE_CLOSED: (("reopen",),),
    Reason.CASE_MERGED: (("unmerge",),),
    Reason.ALREADY_PROPOSED: (("reopen",), ("decline-reopening",)),
    Reason.CO_HANDLERS_OPEN: (("end-co-handling",),),
    Reason.NOTHING_TO_RULE: (("triage", "assign"),),
    Reason.NOT_SATISFIED: (("send-back",), ("close",)),
    Reason.ALREADY_SUSPENDED: (("resume",),),
    Reason.LATE_UNSEEN: (("declare-overdue",),),
    Reason.HELD: (("release",),),
}
# The words by which a message advises a command. Nobody can do another thing with a case than one of the commands.
COMMAND_WORDS = re.compile(
    r"(?:Reopen|Resume|Suspend|Release|Assign|assign|Declare|Triage|Settle|Close|Withdraw|Decline|Undo|undo)\b"
    r"|Send the case back|take it off"
)


def refusals() -> Iterator[tuple[str, Ask, Reason]]:
    """The refusals by the law: of each command in each situation, and of each line of the decision tables."""
    walked = [(situation, ask(name)) for situation, name in product(SITUATIONS | ORDER_SITUATIONS, FACTS)]
    for situation, request in (*walked, *((line.situation, line.request) for line in ALL)):
        if (request.command.address.kind == "order") is not (situation in ORDER_SITUATIONS):
            continue
        verdict = when(given(situation), request.command)
        if isinstance(verdict, Rejected):
            yield situation, request, verdict.reason


def test_an_advised_command_is_not_refused_for_the_status() -> None:
    wrong, reached = [], set()
    for situation, request, reason in refusals():
        for group in ADVISED.get(reason, ()):
            verdicts = [when(given(situation), ask(advised).command) for advised in group]
            reached.add(reason)
            if all(isinstance(v, Rejected) and v.reason in STATUS_REASONS | {Reason.NOT_REGISTERED} for v in verdicts):
                wrong.append(f"{situation}: {request.name}, refused with {reason.code}, advises {' or '.join(group)}")
    assert not wrong, "\n".join(wrong)
    assert reached == {*ADVISED}


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.code)
def test_a_message_that_advises_a_command_stands_in_the_table(reason: Reason) -> None:
    assert bool(COMMAND_WORDS.search(reason.message)) is (reason in ADVISED), reason.message
