"""The explanation of a deadline, step by step: from the events of its case and the document versions that it cites.

Pure. It shows the handler and the resident which limit applies and how the time was counted (clause 5.1.3 a; Civil
Code, articles 200 to 204), also when the stage is long over and other documents are in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel

from services.supervision.deadlines.reckoning import LimitComparison, due_history
from shared.case import events as e
from shared.case.base import Recorded
from shared.case.calendar import Calendar, Reckoned
from shared.case.clocks import Key, Overdue, RunningDeadline, seen_late
from shared.case.events.supervision import ClockNamed
from shared.case.facts import Deadline, Ends, Stage, TimeBase
from shared.case.state import NEW, CaseState, evolve
from shared.reference.calendars import calendar_of
from shared.reference.documents import Document
from shared.reference.ladders import Act
from shared.reference.row import ReferenceRow


class ClockView(BaseModel):
    """A clock in force. `state` is running, suspended, late, or, until the next stage has its clock, over."""

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
    """An overdue that stands, also after the end of its stage.

    `rung` is the number of rungs that were taken, `next_at` the moment of the next one.
    """

    stage: Stage
    unit: str | None
    due: AwareDatetime
    rung: int
    next_at: AwareDatetime | None
    ended_at: AwareDatetime | None


class StepView(BaseModel):
    """One step of an explanation: its kind, the time from `since` to `until` (ISO 8601, a day or a moment), and why.

    `event` is the event of the case that made the step. A step without one follows from limit and calendar.
    """

    what: str
    since: str
    until: str
    why: str
    event: str | None = None


class Cited(BaseModel):
    """A document in the version that was used, whether that is still in force, and the rows that were used."""

    reference: str
    in_force: bool
    note: str
    rows: list[dict[str, Any]]


class RungView(BaseModel):
    """A rung of the ladder, taken (with `event`, `taken_at`, and the names informed) or to come if nothing happens.

    `seen_late`: an outage of this system delayed it.
    """

    rung: int
    act: Act
    moment: AwareDatetime
    acts: str
    informs: list[str]
    basis: str | None = None
    taken_at: AwareDatetime | None = None
    event: str | None = None
    seen_late: bool = False


class Explanation(BaseModel):
    """The explanation of the due moment of a stage, and the rungs that follow it.

    `state` is running, suspended, late or over. `choice` says why this limit applies and no other. `calendar` is the
    document with the days off around the due moment, `calendars` are all by which the time was counted.
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
    calendars: list[Cited] = []
    steps: list[StepView]
    ladder: list[RungView]


@dataclass(frozen=True, slots=True)
class ClockHistory:
    """The last form of a clock, the case at that time, the event that set it, the clock before it, its later events."""

    state: CaseState
    clock: RunningDeadline
    set_by: Recorded[Any]
    before: RunningDeadline | None = None
    events: tuple[Recorded[Any], ...] = ()


def clocks_of(history: Iterable[Recorded[Any]]) -> dict[Key, ClockHistory]:
    """The clocks that a case has had, the last one of each stage, from all events of the case in order."""
    histories: dict[Key, ClockHistory] = {}
    state = NEW
    for recorded in history:
        before, state = state, evolve(state, recorded)
        for key, earlier in histories.items():
            histories[key] = _after_event(earlier, recorded, state)
        if isinstance(recorded.event, e.DeadlinesSet):
            for clock in state.clocks:
                if clock.set_by == recorded.id:
                    old_clock = before.clock(*clock.key)
                    replaced = old_clock if old_clock is not None and old_clock.ended_at is None else None
                    histories[clock.key] = ClockHistory(state, clock, recorded, replaced)
    return histories


def _after_event(earlier: ClockHistory, recorded: Recorded[Any], state: CaseState) -> ClockHistory:
    events = (*earlier.events, recorded) if _concerns(recorded.event, earlier.clock.key) else earlier.events
    clock = state.clock(*earlier.clock.key)
    if clock is not None:
        return replace(earlier, state=state, clock=clock, events=events)
    ended_at = earlier.clock.ended_at or recorded.time  # the clock was closed, or the case ended with it
    return replace(earlier, clock=replace(earlier.clock, ended_at=ended_at), events=events)


def _concerns(event: Any, key: Key) -> bool:
    if isinstance(event, e.Urged | e.Ordered | e.Escalated):
        return event.rung is not None and (event.late_stage, event.late_unit) == key
    if isinstance(event, e.Resumed | e.DeadlineRecomputed):
        return (event.deadline.stage, event.deadline.unit) == key
    return isinstance(event, ClockNamed) and (event.stage, event.unit) == key


