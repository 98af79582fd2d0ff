"""The names under which others hear of an event: public steps, kinds of feed items, texts of notices.

Which event is announced under which name stands in the catalogue (`commands.py`). Feeds and notices are written by
supervision, steps are told by intake; both read the catalogue. The values stand in messages and subjects: never edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class StepName(StrEnum):
    """A step of a case as its resident and its platform see it."""

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
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"
    MERGED = "merged"
    SPLIT = "split"


class FeedKind(StrEnum):
    """A kind of feed item and its meaning. The items of one event are written in the order of this list."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.meaning = meaning
        return kind

    LEFT = "left", "another centre is in charge now; told to the one that was"
    ARRIVED = "arrived", "the centre is in charge of it from now on"
    WARNED = "warned", "a deadline is near"
    OVERDUE = "overdue", "a deadline passed"
    ANNULLED = "annulled", "an overdue does not stand: what was done in time came to us late"
    ESCALATED = "escalated", "it came up to this centre (clause 11.2)"
    HANDED_DOWN = "handed_down", "it came down to this centre (clause 5.1.1 i)"
    URGED = "urged", "the unit, or its person, was urged"
    ORDERED = "ordered", "a supervision order was issued, or covers the case"
    ANSWERED = "answered", "an order was answered, its answer accepted or refused, or it was withdrawn"
    EXTENDED = "extended", "a deadline was moved"
    SUSPENDED = "suspended", "a clock stands still, or goes on again"
    SETTLED = "settled", "the resident has the reply"
    CLOSED = "closed", "the case ended: closed, declined, withdrawn, merged or split"
    REOPENED = "reopened", "taken up again, or to be handled again"
    NOTICE = "notice", "for the resident: a template and what fills it"
    FOLLOWED = "followed", "the same as `inner`, told to the centre that handed the matter down"


class NoticeTemplate(StrEnum):
    """A text for the resident (`services/supervision/feed/notices.yaml`)."""

    REGISTERED = "registered"
    EXTENDED = "extended"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Announcement:
    """The feed items that follow from an event, and the notice to its resident."""

    kinds: tuple[FeedKind, ...] = ()
    notice: NoticeTemplate | None = None

    @property
    def items(self) -> tuple[FeedKind, ...]:
        """The kinds of items in the order in which they are written, the notice among them."""
        named = {*self.kinds, FeedKind.NOTICE} if self.notice else set(self.kinds)
        return tuple(kind for kind in FeedKind if kind in named)


NOT_ANNOUNCED = Announcement()
