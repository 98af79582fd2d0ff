"""What supervision wants to happen: a clock with every stage, what fires at which moment, who must act when it is late.

Pure. Time comes in two ways: an event changes the stage and the clocks follow (`REACTIONS`); a moment comes and
something fires (`fire`). Both say commands that the law decides, so that doing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias

from shared.case import events as e
from shared.case.base import Address, Event, Level, Recorded, level_of, new_id, parent, region_at
from shared.case.catalogue import STAGE_CHANGES
from shared.case.clocks import Key, Overdue, RunningDeadline
from shared.case.commands import facts
from shared.case.events.supervision import RungFacts
from shared.case.facts import Deadline, Hold, Note, Stage
from shared.case.orders import OrderState, OrderStatus
from shared.case.reasons import Rejected
from shared.case.state import CaseState
from shared.kit.effects import CommandRequest, OneOf, Reaction, Timer, TimerPolicy, reaction
from shared.reference.deadline_reckoning import (
    DocumentsInForce,
    calendar_reference,
    deadline_after_pause,
    deadline_for,
    facts_of,
    moment_after,
    recomputed_deadline,
    rung_at,
)
from shared.reference.ladders import Act, Informed, LadderRow, ladder_for

STAGE_NAMES = {
    Stage.TRIAGE: "梳理分流",
    Stage.SIGN: "签收",
    Stage.HANDLE: "办理",
    Stage.CO_HANDLE: "协办",
    Stage.FEEDBACK: "反馈",
    Stage.REPORT: "报告",
}

# Clocks follow the stages


# An event after which other stages of a case may run, or the same ones under other time limits.
StageChange: TypeAlias = Annotated[Event, OneOf(STAGE_CHANGES)]


def keep_clocks(
    recorded: Recorded[StageChange], state: CaseState, library: DocumentsInForce
) -> Sequence[CommandRequest]:
    """Every stage that runs has its clock, none that is over, and what ended late is declared first (5.1.3 a)."""
    if Hold.IMPORT in state.holds or state.erased:
        return ()
    address = recorded.address
    running = {clock.key: clock.deadline for clock in state.clocks if clock.ended_at is None}
    missing = sorted(state.running_stages - running.keys(), key=str)
    opened = {key: one for key in missing if (one := _opened(library, state, *key)) is not None}
    unseen = [clock for clock in state.clocks if clock.late_unseen]
    wanted = [_late_unseen(address, state, library, clock, opened.get(clock.key)) for clock in unseen]
    if not state.running_stages:
        return wanted
    over = {clock.deadline.stage for clock in state.clocks if clock.ended_at is not None}
    goes_on = {key: one for key, one in running.items() if key[0] in over}  # another co-handling unit's was meant
    if over or opened:
        wanted.append(_set(address, goes_on | opened, over))
    limits_may_differ = isinstance(recorded.known, e.Corrected | e.Triaged)
    outdated = [clock.key for clock in state.clocks if limits_may_differ and _outdated(library, state, clock)]
    corrected = {key: _opened(library, state, *key) for key in outdated}
    if corrected:  # by itself: the law refuses it when the old moment has passed meanwhile, and only it
        stages = {stage for stage, _ in corrected}
        there = {key: one for key, one in (running | opened).items() if key[0] in stages}
        wanted.append(_set(address, there | corrected, stages, "corrected"))
    return wanted


def _set(address: Address, opens: Mapping[Key, Deadline], closes: Collection[Stage], what: str = "") -> CommandRequest:
    said = facts("set-deadlines", opens=tuple(opens.values()), closes=tuple(sorted(closes)))
    return CommandRequest(address, "set-deadlines", said, what=what)


def _late_unseen(
    address: Address, state: CaseState, library: DocumentsInForce, clock: RunningDeadline, again: Deadline | None
) -> CommandRequest:
    """What ended late; a ladder comes of it only where the same stage runs on (a report of a case taken up again)."""
    deadline, seen_at = clock.deadline, clock.ended_at
    runs_on = again is not None and (again.start, again.due) == (deadline.start, deadline.due)
    first = rung_at(library, state, deadline.stage, deadline.due, 0) if runs_on else None
    said = facts(
        "declare-overdue", stage=deadline.stage, unit=deadline.unit, due=deadline.due, seen_at=seen_at,
        next_at=first[1] if first else None,
    )  # fmt: skip
    return CommandRequest(address, "declare-overdue", said, what=f"{deadline.stage} {deadline.unit or ''}")


def _outdated(library: DocumentsInForce, state: CaseState, clock: RunningDeadline) -> bool:
    """Whether the case as it is now has another limit for a clock than the clock; not once somebody moved it."""
    if clock.moves or clock.overdue or clock.ended_at is not None:
        return False
    new = _opened(library, state, *clock.key)
    old = clock.deadline
    return new is not None and (new.amount, new.base, new.legal_basis) != (old.amount, old.base, old.legal_basis)


def _opened(library: DocumentsInForce, state: CaseState, stage: Stage, unit: str | None) -> Any:
    """The clock of a stage by the limits in force; a report upward has one only where a limit says so (11.4)."""
    since = state.registered_at if stage is Stage.REPORT else state.since
    if stage is Stage.CO_HANDLE:
        since = next((co.since for co in state.co_handlers if co.unit == unit), since)
    assert since is not None, "a case that is born has its times"
    return deadline_for(library, state, stage, unit, since)


def annul(recorded: Recorded[StageChange], state: CaseState, _: object) -> Sequence[CommandRequest]:
    """What was done in time is not late, whenever the proof arrives: its overdue is set right."""
    proof = f"{recorded.type} {recorded.id}"
    return [
        CommandRequest(recorded.address, "annul-overdue",
                       facts("annul-overdue", stage=one.stage, unit=one.unit, proof=proof),
                       what=f"{one.stage} {one.unit or ''}")
        for one in state.late
        if one.ended_at is not None and one.ended_at <= one.due
    ]  # fmt: skip


# Orders


def tell_the_cases(recorded: Recorded[e.OrderIssued], state: OrderState, _: object) -> Sequence[CommandRequest]:
    """One `ordered` per case of a new order (clause 5.1.1 f)."""
    event, order = recorded.known, recorded.address
    rung = {name: getattr(event, name) for name in RungFacts.model_fields}
    said = facts("order", order=order.id, kind=event.kind, due=event.due, **rung)
    return [CommandRequest(Address.parse(subject), "order", said) for subject in event.cases]


def note_refusal(
    recorded: Recorded[e.OrderIssued], request: CommandRequest, outcome: Rejected
) -> Sequence[CommandRequest]:
    """The order knows which of its cases it does not reach, and why."""
    case = request.address.subject
    said = facts("note-case-refusal", case=case, reason=outcome.reason.code)
    return [CommandRequest(recorded.address, "note-case-refusal", said, what=case)]


# Moments


def moments(subject: str, state: CaseState | OrderState) -> Iterator[Timer]:
    """What comes next of each clock, and when; nothing for a case under import, which lives by its file's clock."""
    if isinstance(state, OrderState):
        if state.status is OrderStatus.ISSUED and state.due is not None and not state.overdue:
            yield Timer(state.due, subject, "order", cause=state.issued_by)
        return
    if Hold.IMPORT in state.holds or state.erased:
        return
    for clock in state.clocks:
        yield from _of_clock(subject, state, clock)


