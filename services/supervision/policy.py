"""What supervision wants to happen: each case of an order hears of it; one that refuses is noted on the order."""

from __future__ import annotations

from collections.abc import Sequence

from shared.case import events as e
from shared.case.base import Address
from shared.case.commands import facts
from shared.case.reasons import Rejected
from shared.kit.pure import Next, Reaction, Seen


def tell_the_cases(seen: Seen) -> Sequence[Next]:
    """One `ordered` per case of a new order (clause 5.1.1 f)."""
    event, order = seen.recorded.event, seen.recorded.address
    assert isinstance(event, e.OrderIssued)
    said = facts("order", order=order.id, kind=event.kind, due=event.due)
    return [Next(Address.parse(subject), "order", said) for subject in event.cases]


def note_refusal(seen: Seen, wanted: Next, outcome: Rejected) -> Sequence[Next]:
    """The order knows which of its cases it does not reach, and why."""
    said = facts("note-case-refusal", case=wanted.address.subject, reason=outcome.reason.code)
    return [Next(seen.recorded.address, "note-case-refusal", said, what=wanted.address.subject)]


REACTIONS: tuple[Reaction, ...] = (
    Reaction("supervision.tell_the_cases", frozenset({"order.issued"}), tell_the_cases, refused=note_refusal),
)