def calendar_cited(in_force: Sequence[Document], used: Iterable[Document]) -> Calendar:
    """The calendar by which a deadline was counted: the documents in force, those `used` in their cited versions."""
    documents = list(in_force)
    for cited in used:
        index = next((index for index, document in enumerate(documents) if document.name == cited.name), None)
        if index is None:
            documents.insert(0, cited)
        else:
            documents[index] = cited
    return calendar_of(documents)


def limit_rows(document: Document, deadline: Deadline) -> list[ReferenceRow]:
    """The row of a limits document that set a deadline; of several equal rows, the one that its choice names."""
    matching = [
        row
        for row in document.rows
        if (row.stage, row.amount, row.base, row.ends, str(row.basis))
        == (deadline.stage, deadline.amount, deadline.base, deadline.ends, deadline.legal_basis)
    ]
    return [row for row in matching if f"{document.reference} {row.id}" in deadline.choice][:1] or matching[:1]


def year_rows(document: Document, deadline: Deadline) -> list[ReferenceRow]:
    """The rows of a calendar for the years of a deadline, with the days between its start and its due moment."""
    first, last = deadline.start.date(), deadline.due.date()

    def inside(days: tuple[date, ...]) -> tuple[date, ...]:
        return tuple(day for day in days if first <= day <= last)

    years = (document.by_key.get(str(year)) for year in range(first.year, last.year + 1))
    return [
        year.model_copy(update={"holidays": inside(year.holidays), "makeup": inside(year.makeup)})
        for year in years
        if year is not None
    ]


def clock_state(clock: RunningDeadline) -> str:
    """The state of a clock: running, suspended, late or over."""
    if clock.ended_at is not None:
        return "over"
    if clock.suspended:
        return "suspended"
    return "late" if clock.overdue else "running"


def clock_view(clock: RunningDeadline) -> ClockView:
    """A clock in a list."""
    return ClockView(**fields_from(ClockView, clock, clock.deadline), state=clock_state(clock))


def overdue_view(late: Overdue) -> OverdueView:
    """An overdue in a list."""
    return OverdueView(**fields_from(OverdueView, late))


def fields_from(model: type[BaseModel], *sources: Any) -> dict[str, Any]:
    """The fields of a model that its sources have, each from the first source that has it."""
    fields: dict[str, Any] = {}
    for source in reversed(sources):
        fields |= {name: getattr(source, name) for name in model.model_fields if hasattr(source, name)}
    return fields


def explanation(
    history: ClockHistory,
    calendar: Calendar,
    cited_limit: Cited | None,
    cited_calendars: Sequence[Cited],
    to_come: Iterable[RungView],
    comparison: LimitComparison | None = None,
    **more: Any,
) -> Explanation:
    """The whole explanation of a clock; `more` are id and number of its case."""
    reference = history.clock.deadline.calendar_reference
    fields = fields_from(Explanation, history.clock.deadline, history.clock) | more
    return Explanation(
        **fields | {"calendars": list(cited_calendars)},
        state=clock_state(history.clock),
        limit=cited_limit,
        calendar=next((cited for cited in cited_calendars if cited.reference == reference), None),
        steps=list(steps_of(history, calendar, comparison)),
        ladder=[*rungs_taken(history), *to_come],
    )


def cite(document: Document, rows: Iterable[ReferenceRow], in_force: Iterable[Document]) -> Cited:
    """A document with the rows that were used."""
    return Cited(
        reference=document.reference,
        in_force=any(current.reference == document.reference for current in in_force),
        note=document.note,
        rows=[row.model_dump(mode="json", exclude_defaults=True) for row in rows],
    )


