"""How a deadline came about, step by step: from the events of its case and the documents of the versions cited.

Pure. Whoever must keep a limit, or has waited for it in vain, is told why it is this one and how it was counted (clause
5.1.3 a; Civil Code, articles 200 to 204), also when the stage is long over and other documents are in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel

from shared.case import events as e
from shared.case.base import Recorded
from shared.case.calendar import Calendar, Reckoned
from shared.case.clocks import Key, Overdue, RunningDeadline
from shared.case.events.supervision import ClockNamed
from shared.case.facts import Deadline, Ends, Stage, TimeBase
from shared.case.state import NEW, CaseState, evolve
from shared.reference.calendars import calendar_of
from shared.reference.deadline_reckoning import due_history
from shared.reference.documents import Document
from shared.reference.ladders import Act
from shared.reference.row import ReferenceRow


class ClockView(BaseModel):
    """A clock in force. `state` is running, suspended, late, or over until the next stage has its own."""

    stage: Stage
    unit: str | None
    state: str
    start: AwareDatetime
    due: AwareDatetime
    warn_at: AwareDatetime | None
    base: TimeBase
    amount: int
    legal_basis: str
    choice: str
    warned: bool
    extensions: int
    extension_requested: bool
    pauses: int
    pause_requested: bool
    resume_at: AwareDatetime | None
    ended_at: AwareDatetime | None


class OverdueView(BaseModel):
    """An overdue that stands, also after its stage was over: so many rungs were taken, the next comes at `next_at`."""

    stage: Stage
    unit: str | None
    due: AwareDatetime
    rung: int
    next_at: AwareDatetime | None
    ended_at: AwareDatetime | None


class StepView(BaseModel):
    """One step: what was done with the time from `since` to `until` (ISO 8601, a day or a moment), and why.

    `event` is the event of the case that did it; without one it follows from limit and calendar.
    """

    what: str
    since: str
    until: str
    why: str
    event: str | None = None


class Cited(BaseModel):
    """A document of exactly the version that was used, whether it is still in force, and its rows that mattered."""

    reference: str
    in_force: bool
    note: str
    rows: list[dict[str, Any]]


class RungView(BaseModel):
    """A rung of the ladder, taken (`event`, `taken_at`; who was informed by name) or to come if nothing happens."""

    rung: int
    act: Act
    moment: AwareDatetime
    acts: str
    informs: list[str]
    basis: str | None = None
    taken_at: AwareDatetime | None = None
    event: str | None = None


class Explanation(BaseModel):
    """How the due moment of a stage came about, and what follows from it.

    `state` is running, suspended, late or over. `choice` says why this limit and no other.
    """

    id: str
    number: str
    stage: Stage
    unit: str | None
    state: str
    base: TimeBase
    amount: int
    ends: Ends
    start: AwareDatetime
    due: AwareDatetime
    last_day: date | None
    warn_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    legal_basis: str
    choice: str
    limit: Cited | None
    calendar: Cited | None
    steps: list[StepView]
    ladder: list[RungView]


@dataclass(frozen=True, slots=True)
class ClockHistory:
    """A clock as it last stood, the case then, the event that set it, the clock it replaced, what was done with it."""

    state: CaseState
    clock: RunningDeadline
    set_by: Recorded[Any]
    before: RunningDeadline | None = None
    events: tuple[Recorded[Any], ...] = ()


def clocks_of(history: Iterable[Recorded[Any]]) -> dict[Key, ClockHistory]:
    """Every clock that the case has had, the last one of each stage, from all of its events in order."""
    told: dict[Key, ClockHistory] = {}
    state = NEW
    for recorded in history:
        before, state = state, evolve(state, recorded)
        for key, old in told.items():
            told[key] = _followed(old, recorded, state)
        if isinstance(recorded.event, e.DeadlinesSet):
            for clock in state.clocks:
                if clock.set_by == recorded.id:
                    was = before.clock(*clock.key)
                    replaced = was if was is not None and was.ended_at is None else None
                    told[clock.key] = ClockHistory(state, clock, recorded, replaced)
    return told


def _followed(old: ClockHistory, recorded: Recorded[Any], state: CaseState) -> ClockHistory:
    events = (*old.events, recorded) if _concerns(recorded.event, old.clock.key) else old.events
    clock = state.clock(*old.clock.key)
    if clock is not None:
        return replace(old, state=state, clock=clock, events=events)
    ended_at = old.clock.ended_at or recorded.time  # the case ended with it, or it is closed
    return replace(old, clock=replace(old.clock, ended_at=ended_at), events=events)


def _concerns(event: Any, key: Key) -> bool:
    if isinstance(event, e.Urged | e.Ordered | e.Escalated):
        return event.rung is not None and (event.late_stage, event.late_unit) == key
    if isinstance(event, e.Resumed | e.DeadlineRecomputed):
        return (event.deadline.stage, event.deadline.unit) == key
    return isinstance(event, ClockNamed) and (event.stage, event.unit) == key


def calendar_cited(in_force: Sequence[Document], used: Document | None) -> Calendar:
    """The calendar that a deadline was counted by: those in force, but for the one whose version it cites."""
    if used is None:
        return calendar_of(in_force)
    others = [document for document in in_force if document.name != used.name]
    place = next((at for at, document in enumerate(in_force) if document.name == used.name), 0)
    return calendar_of([*others[:place], used, *others[place:]])


def limit_rows(document: Document, deadline: Deadline) -> list[ReferenceRow]:
    """The row that set a deadline; of several that say the same, the one that its choice names."""
    fitting = [
        row
        for row in document.rows
        if (row.stage, row.amount, row.base, row.ends, str(row.basis))
        == (deadline.stage, deadline.amount, deadline.base, deadline.ends, deadline.legal_basis)
    ]
    return [row for row in fitting if f"{document.reference} {row.id}" in deadline.choice][:1] or fitting[:1]


def year_rows(document: Document, deadline: Deadline) -> list[ReferenceRow]:
    """The years that a deadline runs through, as a calendar says them, with the days that it runs through."""
    first, last = deadline.start.date(), deadline.due.date()

    def inside(days: tuple[date, ...]) -> tuple[date, ...]:
        return tuple(day for day in days if first <= day <= last)

    years = (document.by_key.get(str(year)) for year in range(first.year, last.year + 1))
    return [
        year.model_copy(update={"holidays": inside(year.holidays), "makeup": inside(year.makeup)})
        for year in years
        if year is not None
    ]


def standing(clock: RunningDeadline) -> str:
    """How a clock stands: running, suspended, late or over."""
    if clock.ended_at is not None:
        return "over"
    if clock.suspended:
        return "suspended"
    return "late" if clock.overdue else "running"


def clock_view(clock: RunningDeadline) -> ClockView:
    """A clock in a list."""
    return ClockView(**said_by(ClockView, clock, clock.deadline), state=standing(clock))


def overdue_view(late: Overdue) -> OverdueView:
    """An overdue in a list."""
    return OverdueView(**said_by(OverdueView, late))


def said_by(model: type[BaseModel], *sources: Any) -> dict[str, Any]:
    """What a model can say of its sources, each field from the first that has it."""
    found: dict[str, Any] = {}
    for source in reversed(sources):
        found |= {name: getattr(source, name) for name in model.model_fields if hasattr(source, name)}
    return found


def explanation(
    told: ClockHistory,
    calendar: Calendar,
    limit: Cited | None,
    used: Cited | None,
    to_come: Iterable[RungView],
    **more: Any,
) -> Explanation:
    """All that is known of a clock; `more` are id and number of its case."""
    return Explanation(
        **said_by(Explanation, told.clock.deadline, told.clock) | more,
        state=standing(told.clock),
        limit=limit,
        calendar=used,
        steps=list(steps_of(told, calendar)),
        ladder=[*rungs_taken(told), *to_come],
    )


def cite(document: Document, rows: Iterable[ReferenceRow], in_force: Iterable[Document]) -> Cited:
    """A document with the rows that mattered."""
    return Cited(
        reference=document.reference,
        in_force=any(one.reference == document.reference for one in in_force),
        note=document.note,
        rows=[row.model_dump(mode="json", exclude_defaults=True) for row in rows],
    )


def steps_of(told: ClockHistory, calendar: Calendar) -> Iterator[StepView]:
    """How the due moment came about, by the calendar that it cites, and what was done with the clock, oldest first."""
    clock, deadline = told.clock, told.clock.deadline

    def shown(moment: datetime) -> str:
        return calendar.local(moment).isoformat(timespec="seconds")

    start, due = shown(deadline.start), shown(deadline.due)
    yield StepView(what="choose", since=start, until=start, why=deadline.choice or deadline.legal_basis)
    if told.before is not None:
        why = f"it was due {shown(told.before.deadline.due)}; what the case is about was put right"
        yield StepView(what="replace", since=start, until=shown(told.set_by.time), why=why, event=told.set_by.id)
    counted = dict(due_history(clock, calendar))
    yield from _counted(counted[""], None)
    for recorded in told.events:
        if isinstance(recorded.event, e.Resumed) and recorded.id in counted:
            yield from _counted(counted[recorded.id], recorded.id)
        elif (say := _SAYS.get(type(recorded.event))) is not None:
            what, since, until, why = say(recorded, recorded.event)
            yield StepView(what=what, since=shown(since), until=shown(until), why=why, event=recorded.id)
    last = next(reversed(counted.values()))
    if last.due != deadline.due:
        why = "another year's calendar was published since; the due moment that was set stands"
        yield StepView(what="stand", since=shown(last.due), until=due, why=why)
    if deadline.warn_at is not None:
        why = f"{deadline.warn} of {deadline.amount} {deadline.base.replace('_', ' ')} are left"
        yield StepView(what="warn", since=shown(deadline.warn_at), until=due, why=why)
    if clock.ended_at is not None:
        late = "after" if clock.ended_at > deadline.due else "before"
        why = f"the stage was over {late} it was due"
        yield StepView(what="over", since=shown(clock.ended_at), until=shown(clock.ended_at), why=why)


def _counted(reckoned: Reckoned, event: str | None) -> Iterator[StepView]:
    for step in reckoned.steps:
        yield StepView(what=step.what, since=step.day_from, until=step.day_to, why=step.why, event=event)


Say = tuple[str, datetime, datetime, str]
_SAYS: dict[type[Any], Callable[[Recorded[Any], Any], Say]] = {
    e.ExtensionRequested: lambda r, said: ("ask", r.time, said.due, f"{r.meta.actor.person} asks for more time"),
    e.ExtensionRefused: lambda r, said: ("refuse", r.time, r.time, f"{r.meta.actor.person} refuses more time"),
    e.Extended: lambda r, said: ("extend", r.time, said.due, f"{said.approver} ({r.meta.actor.post}) approved it"),
    e.PauseRequested: lambda r, said: ("ask", r.time, r.time, f"{r.meta.actor.person} asks for a pause: {said.cause}"),
    e.PauseRefused: lambda r, said: ("refuse", r.time, r.time, f"{r.meta.actor.person} refuses a pause"),
    e.Suspended: lambda r, said: ("stop", r.time, said.until or r.time, _pause_words(r, said)),
    e.DeadlineRecomputed: lambda r, said: ("recompute", said.due_before, said.deadline.due, said.why),
    e.Warned: lambda r, said: ("warned", r.time, said.due, "it is near"),
    e.OverdueDeclared: lambda r, said: ("overdue", said.due, said.seen_at, "it was not over when it was due"),
    e.OverdueAnnulled: lambda r, said: ("annul", r.time, r.time, f"it was over in time: {said.proof}"),
}


def _pause_words(recorded: Recorded[Any], said: e.Suspended) -> str:
    return f"{said.cause}, by {recorded.meta.actor.person}" + ("" if said.until else ", until it is resumed")


def rungs_taken(told: ClockHistory) -> list[RungView]:
    """The rungs of the ladder that were taken because this clock ran out, in order."""
    found = []
    for recorded in told.events:
        event = recorded.event
        if isinstance(event, e.Urged | e.Ordered | e.Escalated):
            assert event.rung is not None, "what concerns a clock stands on a rung"
            found.append(
                RungView(
                    rung=event.rung,
                    act=_act(event),
                    moment=event.moment or recorded.time,
                    acts=event.acts,
                    informs=list(event.informs),
                    taken_at=recorded.time,
                    event=recorded.id,
                )
            )
    return found


def _act(event: e.Urged | e.Ordered | e.Escalated) -> Act:
    if isinstance(event, e.Urged):
        return Act.REMIND if event.person else Act.URGE
    return Act.ORDER if isinstance(event, e.Ordered) else Act.ESCALATE
