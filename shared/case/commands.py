"""The catalogue: one row for each command and the one event that it leads to when the law allows it.

A command states the facts of its event. Owner, facts and meaning are stated by the event class. A row adds the callers
(right and tie; neither where only the service itself decides the command), the step that the resident sees, and the
feed items that follow. All other lists of events follow from these rows and from the tables of
transitions (`catalogue.py`). Over HTTP a command is `POST /<owner>/cases/<id>/<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.case import events as e
from shared.case.announcements import NOT_ANNOUNCED, Announcement, FeedKind, NoticeTemplate, StepName
from shared.case.base import Address, Event, Facts, Meta, Owner
from shared.case.lifecycle import Variant
from shared.case.rights import Right, Tie


@dataclass(frozen=True, slots=True)
class Command:
    """A request for one decision: the aggregate, the metadata (actor and time), the command's name and its facts."""

    address: Address
    meta: Meta
    name: str
    facts: Facts


class Replaces(StrEnum):
    """The decision that is no longer in force once the command is decided, in words.

    Whether it stands follows from the state (`replacement.py`). Who replaces it over HTTP names the state that they
    have read, in `If-Match`.
    """

    NOTHING = ""
    FACTS = "the facts stated before"
    TRIAGE = "a triage"
    UNITS = "an assignment"
    PERSON = "the naming of a person"
    ROUTE = "a triage, an assignment or a change of the centre in charge"
    CENTRE = "a change of the centre in charge"
    SETTLEMENT = "a settlement"
    END = "the end of the case"
    EXTENSION = "an extension of the same clock"
    PAUSE = "a pause of the same clock"
    HOLD = "a hold"
    ANSWER = "the answer to the order"
    ORDER = "the order"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A row of the catalogue.

    `variant_feeds` holds the feed items of a variant of the event where they differ from `feed`. `replaces` names the
    decision of another that the command may replace.
    """

    name: str
    event: type[Event]
    right: Right | None = None
    tie: Tie | None = None
    step: StepName | None = None
    feed: Announcement = NOT_ANNOUNCED
    replaces: Replaces = Replaces.NOTHING
    variant_feeds: Mapping[Variant, Announcement] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if (self.right is None) is not (self.tie is None):
            raise TypeError(f"the row of {self.name} names a right or a tie alone: a command needs both, or neither")

    @property
    def facts(self) -> type[Facts]:
        base = self.event.__bases__[0]
        assert issubclass(base, Facts), "the first base of an event is its facts class"
        return base

    @property
    def owner(self) -> Owner:
        return self.event.OWNER

    @property
    def kind(self) -> str:
        """The kind of aggregate: case or order."""
        return self.event.TYPE.partition(".")[0]

    @property
    def doc(self) -> str:
        return " ".join((self.event.__doc__ or "").split())

    @property
    def offered(self) -> bool:
        """Whether people and platforms may send the command. Only a service itself decides the others."""
        return self.right is not None

    def feed_of(self, variant: Variant) -> Announcement:
        """The feed items that follow from the event in this variant."""
        return self.variant_feeds.get(variant, self.feed)


def _feed(*kinds: FeedKind, notice: NoticeTemplate | None = None) -> Announcement:
    return Announcement(kinds, notice)


R, T, S, F, N, V, D = Right, Tie, StepName, FeedKind, NoticeTemplate, Variant, Replaces
_ROWS: tuple[CommandSpec, ...] = (
    CommandSpec(
        "register",
        e.Registered,
        R.REGISTER,
        T.REGION,
        step=S.REGISTERED,
        feed=_feed(F.ARRIVED, notice=N.REGISTERED),
        variant_feeds={V.ANSWERED: _feed(F.ARRIVED, F.SETTLED, notice=N.SETTLED)},
    ),
    CommandSpec("supplement", e.Supplemented, R.REGISTER, T.SEES, step=S.SUPPLEMENTED, feed=_feed(F.SUPPLEMENTED)),
    CommandSpec("correct", e.Corrected, R.CORRECT, T.SEES, replaces=D.FACTS),
    CommandSpec("attach", e.Attached, R.REGISTER, T.SEES, step=S.REPEATED, feed=_feed(F.ATTACHED, notice=N.ATTACHED)),
    CommandSpec("withdraw", e.Withdrawn, R.REGISTER, T.SEES, step=S.WITHDRAWN, feed=_feed(F.CLOSED)),
    CommandSpec("call-back", e.CalledBack, R.CALL_BACK, T.CENTRE, feed=_feed(F.CALLED_BACK)),
    CommandSpec("rate", e.Rated, R.REGISTER, T.SEES, feed=_feed(F.RATED)),
    CommandSpec("triage", e.Triaged, R.TRIAGE, T.CENTRE, replaces=D.TRIAGE),
    CommandSpec(
        "decline",
        e.Declined,
        R.TRIAGE,
        T.CENTRE,
        step=S.DECLINED,
        feed=_feed(F.CLOSED, notice=N.DECLINED),
        replaces=D.TRIAGE,
    ),
    CommandSpec("split", e.Split, R.TRIAGE, T.CENTRE, step=S.SPLIT, feed=_feed(F.CLOSED), replaces=D.TRIAGE),
    CommandSpec("merge", e.Merged, step=S.MERGED, feed=_feed(F.CLOSED, notice=N.MERGED)),
    CommandSpec("unmerge", e.Unmerged, R.TRIAGE, T.CENTRE, step=S.UNMERGED, feed=_feed(F.REOPENED, notice=N.UNMERGED)),
    CommandSpec("assign", e.Assigned, R.ASSIGN, T.CENTRE, step=S.ASSIGNED, replaces=D.UNITS),
    CommandSpec("sign-for", e.SignedFor, R.SIGN, T.NAMED_UNIT, step=S.HANDLING),
    CommandSpec("reassign", e.Reassigned, R.REASSIGN, T.NAMED_UNIT, replaces=D.PERSON),
    CommandSpec("hand-back", e.HandedBack, R.SIGN, T.NAMED_UNIT, replaces=D.PERSON),
    CommandSpec("rule", e.Ruled, R.ASSIGN, T.CENTRE, step=S.ASSIGNED, replaces=D.UNITS),
    CommandSpec(
        "transfer",
        e.Transferred,
        R.ASSIGN,
        T.CENTRE,
        step=S.TRANSFERRED,
        feed=_feed(F.LEFT, F.ARRIVED),
        replaces=D.ROUTE,
    ),
    CommandSpec("end-co-handling", e.CoHandlingEnded, R.ASSIGN, T.CENTRE, replaces=D.UNITS),
    CommandSpec("progress", e.Progressed, R.HANDLE, T.NAMED_UNIT, step=S.PROGRESSED),
    CommandSpec("co-report", e.CoReported, R.CO_HANDLE, T.NAMED_UNIT),
    CommandSpec(
        "settle",
        e.Settled,
        R.HANDLE,
        T.UNIT,
        step=S.SETTLED,
        feed=_feed(F.SETTLED, notice=N.SETTLED),
        replaces=D.SETTLEMENT,
    ),
    CommandSpec(
        "send-back", e.SentBack, R.CLOSE, T.CENTRE, step=S.HANDLED_AGAIN, feed=_feed(F.REOPENED), replaces=D.SETTLEMENT
    ),
    CommandSpec("close", e.Closed, R.CLOSE, T.CENTRE, step=S.CLOSED, feed=_feed(F.CLOSED)),
    CommandSpec("propose-reopening", e.ReopeningProposed, step=S.REOPENING_PROPOSED, feed=_feed(F.REOPENING_PROPOSED)),
    CommandSpec("decline-reopening", e.ReopeningDeclined, R.CLOSE, T.CENTRE, step=S.REOPENING_DECLINED),
    CommandSpec("reopen", e.Reopened, R.CLOSE, T.CENTRE, step=S.REOPENED, feed=_feed(F.REOPENED), replaces=D.END),
    CommandSpec("set-deadlines", e.DeadlinesSet),
    CommandSpec("recompute-deadline", e.DeadlineRecomputed),
    CommandSpec("request-extension", e.ExtensionRequested, R.HANDLE, T.UNIT),
    CommandSpec(
        "extend",
        e.Extended,
        R.EXTEND,
        T.CENTRE,
        step=S.EXTENDED,
        feed=_feed(F.EXTENDED, notice=N.EXTENDED),
        replaces=D.EXTENSION,
    ),
    CommandSpec("refuse-extension", e.ExtensionRefused, R.EXTEND, T.CENTRE, replaces=D.EXTENSION),
    CommandSpec("request-pause", e.PauseRequested, R.HANDLE, T.UNIT),
    CommandSpec("suspend", e.Suspended, R.SUSPEND, T.CENTRE, feed=_feed(F.SUSPENDED), replaces=D.PAUSE),
    CommandSpec("refuse-pause", e.PauseRefused, R.SUSPEND, T.CENTRE, replaces=D.PAUSE),
    CommandSpec("resume", e.Resumed, R.SUSPEND, T.CENTRE, feed=_feed(F.SUSPENDED), replaces=D.PAUSE),
    CommandSpec("warn", e.Warned, feed=_feed(F.WARNED)),
    CommandSpec("declare-overdue", e.OverdueDeclared, feed=_feed(F.OVERDUE)),
    CommandSpec("annul-overdue", e.OverdueAnnulled, feed=_feed(F.ANNULLED)),
    CommandSpec(
        "escalate", e.Escalated, R.ESCALATE, T.CENTRE, feed=_feed(F.LEFT, F.ARRIVED, F.ESCALATED), replaces=D.CENTRE
    ),
    CommandSpec(
        "hand-down",
        e.HandedDown,
        R.HAND_DOWN,
        T.CENTRE,
        feed=_feed(F.LEFT, F.ARRIVED, F.HANDED_DOWN),
        replaces=D.CENTRE,
    ),
    CommandSpec("urge", e.Urged, R.URGE, T.CENTRE, feed=_feed(F.URGED)),
    CommandSpec("order", e.Ordered, feed=_feed(F.ORDERED)),
    CommandSpec("hold", e.Held, R.HOLD, T.CENTRE),
    CommandSpec("request-release", e.ReleaseRequested, R.HOLD, T.CENTRE),
    CommandSpec("end-release-request", e.ReleaseRequestEnded, R.HOLD, T.CENTRE),
    CommandSpec("release", e.Released, R.HOLD, T.CENTRE, feed=_feed(F.ARRIVED), replaces=D.HOLD),
    CommandSpec("request-erasure", e.ErasureRequested, R.ERASE, T.CENTRE),
    CommandSpec("end-erasure-request", e.ErasureRequestEnded, R.ERASE, T.CENTRE),
    CommandSpec("erase", e.Erased, R.ERASE, T.CENTRE),
    CommandSpec("issue-order", e.OrderIssued, R.ORDER, T.REGION, feed=_feed(F.ORDERED)),
    CommandSpec("answer-order", e.OrderAnswered, R.HANDLE, T.ORDER_UNIT, feed=_feed(F.ANSWERED)),
    CommandSpec("accept-answer", e.OrderAccepted, R.ORDER, T.ORDER_CENTRE, feed=_feed(F.ANSWERED)),
    CommandSpec("refuse-answer", e.OrderRefused, R.ORDER, T.ORDER_CENTRE, feed=_feed(F.ANSWERED), replaces=D.ANSWER),
    CommandSpec("declare-order-overdue", e.OrderOverdue, feed=_feed(F.OVERDUE)),
    CommandSpec("withdraw-order", e.OrderWithdrawn, R.ORDER, T.ORDER_CENTRE, feed=_feed(F.ANSWERED), replaces=D.ORDER),
    CommandSpec("note-case-refusal", e.OrderCaseRefused),
)

COMMANDS: dict[str, CommandSpec] = {row.name: row for row in _ROWS}


def facts(name: str, **values: Any) -> Facts:
    """The facts of a command. Raises pydantic.ValidationError for values that the command does not allow."""
    return COMMANDS[name].facts.model_validate(values)


def owned_by(owner: Owner) -> tuple[CommandSpec, ...]:
    """The commands of one service, in the order of the catalogue."""
    return tuple(spec for spec in COMMANDS.values() if spec.owner is owner)
