"""The public names of events: steps of a case, kinds of feed items, texts of notices.

The catalogue (`commands.py`) assigns these names to events. Supervision writes feeds and notices, intake shows steps.
The values stand in messages and subjects and are never edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class StepName(StrEnum):
    """A step of a case, shown to the resident and to the platform."""

    REGISTERED = "registered"
    SUPPLEMENTED = "supplemented"
    REPEATED = "repeated"
    DECLINED = "declined"
    ASSIGNED = "assigned"
    HANDLING = "handling"
    TRANSFERRED = "transferred"
    PROGRESSED = "progressed"
    EXTENDED = "extended"
    SETTLED = "settled"
    HANDLED_AGAIN = "handled_again"
    CLOSED = "closed"
    REOPENING_PROPOSED = "reopening_proposed"
    REOPENING_DECLINED = "reopening_declined"
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"
    MERGED = "merged"
    UNMERGED = "unmerged"
    SPLIT = "split"


class FeedKind(StrEnum):
    """A kind of feed item and its meaning. The items of one event are written in the order of this list."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.meaning = meaning
        return kind

    LEFT = "left", "another centre is in charge now; the item goes to the former one"
    ARRIVED = "arrived", "the centre is in charge of the case from now on"
    WARNED = "warned", "a deadline is near"
    OVERDUE = "overdue", "a deadline passed"
    ANNULLED = "annulled", "an overdue does not stand: the act was in time, its record came late"
    ESCALATED = "escalated", "the case came up to this centre (clause 11.2)"
    HANDED_DOWN = "handed_down", "the case came down to this centre (clause 5.1.1 i)"
    URGED = "urged", "the unit, or one person of it, was urged"
    ORDERED = "ordered", "a supervision order was issued, or covers the case"
    ANSWERED = "answered", "an order was answered, its answer accepted or refused, or it was withdrawn"
    EXTENDED = "extended", "a deadline was moved"
    SUSPENDED = "suspended", "a clock was suspended, or resumed"
    SETTLED = "settled", "the resident has the reply"
    CLOSED = "closed", "the case ended: closed, declined, withdrawn, merged or split"
    REOPENING_PROPOSED = "reopening_proposed", "the resident of a closed case is not satisfied; the centre decides"
    REOPENED = "reopened", "the case was reopened, sent back to be handled again, or its merge undone"
    ATTACHED = "attached", "a repeat joined the case: `people_count` people now"
    SUPPLEMENTED = "supplemented", "the resident or the desk added to the demand"
    CALLED_BACK = "called_back", "the resident was called back: `outcome` and `satisfaction`"
    RATED = "rated", "the resident rated the outcome: `satisfaction`"
    NOTICE = "notice", "a message to the resident: a template and its values"
    FOLLOWED = "followed", "the item `inner`, sent to the centre that handed the matter down"


class NoticeTemplate(StrEnum):
    """A text for the resident (`services/supervision/feed/notices.yaml`).

    `repeat_<name>` is the text of `<name>` for the reporter of an attached repeat, who has no case number.
    """

    REGISTERED = "registered"
    EXTENDED = "extended"
    SETTLED = "settled"
    DECLINED = "declined"
    ATTACHED = "attached"
    MERGED = "merged"
    UNMERGED = "unmerged"
    REPEAT_EXTENDED = "repeat_extended"
    REPEAT_SETTLED = "repeat_settled"
    REPEAT_DECLINED = "repeat_declined"

    @property
    def for_repeat(self) -> NoticeTemplate | None:
        """The text for the reporter of an attached repeat; None where they get no notice."""
        return NoticeTemplate.__members__.get(f"REPEAT_{self.name}")


@dataclass(frozen=True, slots=True)
class Announcement:
    """The feed items that follow from an event, and the notice to the resident of the case."""

    kinds: tuple[FeedKind, ...] = ()
    notice: NoticeTemplate | None = None

    @property
    def items(self) -> tuple[FeedKind, ...]:
        """The kinds of items, with the notice, in the order in which they are written."""
        named = {*self.kinds, FeedKind.NOTICE} if self.notice else set(self.kinds)
        return tuple(kind for kind in FeedKind if kind in named)


NOT_ANNOUNCED = Announcement()