def _of_clock(subject: str, state: CaseState, clock: RunningDeadline) -> Iterator[Timer]:
    deadline = clock.deadline
    stage, unit = deadline.stage.value, deadline.unit or ""
    if clock.ended_at is not None and not clock.late_unseen:
        return
    if clock.suspended:
        if clock.resume_at is not None:
            yield Timer(clock.resume_at, subject, "resume", stage, unit, clock.moves[-1].event)
        return
    if clock.overdue:
        late = state.overdue_of(*clock.key)
        if late is not None and late.next_at is not None:
            yield Timer(late.next_at, subject, "rung", stage, unit, late.cause)
        return
    if deadline.warn_at is not None and not clock.warned and clock.ended_at is None:
        yield Timer(deadline.warn_at, subject, "warn", stage, unit, clock.set_by)
    yield Timer(deadline.due, subject, "overdue", stage, unit, clock.set_by)


def fire(
    address: Address, state: Any, due: Timer, now: datetime, library: DocumentsInForce
) -> Sequence[CommandRequest]:
    """What must be asked of the case (or order) because a moment has come; nothing when it is no longer in force.

    The agenda may be behind, so what it says is compared with the case: under an older cause it would be asked for in
    vain, since what follows from that one has been done.
    """
    if due.at > now or due not in moments(address.subject, state):
        return ()
    if isinstance(state, OrderState):
        return (
            CommandRequest(address, "declare-order-overdue", facts("declare-order-overdue", due=due.at, seen_at=now)),
        )
    clock = state.clock(Stage(due.stage), due.unit or None)
    assert clock is not None, "a moment in force is of a clock"
    if due.what == "rung":
        late = state.overdue_of(*clock.key)
        assert late is not None, "a rung in force is of an overdue"
        return (_climb(address, state, clock, late, now, library),)
    if due.what == "resume":
        goes_on = deadline_after_pause(clock, due.at, library.calendar(state.in_charge))
        return (CommandRequest(address, "resume", facts("resume", deadline=goes_on)),)
    return _fire(address, state, clock, due.what, now, library)


