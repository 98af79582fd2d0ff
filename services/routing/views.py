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
    """A page of the triage queue, oldest first; `next` is the `cursor` of the next one."""

    cases: list[QueuedCase]
    next: str | None = None
    complete: bool = True


class RuleVerdict(BaseModel):
    """The decision of one routing rule about a case."""

    rule: str
    reference: str
    takes_it: bool
    why: str


class SuggestedWord(BaseModel):
    """A word of the case that gave points to a rule: `points` each time, `times` in all; the title counts several."""

    word: str
    points: int
    times: int
    in_title: bool


class Suggestion(BaseModel):
    """A unit that the words of a case speak for, with the rule and its points."""

    unit: str
    co_units: list[str]
    subject: str | None
    rule: str
    reference: str
    points: int
    words: list[SuggestedWord]
    why: str


class Suggestions(BaseModel):
    """The weighted rules for a case, best first. `sure`: the best leads those of other units by the margin."""

    sure: bool
    lead: int
    margin: int
    suggestions: list[Suggestion]
