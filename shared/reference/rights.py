"""The rights of posts. A person has the rights of the post, inside the region and unit of the person.

Access control judges level, region, unit and the ties of a person; a right only names a kind of act
(clauses 9.4 a and 12.1).
"""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """One kind of act. Without `read` a person sees only the cases of the own unit and those tied to the person."""

    READ = "read"  # every case of the person's region, with its content
    REGISTER = "register"  # register, supplement, attach a repeat, answer on the spot
    CORRECT = "correct"
    TRIAGE = "triage"  # triage, decline, split, merge
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
    HOLD = "hold"
    ERASE = "erase"
    EXPORT = "export"
    WEBHOOK = "webhook"  # register a URL that gets the feed items of the region
    NOTIFY = "notify"  # a gateway for text messages: gets the reporter's number with each notice, and no other content
    AUDIT = "audit"  # every flow fact of the region and every access to content, but no content
    OPERATE = "operate"  # parked messages, rebuilds, health
    ADMIN = "admin"  # reference documents: posts, people, rules


# Administrator, operator and auditor are three people, and none of them handles cases (clause 9.5 b).
SEPARATED = frozenset({Right.ADMIN, Right.OPERATE, Right.AUDIT})


def separation_conflict(rights: frozenset[Right]) -> str | None:
    """The reason why one post may not hold all of `rights` (clause 9.5 b), None when it may."""
    powers = sorted(rights & SEPARATED)
    if len(powers) > 1:
        return f"one post holds {' and '.join(powers)}; give each of them a post of its own (clause 9.5 b)"
    if powers and rights - SEPARATED - {Right.EXPORT}:
        return f"a post with {powers[0]} may not handle cases as well; split the post (clause 9.5 b)"
    return None