def _fire(
    address: Address, state: CaseState, clock: RunningDeadline, what: str, now: datetime, library: DocumentsInForce
) -> Sequence[CommandRequest]:
    deadline = clock.deadline
    calendar = library.calendar(state.in_charge)
    if clock.ended_at is None and deadline.calendar_reference != calendar_reference(calendar, deadline):
        new = recomputed_deadline(clock, calendar)
        if new.due != deadline.due:  # the calendar in force says otherwise: nothing fires by an old one
            return (recompute(address, clock, new),)
    said = {"stage": deadline.stage, "unit": deadline.unit, "due": deadline.due, "seen_at": now}
    if what == "warn":
        return (CommandRequest(address, "warn", facts("warn", **said)),)
    first = None if clock.ended_at else rung_at(library, state, deadline.stage, deadline.due, 0)
    return (
        CommandRequest(
            address, "declare-overdue", facts("declare-overdue", **said, next_at=first[1] if first else None)
        ),
    )


def recompute_by(library: DocumentsInForce) -> TimerPolicy:
    """What a running deadline asks for when it is looked at by the calendar in force: its new moment, or nothing."""

    def look(address: Address, state: Any, due: Timer, now: datetime) -> Sequence[CommandRequest]:
        clock = state.clock(Stage(due.stage), due.unit or None) if isinstance(state, CaseState) else None
        if clock is None or clock.overdue or clock.ended_at is not None:
            return ()
        new = recomputed_deadline(clock, library.calendar(state.in_charge))
        return (recompute(address, clock, new),) if new.due != clock.deadline.due else ()

    return look


def fire_by(library: DocumentsInForce) -> TimerPolicy:
    """What a moment asks for, by the documents in force."""
    return lambda address, state, due, now: fire(address, state, due, now, library)


def recompute(address: Address, clock: RunningDeadline, new: Any) -> CommandRequest:
    """A due moment by a newer calendar, with the old one and why."""
    old = clock.deadline
    why = f"calendar {old.calendar_reference or 'provisional'} -> {new.calendar_reference or 'provisional'}"
    said = facts("recompute-deadline", deadline=new, due_before=old.due, why=why)
    return CommandRequest(address, "recompute-deadline", said, what=str(new.calendar_reference))


# The ladder: remind the person, urge the unit, order, the level above (clause 11.2; docs/limits.md)


def _climb(
    address: Address, state: CaseState, clock: RunningDeadline, late: Overdue, now: datetime, library: DocumentsInForce
) -> CommandRequest:
    found = rung_at(library, state, late.stage, late.due, late.rung)
    row = found[0] if found else None
    to = _centre_above(library, state.in_charge)
    in_charge = to if row is not None and row.act is Act.ESCALATE and to else state.in_charge
    following = rung_at(library, state, late.stage, late.due, late.rung + 1)
    at_top = following is not None and following[0].act is Act.ESCALATE and not _centre_above(library, in_charge)
    said: dict[str, Any] = {
        "late_stage": late.stage,
        "late_unit": late.unit,
        "rung": late.rung,
        "moment": late.next_at,
        "next_at": None if following is None or at_top else max(following[1], late.next_at or following[1]),
        "acts": row.acts if row else "",
        "informs": _informed(library, state, late, row.informs if row else ()),
        "note": Note(text=_words(late, row)),
    }
    what = f"rung {late.rung}"
    if row is not None and row.act is Act.ESCALATE and to:
        return CommandRequest(address, "escalate", facts("escalate", to=to, **said), what=what)
    if row is not None and row.act is Act.ORDER:
        # a case whose clock stood still refused the order: when it goes on it is another one
        cause = f"{late.cause} {what}" + (f" after {clock.pauses}" if clock.pauses else "")
        return _order(address, state, late, row, said, now, library, cause)
    person = state.person_of(late.unit) if row is not None and row.act is Act.REMIND else None
    said |= {"unit": _who(state, late), "person": person}
    return CommandRequest(address, "urge", facts("urge", **said), what=what)


