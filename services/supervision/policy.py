"""The policy of supervision: clocks that follow the stages of a case, timers, and the ladder for stages that are late.

Pure. Two kinds of causes lead to commands: an event that changes the stage of a case (`REACTIONS`), and a timer that is
due (`fire`). The law decides every command, so a repeated cause changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, TypeAlias

from services.supervision.deadlines.reckoning import (
    DocumentsInForce,
    LimitComparison,
    announced_at,
    candidates_for,
    deadline_for,
    differs,
    facts_of,
    moment_after,
    next_rung_at,
    out_of_force,
    recomputed_deadline,
    resumption,
    rung_at,
)
from shared.case import events as e
from shared.case.base import Address, Event, Level, Recorded, level_of, new_id, parent, region_at
from shared.case.catalogue import STAGE_CHANGES
from shared.case.clocks import Key, Overdue, RunningDeadline, seen_late
from shared.case.commands import facts
from shared.case.events.supervision import RungFacts
from shared.case.facts import SHORT_CHARS_MAX, Deadline, Hold, Note, Stage
from shared.case.orders import OrderState, OrderStatus
from shared.case.reasons import Rejected
from shared.case.state import CaseState
from shared.kit.access import takes_no_part
from shared.kit.effects import CommandRequest, OneOf, Reaction, Timer, TimerPolicy, reaction
from shared.reference.ladders import Act, Informed, LadderRow, ladder_for

STAGE_NAMES = {
    Stage.TRIAGE: "梳理分流",
    Stage.SIGN: "签收",
    Stage.HANDLE: "办理",
    Stage.CO_HANDLE: "协办",
    Stage.FEEDBACK: "反馈",
    Stage.REPORT: "报告",
}

# The clocks of a case follow its stages


# Events after which other stages of a case may run, or the same stages under other limits.
StageChange: TypeAlias = Annotated[Event, OneOf(STAGE_CHANGES)]
# Events after which the law's own limit may be earlier than that of a clock that people moved.
LimitChange: TypeAlias = e.Corrected | e.Triaged | e.Extended | e.Resumed


def keep_clocks(
    recorded: Recorded[StageChange], state: CaseState, reference_data: DocumentsInForce
) -> Sequence[CommandRequest]:
    """Open a clock for every stage that runs, close those of stages that are over, replace those with old limits.

    A stage that ended late is first declared overdue (clause 5.1.3 a).
    """
    if Hold.IMPORT in state.holds or state.erased:
        return ()
    address = recorded.address
    running = {clock.key: clock.deadline for clock in state.clocks if clock.ended_at is None}
    missing = sorted(state.running_stages - running.keys(), key=str)
    opened = {key: deadline for key in missing if (deadline := _deadline(reference_data, state, *key)) is not None}
    ended_late = [clock for clock in state.clocks if clock.late_unseen]
    requests = [
        _declare_ended_late(recorded, state, reference_data, clock, opened.get(clock.key)) for clock in ended_late
    ]
    if not state.running_stages:
        return requests
    over = {clock.deadline.stage for clock in state.clocks if clock.ended_at is not None}
    # Closing a stage closes all its clocks, so those of co-handling units that go on are set again.
    continued = {key: deadline for key, deadline in running.items() if key[0] in over}
    if over or opened:
        requests.append(_set_deadlines(address, continued | opened, over))
    limits_may_differ = isinstance(recorded.known, e.Corrected | e.Triaged)
    outdated = [clock.key for clock in state.clocks if limits_may_differ and _outdated(reference_data, state, clock)]
    corrected = {key: _deadline(reference_data, state, *key) for key in outdated}
    if corrected:  # a command of its own: if the old due moment has passed meanwhile, the law refuses this one alone
        stages = {stage for stage, _ in corrected}
        standing = {key: deadline for key, deadline in (running | opened).items() if key[0] in stages}
        requests.append(_set_deadlines(address, standing | corrected, stages, "corrected"))
    if isinstance(recorded.known, e.Unmerged):
        requests += _by_calendar_in_force(address, state, reference_data)
    return requests


def _by_calendar_in_force(
    address: Address, state: CaseState, reference_data: DocumentsInForce
) -> Iterator[CommandRequest]:
    """Move the running clocks to their due moments by the calendar in force: a merged case heard of no calendar."""
    calendar = reference_data.calendar(state.in_charge)
    for clock in state.clocks:
        if clock.ended_at is None and not (clock.overdue or clock.suspended):
            new, (stage, unit) = recomputed_deadline(clock, calendar), clock.key
            if differs(new, clock.deadline):
                yield replace(recompute(address, clock, new), what=f"{stage} {unit or ''}")


def _set_deadlines(
    address: Address, opens: Mapping[Key, Deadline], closes: Collection[Stage], what: str = ""
) -> CommandRequest:
    deadlines = facts("set-deadlines", opens=tuple(opens.values()), closes=tuple(sorted(closes)))
    return CommandRequest(address, "set-deadlines", deadlines, what=what)


def _declare_ended_late(
    recorded: Recorded[StageChange],
    state: CaseState,
    reference_data: DocumentsInForce,
    clock: RunningDeadline,
    opened: Deadline | None,
) -> CommandRequest:
    """Declare a stage overdue that ended late.

    A ladder follows only where the same stage goes on under the same deadline, as the report of a reopened case does.
    """
    deadline = clock.deadline
    goes_on = opened is not None and (opened.start, opened.due) == (deadline.start, deadline.due)
    since = announced_at(deadline.due, recorded.time)
    first_rung = next_rung_at(reference_data, state, deadline.stage, deadline.due, 0, since) if goes_on else None
    overdue = facts(
        "declare-overdue", stage=deadline.stage, unit=deadline.unit, due=deadline.due, seen_at=clock.ended_at,
        next_at=first_rung,
    )  # fmt: skip
    return CommandRequest(recorded.address, "declare-overdue", overdue, what=f"{deadline.stage} {deadline.unit or ''}")


def _outdated(reference_data: DocumentsInForce, state: CaseState, clock: RunningDeadline) -> bool:
    """Whether the limit of a clock that nobody moved differs from the one for the case as it is now.

    A clock that was put under the law's own limit stays there while that limit applies: the custom limit that it left
    may be over.
    """
    if clock.moved or clock.overdue or clock.ended_at is not None:
        return False
    candidates = candidates_for(reference_data, state, *clock.key, _since(state, *clock.key))
    if clock.put_under and any(deadline.terms == clock.deadline.terms for deadline in candidates):
        return False
    new = _deadline(reference_data, state, *clock.key)
    return new is not None and new.terms != clock.deadline.terms


def _deadline(reference_data: DocumentsInForce, state: CaseState, stage: Stage, unit: str | None) -> Any:
    """The deadline of a stage by the limits in force; None without one: a report upward may have none (clause 11.4)."""
    return deadline_for(reference_data, state, stage, unit, _since(state, stage, unit))


def _since(state: CaseState, stage: Stage, unit: str | None) -> datetime:
    """The moment at which a running stage began."""
    since = state.registered_at if stage is Stage.REPORT else state.since
    if stage is Stage.CO_HANDLE:
        since = next((co_handler.since for co_handler in state.co_handlers if co_handler.unit == unit), since)
    assert since is not None, "a registered case has its times"
    return since


# A clock that people moved, and the law's own limit


def hold_the_stricter(
    recorded: Recorded[LimitChange], state: CaseState, reference_data: DocumentsInForce
) -> Sequence[CommandRequest]:
    """Put a clock that people moved under the law's own limit for the case as it now is, where that one is due earlier.

    The limit of a clock that nobody moved is replaced by `keep_clocks`, whichever of the two is longer.
    """
    if Hold.IMPORT in state.holds or state.erased:
        return ()
    requests = []
    for clock in state.clocks:
        comparison = compare_limits(reference_data, state, clock)
        if comparison is not None and comparison.law_holds:
            requests.append(_put_under(recorded.address, clock, comparison))
    return requests


def compare_limits(
    reference_data: DocumentsInForce, state: CaseState, clock: RunningDeadline
) -> LimitComparison | None:
    """The deadline of a clock that people moved beside the law's own by another limit; None where there is none.

    Both count from the start and stand still in the same pauses, so that the working time used up counts in both. An
    extension belongs to the limit under which it was granted. A clock whose limit still applies has the ceiling of the
    law above it and no other: under that ceiling a custom limit binds no longer.
    """
    if not clock.moved or clock.overdue or clock.ended_at is not None or clock.key not in state.running_stages:
        return None
    pauses = [move for move in clock.moves if move.type != e.Extended.TYPE]
    since = _since(state, *clock.key)
    candidates = candidates_for(reference_data, state, *clock.key, since, pauses)
    applies = any(deadline.terms == clock.deadline.terms for deadline in candidates)
    compared = candidates[1:] if applies else candidates  # the limit chosen comes first, the ceiling of the law second
    others = [deadline for deadline in compared if deadline.terms != clock.deadline.terms]
    if not others:
        return None
    calendar = reference_data.calendar(state.in_charge)
    moved = recomputed_deadline(clock, calendar)
    return LimitComparison(moved, min(others, key=lambda deadline: deadline.due), calendar.tz)


def _put_under(address: Address, clock: RunningDeadline, comparison: LimitComparison) -> CommandRequest:
    due_before, (stage, unit) = clock.deadline.due, clock.key
    moved = facts("recompute-deadline", deadline=comparison.law, due_before=due_before, why=comparison.text)
    return CommandRequest(address, "recompute-deadline", moved, what=f"{stage} {unit or ''}")


def annul(recorded: Recorded[StageChange], state: CaseState, _: object) -> Sequence[CommandRequest]:
    """Annul the overdue of a stage that ended in time, whenever the proof of that arrives."""
    proof = f"{recorded.type} {recorded.id}"
    return [
        CommandRequest(recorded.address, "annul-overdue",
                       facts("annul-overdue", stage=overdue.stage, unit=overdue.unit, proof=proof),
                       what=f"{overdue.stage} {overdue.unit or ''}")
        for overdue in state.late
        if overdue.ended_at is not None and overdue.ended_at <= overdue.due
    ]  # fmt: skip


# Orders


def tell_the_cases(recorded: Recorded[e.OrderIssued], state: OrderState, _: object) -> Sequence[CommandRequest]:
    """Put each case of a new order under it, by a command `order` (clause 5.1.1 f)."""
    event, order = recorded.known, recorded.address
    rung = {name: getattr(event, name) for name in RungFacts.model_fields}
    ordered = facts("order", order=order.id, kind=event.kind, due=event.due, **rung)
    return [CommandRequest(Address.parse(subject), "order", ordered) for subject in event.cases]


def note_refusal(
    recorded: Recorded[e.OrderIssued], request: CommandRequest, outcome: Rejected
) -> Sequence[CommandRequest]:
    """Note on the order that one of its cases refused it, and why."""
    case = request.address.subject
    refusal = facts("note-case-refusal", case=case, reason=outcome.reason.code)
    return [CommandRequest(recorded.address, "note-case-refusal", refusal, what=case)]


# Moments


def moments(subject: str, state: CaseState | OrderState) -> Iterator[Timer]:
    """The next timers of a case or an order; none for a case under import, which follows the times of its file."""
    if isinstance(state, OrderState):
        if state.status is OrderStatus.ISSUED and state.due is not None and not state.overdue:
            yield Timer(state.due, subject, "order", cause=state.issued_by)
        return
    if Hold.IMPORT in state.holds or state.erased:
        return
    for clock in state.clocks:
        yield from _timers_of_clock(subject, state, clock)


def _timers_of_clock(subject: str, state: CaseState, clock: RunningDeadline) -> Iterator[Timer]:
    deadline = clock.deadline
    stage, unit = deadline.stage.value, deadline.unit or ""
    if clock.ended_at is not None and not clock.late_unseen:
        return
    if clock.suspended:
        if clock.resume_at is not None:
            yield Timer(clock.resume_at, subject, "resume", stage, unit, clock.moves[-1].event)
        return
    if clock.overdue:
        overdue = state.overdue_of(*clock.key)
        if overdue is not None and overdue.next_at is not None:
            yield Timer(overdue.next_at, subject, "rung", stage, unit, overdue.cause)
        return
    if deadline.warn_at is not None and not clock.warned and clock.ended_at is None:
        yield Timer(deadline.warn_at, subject, "warn", stage, unit, clock.set_by)
    yield Timer(deadline.due, subject, "overdue", stage, unit, clock.set_by)


def fire(
    address: Address, state: Any, timer: Timer, now: datetime, reference_data: DocumentsInForce
) -> Sequence[CommandRequest]:
    """The commands that follow when a timer of a case or an order is due; none for a timer out of force.

    The agenda may be older than the state, so each timer is compared with the timers of the state. A timer whose cause
    is older has done its work already, and its commands would be asked for in vain.
    """
    if timer.at > now or timer not in moments(address.subject, state):
        return ()
    if isinstance(state, OrderState):
        overdue = facts("declare-order-overdue", due=timer.at, seen_at=now)
        return (CommandRequest(address, "declare-order-overdue", overdue),)
    clock = state.clock(Stage(timer.stage), timer.unit or None)
    assert clock is not None, "a timer in force belongs to a clock"
    if timer.what == "rung":
        late = state.overdue_of(*clock.key)
        assert late is not None, "a rung in force belongs to an overdue"
        return (_climb(address, state, clock, late, now, reference_data),)
    if timer.what == "resume":
        continued = resumption(clock, timer.at, reference_data.calendar(state.in_charge))
        return (CommandRequest(address, "resume", facts("resume", **continued)),)
    return _warn_or_declare(address, state, clock, timer.what, now, reference_data)


def _warn_or_declare(
    address: Address,
    state: CaseState,
    clock: RunningDeadline,
    what: str,
    now: datetime,
    reference_data: DocumentsInForce,
) -> Sequence[CommandRequest]:
    deadline = clock.deadline
    calendar = reference_data.calendar(state.in_charge)
    if clock.ended_at is None and out_of_force(deadline, calendar):
        new = recomputed_deadline(clock, calendar)
        if differs(new, deadline):  # the calendar in force gives other moments: the clock is moved first
            return (recompute(address, clock, new),)
    stated = {"stage": deadline.stage, "unit": deadline.unit, "due": deadline.due, "seen_at": now}
    if what == "warn":
        return (CommandRequest(address, "warn", facts("warn", **stated)),)
    since = announced_at(deadline.due, now)
    ladder = () if clock.ended_at else (reference_data, state, deadline.stage, deadline.due, 0, since)
    overdue = facts("declare-overdue", **stated, next_at=next_rung_at(*ladder) if ladder else None)
    return (CommandRequest(address, "declare-overdue", overdue),)


def recompute_by(reference_data: DocumentsInForce) -> TimerPolicy:
    """The policy that moves a running deadline to its due moment by the calendar in force, where that differs."""

    def policy(address: Address, state: Any, timer: Timer, now: datetime) -> Sequence[CommandRequest]:
        clock = state.clock(Stage(timer.stage), timer.unit or None) if isinstance(state, CaseState) else None
        if clock is None or clock.overdue or clock.ended_at is not None:
            return ()
        new = recomputed_deadline(clock, reference_data.calendar(state.in_charge))
        return (recompute(address, clock, new),) if differs(new, clock.deadline) else ()

    return policy


def fire_by(reference_data: DocumentsInForce) -> TimerPolicy:
    """The policy of the ticker: `fire`, by the reference documents in force."""
    return lambda address, state, timer, now: fire(address, state, timer, now, reference_data)


def recompute(address: Address, clock: RunningDeadline, new: Deadline) -> CommandRequest:
    """Move a clock to the deadline `new`, stating the due moment before and the calendars of both."""
    old, what = clock.deadline, str(new.calendar_reference)
    why = f"calendar {_calendars(old)} -> {_calendars(new)}"[:SHORT_CHARS_MAX]
    recomputed = facts("recompute-deadline", deadline=new, due_before=old.due, why=why)
    return CommandRequest(address, "recompute-deadline", recomputed, what=what)


def _calendars(deadline: Deadline) -> str:
    return ", ".join(deadline.calendars) or deadline.calendar_reference or "provisional"


# The ladder: remind the person, urge the unit, issue an order, escalate (clause 11.2; docs/limits.md)


def _climb(
    address: Address,
    state: CaseState,
    clock: RunningDeadline,
    late: Overdue,
    now: datetime,
    reference_data: DocumentsInForce,
) -> CommandRequest:
    """The command of the next rung of the ladder. Where the ladder has no such rung, the unit is urged."""
    rung = rung_at(reference_data, state, late.stage, late.due, late.rung)
    row = rung[0] if rung else None
    to = _centre_above(reference_data, state.in_charge)
    in_charge = to if row is not None and row.act is Act.ESCALATE and to else state.in_charge
    following = rung_at(reference_data, state, late.stage, late.due, late.rung + 1)
    since = announced_at(late.next_at or late.due, now)
    at_top = following is not None and following[0].act is Act.ESCALATE and not _centre_above(reference_data, in_charge)
    stated: dict[str, Any] = {
        "late_stage": late.stage,
        "late_unit": late.unit,
        "rung": late.rung,
        "moment": late.next_at,
        "next_at": None if at_top else next_rung_at(reference_data, state, late.stage, late.due, late.rung + 1, since),
        "acts": row.acts if row else "",
        "informs": _informed(reference_data, state, late, row.informs if row else (), now),
        "note": Note(text=_note_text(late, row, now)),
    }
    what = f"rung {late.rung}"
    if row is not None and row.act is Act.ESCALATE and to:
        return CommandRequest(address, "escalate", facts("escalate", to=to, **stated), what=what)
    if row is not None and row.act is Act.ORDER:
        # A case whose clock is suspended refuses the order. After the pause another order is issued, with another id.
        cause = f"{late.cause} {what}" + (f" after {clock.pauses}" if clock.pauses else "")
        return _issue_order(address, state, late, row, stated, now, reference_data, cause)
    person = holder(reference_data, state, late.unit, now) if row is not None and row.act is Act.REMIND else None
    stated |= {"unit": _unit_to_act(state, late), "person": person}
    return CommandRequest(address, "urge", facts("urge", **stated), what=what)


def _issue_order(
    address: Address,
    state: CaseState,
    late: Overdue,
    row: LadderRow,
    stated: dict[str, Any],
    now: datetime,
    reference_data: DocumentsInForce,
    cause: str,
) -> CommandRequest:
    region = ordering_region(state.in_charge, state)
    order = Address("order", region, new_id(region, cause))
    due = moment_after(reference_data.calendar(region), now, row.answer, row.answer_base)
    stated |= {
        "kind": row.order_kind,
        "region": region,
        "unit": _unit_to_act(state, late),
        "cases": (address.subject,),
        "due": due,
    }
    return CommandRequest(order, "issue-order", facts("issue-order", **stated), what=f"rung {late.rung}")


def rungs_ahead(
    reference_data: DocumentsInForce, state: CaseState, clock: RunningDeadline
) -> Iterator[tuple[int, LadderRow, datetime]]:
    """The rungs that follow if nothing happens, with their moments. Of a rung that repeats for ever, the first two."""
    late = state.overdue_of(*clock.key) if clock.overdue else None
    if clock.ended_at is not None or clock.suspended or (clock.overdue and (late is None or late.next_at is None)):
        return
    stage, due = clock.deadline.stage, clock.deadline.due
    number, at, region = late.rung if late else 0, late.next_at if late else due, state.in_charge
    last_number = len(ladder_for(reference_data.ladders(region), stage, facts_of(state)))
    while rung := rung_at(reference_data, state, stage, due, number):
        row, moment = rung
        if row.act is Act.ESCALATE:
            to = _centre_above(reference_data, region)
            if to is None:
                return
            region = to
        elif number > last_number:
            return
        assert at is not None, "a ladder that goes on has its next moment"
        if late is None or number != late.rung:
            at = next_rung_at(reference_data, state, stage, due, number, at) or moment
        yield number, row, at
        number += 1


def ordering_region(centre: str, state: CaseState) -> str:
    """The region of an order that a centre issues: its own. For a province the city of the case, which has a log."""
    return region_at(state.region, Level.CITY) if level_of(centre) is Level.PROVINCE else centre


def holder(reference_data: DocumentsInForce, state: CaseState, unit: str | None, now: datetime) -> str | None:
    """Who has the case in hand in a unit: the responsible person, else the deputy who stands in for an absent one.

    None where nobody does: then the matter is the unit's alone.
    """
    person = state.person_of(unit)
    present = reference_data.stand_in(person, now, takes_no_part(state)) if person is not None else None
    return present.id if present is not None else None


def _unit_to_act(state: CaseState, late: Overdue) -> str:
    """The unit that must act: the co-handling one, else the responsible one, else the centre in charge."""
    centre = f"{state.in_charge}-centre"
    if late.stage in (Stage.TRIAGE, Stage.FEEDBACK):
        return centre
    return late.unit or state.unit or centre


def _centre_above(reference_data: DocumentsInForce, region: str) -> str | None:
    """The nearest region above that has a centre; None where there is none up to the province."""
    while level_of(region) is not Level.PROVINCE:
        region = parent(region) or region
        if reference_data.centre(region) is not None:
            return region
    return None


def informed_of_escalation(reference_data: DocumentsInForce, state: CaseState, to: str) -> tuple[str, ...]:
    """The names that a person's escalation informs: own party committee and government, the centre above (11.2)."""
    centre = reference_data.centre_of(state.in_charge)
    own = (centre.party_committee, centre.government) if centre else ()
    return tuple(name for name in (*own, f"{to}-centre") if name)


