"""Response models of routing."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel


class QueuedCase(BaseModel):
    """A case that waits for the triage desk."""

    id: str
    number: str
    status: str
    in_charge: str
    registered_at: AwareDatetime
    hand_backs: int
    subject: str | None
    nature: str | None


class Queue(BaseModel):
    """A page of the triage queue, oldest first; `next` is the `page` of the next one."""

    cases: list[QueuedCase]
    next: str | None = None
    complete: bool = True


class RuleVerdict(BaseModel):
    """The decision of one routing rule about a case."""

    rule: str
    reference: str
    takes_it: bool
    why: str