def _order(
    address: Address,
    state: CaseState,
    late: Overdue,
    row: LadderRow,
    said: dict[str, Any],
    now: datetime,
    library: DocumentsInForce,
    cause: str,
) -> CommandRequest:
    region = ordering_region(state.in_charge, state)
    order = Address("order", region, new_id(region, cause))
    due = moment_after(library.calendar(region), now, row.answer, row.answer_base)
    said |= {
        "kind": row.order_kind,
        "region": region,
        "unit": _who(state, late),
        "cases": (address.subject,),
        "due": due,
    }
    return CommandRequest(order, "issue-order", facts("issue-order", **said), what=f"rung {late.rung}")


def rungs_ahead(
    library: DocumentsInForce, state: CaseState, clock: RunningDeadline
) -> Iterator[tuple[int, LadderRow, datetime]]:
    """The rungs that are to come if nothing happens, with their moments; of one that repeats for ever the first two."""
    late = state.overdue_of(*clock.key) if clock.overdue else None
    if clock.ended_at is not None or clock.suspended or (clock.overdue and (late is None or late.next_at is None)):
        return
    stage, due = clock.deadline.stage, clock.deadline.due
    number, place, region = late.rung if late else 0, late.next_at if late else due, state.in_charge
    twice = len(ladder_for(library.ladders(region), stage, facts_of(state)))
    while found := rung_at(library, state, stage, due, number):
        row, moment = found
        if row.act is Act.ESCALATE:
            to = _centre_above(library, region)
            if to is None:
                return
            region = to
        elif number > twice:
            return
        assert place is not None, "a ladder that stands has its next moment"
        place = place if late is not None and number == late.rung else max(moment, place)
        yield number, row, place
        number += 1


def ordering_region(centre: str, state: CaseState) -> str:
    """Where an order of a centre about a case stands: with it; one of the province with the city, which has a log."""
    return region_at(state.region, Level.CITY) if level_of(centre) is Level.PROVINCE else centre


def _who(state: CaseState, late: Overdue) -> str:
    """The unit that must act: the co-handling one, the responsible one, else the centre in charge."""
    centre = f"{state.in_charge}-centre"
    if late.stage in (Stage.TRIAGE, Stage.FEEDBACK):
        return centre
    return late.unit or state.unit or centre


def _centre_above(library: DocumentsInForce, region: str) -> str | None:
    """The next region up the tree that has a centre; None above the province."""
    while level_of(region) is not Level.PROVINCE:
        region = parent(region) or region
        if library.centre(region) is not None:
            return region
    return None


def informed_of_escalation(library: DocumentsInForce, state: CaseState, to: str) -> tuple[str, ...]:
    """Whom a person's escalation informs (clause 11.2): own party committee and government, and the centre above."""
    centre = library.centre_of(state.in_charge)
    own = (centre.party_committee, centre.government) if centre else ()
    return tuple(name for name in (*own, f"{to}-centre") if name)


def _informed(library: DocumentsInForce, state: CaseState, late: Overdue, whom: Sequence[Informed]) -> tuple[str, ...]:
    """Whom a rung informs, by name (clause 11.2: the own party committee and government, and the centre above)."""
    centre = library.centre_of(state.in_charge)
    upper = _centre_above(library, state.in_charge)
    names = {
        Informed.PERSON: state.person_of(late.unit),
        Informed.UNIT: _who(state, late),
        Informed.CENTRE: f"{state.in_charge}-centre",
        Informed.PARTY_COMMITTEE: centre.party_committee if centre else None,
        Informed.GOVERNMENT: centre.government if centre else None,
        Informed.CENTRE_ABOVE: f"{upper}-centre" if upper else None,
    }
    return tuple(dict.fromkeys(name for one in whom if (name := names[one]) is not None))


def _words(late: Overdue, row: LadderRow | None) -> str:
    basis = f"（{row.basis}）" if row else ""
    said = f"{STAGE_NAMES[late.stage]}环节已超期，应于 {late.due.isoformat()} 前完成"
    return f"{said}；系统第 {late.rung + 1} 级催督{basis}。"


REACTIONS: tuple[Reaction, ...] = (
    reaction("supervision.annul", annul),
    reaction("supervision.keep_clocks", keep_clocks),
    reaction("supervision.tell_the_cases", tell_the_cases, refused=note_refusal),
)