def _informed(
    reference_data: DocumentsInForce, state: CaseState, late: Overdue, recipients: Sequence[Informed], now: datetime
) -> tuple[str, ...]:
    """The names that a rung informs (clause 11.2: the own party committee and government, and the centre above)."""
    centre = reference_data.centre_of(state.in_charge)
    upper = _centre_above(reference_data, state.in_charge)
    names = {
        Informed.PERSON: holder(reference_data, state, late.unit, now),
        Informed.UNIT: _unit_to_act(state, late),
        Informed.CENTRE: f"{state.in_charge}-centre",
        Informed.PARTY_COMMITTEE: centre.party_committee if centre else None,
        Informed.GOVERNMENT: centre.government if centre else None,
        Informed.CENTRE_ABOVE: f"{upper}-centre" if upper else None,
    }
    return tuple(dict.fromkeys(name for recipient in recipients if (name := names[recipient]) is not None))


def _note_text(late: Overdue, row: LadderRow | None, now: datetime) -> str:
    basis = f"（{row.basis}）" if row else ""
    delay = f"{STAGE_NAMES[late.stage]}环节已超期，应于 {late.due.isoformat()} 前完成"
    outage = "（迟于应发时刻发出）" if late.next_at and seen_late(late.next_at, now) else ""
    return f"{delay}；系统第 {late.rung + 1} 级催督{basis}{outage}。"


REACTIONS: tuple[Reaction, ...] = (
    reaction("supervision.annul", annul),
    reaction("supervision.keep_clocks", keep_clocks),
    reaction("supervision.hold_the_stricter", hold_the_stricter),
    reaction("supervision.tell_the_cases", tell_the_cases, refused=note_refusal),
)
