"""What a post may do. A person's rights are the rights of the post, inside the region and unit that the person has.

Level, region, unit and own ties are judged by access control; a right only says which kind of act a post is for
(clauses 9.4 a and 12.1).
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