def steps_of(
    history: ClockHistory, calendar: Calendar, comparison: LimitComparison | None = None
) -> Iterator[StepView]:
    """The steps that led to the due moment, by the calendar that it cites, and the later changes, oldest first.

    `comparison` is that of a clock that people moved with the law's own limit, where there is another one.
    """
    clock, deadline = history.clock, history.clock.deadline

    def shown(moment: datetime) -> str:
        return calendar.local(moment).isoformat(timespec="seconds")

    start, due = shown(deadline.start), shown(deadline.due)
    yield StepView(what="choose", since=start, until=start, why=deadline.choice or deadline.legal_basis)
    if history.before is not None:
        why = f"it was due {shown(history.before.deadline.due)}; what the case is about was put right"
        yield StepView(what="replace", since=start, until=shown(history.set_by.time), why=why, event=history.set_by.id)
    counted = dict(due_history(deadline, clock.moves, calendar))
    yield from _counted(counted[""], None)
    for recorded in history.events:
        if isinstance(recorded.event, e.Resumed) and recorded.id in counted:
            yield from _counted(counted[recorded.id], recorded.id)
        elif (parts := _STEPS.get(type(recorded.event))) is not None:
            what, since, until, why = parts(recorded, recorded.event)
            if isinstance(recorded.event, e.OverdueDeclared) and by_outage(history, moment=since, until=until):
                why += "; seen late by our outage"
            yield StepView(what=what, since=shown(since), until=shown(until), why=why, event=recorded.id)
    last = next(reversed(counted.values()))
    if last.due != deadline.due:
        why = "another year's calendar was published since; the due moment that was set stands"
        yield StepView(what="stand", since=shown(last.due), until=due, why=why)
    if comparison is not None and not comparison.law_holds:
        yield StepView(what="compare", since=due, until=shown(comparison.law.due), why=comparison.text)
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


def by_outage(history: ClockHistory, *, moment: datetime, until: datetime) -> bool:
    """Whether an outage delayed what was due at a moment, of a clock that was known by then, `until` it was seen."""
    return seen_late(max(moment, history.set_by.meta.recorded_at), until)


# (recorded, event) -> what, since, until, why
_StepFunction = Callable[[Recorded[Any], Any], tuple[str, datetime, datetime, str]]
_STEPS: dict[type[Any], _StepFunction] = {
    e.ExtensionRequested: lambda r, event: ("ask", r.time, event.due, f"{r.meta.actor.person} asks for more time"),
    e.ExtensionRefused: lambda r, event: ("refuse", r.time, r.time, f"{r.meta.actor.person} refuses more time"),
    e.Extended: lambda r, event: ("extend", r.time, event.due, f"{event.approver} ({_post(r)}) approved it"),
    e.PauseRequested: lambda r, event: (
        "ask",
        r.time,
        r.time,
        f"{r.meta.actor.person} asks for a pause: {event.cause}",
    ),
    e.PauseRefused: lambda r, event: ("refuse", r.time, r.time, f"{r.meta.actor.person} refuses a pause"),
    e.Suspended: lambda r, event: ("stop", r.time, event.until or r.time, _pause_text(r, event)),
    e.DeadlineRecomputed: lambda r, event: ("recompute", event.due_before, event.deadline.due, event.why),
    e.Warned: lambda r, event: ("warned", r.time, event.due, "it is near"),
    e.OverdueDeclared: lambda r, event: (
        "overdue",
        event.due,
        event.seen_at,
        "it was not over when it was due",
    ),
    e.OverdueAnnulled: lambda r, event: ("annul", r.time, r.time, f"it was over in time: {event.proof}"),
}


def _post(recorded: Recorded[Any]) -> str:
    """The post of who acted, and the absent person for whom a deputy did."""
    actor = recorded.meta.actor
    return actor.post if actor.acting_for is None else f"{actor.post}, for {actor.acting_for}"


def _pause_text(recorded: Recorded[Any], event: e.Suspended) -> str:
    return f"{event.cause}, by {recorded.meta.actor.person}" + ("" if event.until else ", until it is resumed")


def rungs_taken(history: ClockHistory) -> list[RungView]:
    """The rungs of the ladder that were taken because this clock was late, in order."""
    rungs = []
    for recorded in history.events:
        event = recorded.event
        if isinstance(event, e.Urged | e.Ordered | e.Escalated):
            assert event.rung is not None, "an event that concerns a clock names its rung"
            rungs.append(
                RungView(
                    rung=event.rung,
                    act=_act(event),
                    moment=event.moment or recorded.time,
                    acts=event.acts,
                    informs=list(event.informs),
                    taken_at=recorded.time,
                    event=recorded.id,
                    seen_late=event.moment is not None and by_outage(history, moment=event.moment, until=recorded.time),
                )
            )
    return rungs


def _act(event: e.Urged | e.Ordered | e.Escalated) -> Act:
    if isinstance(event, e.Urged):
        return Act.REMIND if event.person else Act.URGE
    return Act.ORDER if isinstance(event, e.Ordered) else Act.ESCALATE
