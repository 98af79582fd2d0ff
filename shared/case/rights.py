"""The demands of a command on its caller: a right of the caller's post, and a tie between the caller and the case.

A person's rights are those of the post, inside the region and unit that the person has. A right says only for which
kind of act a post is (clauses 9.4 a and 12.1). The rule that judges right and tie stands in `shared/kit/access.py`.
"""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """One kind of act. Without `read` a person sees only the cases of the own unit and those tied to the person."""

    READ = "read"  # every case of the person's region, content too
    REGISTER = "register"  # register, supplement, attach a repeat, answer on the spot
    CORRECT = "correct"
    TRIAGE = "triage"  # triage, decline, split, merge
    ASSIGN = "assign"  # lead and co-handling units, rulings on hand-backs, transfers
    SIGN = "sign"  # sign for a case on behalf of the unit, hand it back
    REASSIGN = "reassign"  # give it to another person of the unit
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
    HOLD = "hold"
    ERASE = "erase"
    EXPORT = "export"
    WEBHOOK = "webhook"  # have feed items of the region sent somewhere
    NOTIFY = "notify"  # a gateway for text messages: is told the reporter's number for each notice, and nothing else
    AUDIT = "audit"  # every flow fact of the region, and who read what, but no content
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


def separation_conflict(rights: frozenset[Right]) -> str | None:
    """Why one post may not hold all of `rights` (clause 9.5 b), None when it may."""
    powers = sorted(rights & SEPARATED)
    if len(powers) > 1:
        return f"one post holds {' and '.join(powers)}; give each of them a post of its own (clause 9.5 b)"
    if powers and rights - SEPARATED - {Right.EXPORT}:
        return f"a post with {powers[0]} may not handle cases as well; split the post (clause 9.5 b)"
    return None
