"""The demands of a command on its caller: a right of the caller's post, and a tie between the caller and the case.

A person has the rights of the post, within the region and the unit of the person. A right allows one kind of act
(clauses 9.4 a and 12.1). The rule that judges right and tie stands in `shared/kit/access.py`.
"""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """The right to one kind of act. A person without `read` sees only the unit's cases and those tied to the person."""

    READ = "read"  # every case of the person's region, with its content
    REGISTER = "register"  # register, supplement, attach a repeat, answer on the spot
    CORRECT = "correct"
    TRIAGE = "triage"  # triage, decline, split, undo a merge
    ASSIGN = "assign"  # lead and co-handling units, rulings on hand-backs, transfers
    SIGN = "sign"  # sign for a case on behalf of the unit, hand it back
    REASSIGN = "reassign"  # give the case to another person of the unit
    HANDLE = "handle"  # progress, settle, ask for extension or pause
    CO_HANDLE = "co_handle"
    CLOSE = "close"  # close, reopen, send back
    CALL_BACK = "call_back"
    EXTEND = "extend"  # grant or refuse an extension
    SUSPEND = "suspend"  # grant or refuse a pause
    ESCALATE = "escalate"
    HAND_DOWN = "hand_down"
    URGE = "urge"
    ORDER = "order"
    HOLD = "hold"  # place a legal hold, request its release, approve the request of another person
    ERASE = "erase"  # request the erasure of content, approve the request of another person
    EXPORT = "export"
    WEBHOOK = "webhook"  # register webhooks for the feed items of the region
    NOTIFY = "notify"  # a gateway for text messages: reads the reporter's number for each notice, and nothing else
    AUDIT = "audit"  # every flow fact of the region and the record of readings, but no content
    OPERATE = "operate"  # parked messages, rebuilds, health
    ADMIN = "admin"  # reference documents: posts, people, rules


class Tie(StrEnum):
    """A bond between the caller and the case or order, which a command demands beside the right."""

    REGION = "region"  # the region that the facts name lies in the caller's
    CENTRE = "centre"  # the centre in charge lies in the caller's region
    SEES = "sees"  # the caller may see the case
    UNIT = "unit"  # the caller's unit is the responsible one, or the co-handling one that the facts name
    NAMED_UNIT = "named_unit"  # the caller acts for the own unit, or for a unit of the own centre
    ORDER_UNIT = "order_unit"  # the caller's unit is the one that the order is for
    ORDER_CENTRE = "order_centre"  # the order was issued in the caller's region


# Administrator, operator and auditor are three people, and none of them handles cases (clause 9.5 b).
SEPARATED = frozenset({Right.ADMIN, Right.OPERATE, Right.AUDIT})


# A legal hold protects content from erasure, so no post may end the hold and erase as well.
ERASURE_APART = frozenset({Right.HOLD, Right.ERASE})


def joined_powers(rights: frozenset[Right]) -> frozenset[Right]:
    """The powers among `rights` that may not come together in one person."""
    erasure = ERASURE_APART if erasure_conflict(rights) else frozenset()
    return rights & (SEPARATED | erasure if separation_conflict(rights) else erasure)


def erasure_conflict(rights: frozenset[Right]) -> str | None:
    """The reason why one post may not both end a hold and erase, None when it does not."""
    if not rights >= ERASURE_APART:
        return None
    return "one post holds hold and erase; give each of them a post of its own"


def separation_conflict(rights: frozenset[Right]) -> str | None:
    """The reason why one post may not hold all of `rights` (clause 9.5 b), None when it may."""
    powers = sorted(rights & SEPARATED)
    if len(powers) > 1:
        return f"one post holds {' and '.join(powers)}; give each of them a post of its own (clause 9.5 b)"
    if powers and rights - SEPARATED - {Right.EXPORT}:
        return f"a post with {powers[0]} may not handle cases as well; split the post (clause 9.5 b)"
    return None
