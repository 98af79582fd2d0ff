"""The current state of a case: the fold of its events. Pure; the state contains open facts only, never content.

`evolve` never fails on an event that the law has allowed. An event of a newer version is marked in the state, and the
decider then refuses to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from shared.case import clocks
from shared.case import events as e
from shared.case._fast import replaced_by, slots_changed
from shared.case.base import Event, Recorded, Unknown
from shared.case.clocks import Key, Overdue, RunningDeadline
from shared.case.facts import Hold, KeptFrom, Nature, Outcome, Retention, Satisfaction, Severity, Stage
from shared.case.lifecycle import ENDED, OPEN, STAGES, TRANSITIONS, WITH_UNIT, Status, Transition, Variant


@dataclass(frozen=True, slots=True)
class CoHandler:
    """The task of one co-handling unit (clause 5.1.1 b)."""

    unit: str
    person: str | None = None
    reported: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class CaseState:
    """One case: its status, units and people, clocks and related cases.

    `version` is the count of its events, shown to people. `registration_sequence` is the stream sequence of its first
    event; the case number follows from it. `late` are the overdues that stand, also after the end of their clocks;
    `overdue_count` is their number. `since` is the start of the current stage. `live_since` is the end of an import;
    until then the clock of its file rules. The aliases are the names in stored states, which never change.
    """

    status: Status = Status.NEW
    version: int = 0
    registration_sequence: Annotated[int, Field(alias="born")] = 0
    region: str = ""
    in_charge: str = ""
    nature: Nature | None = None
    subject: str | None = None
    severity: Severity = Severity.GENERAL
    retention: Retention = Retention.YEAR_1
    channel: str = ""
    first_asked: str = ""
    first_asked_unit: str = ""
    grid: str | None = None
    source: str | None = None
    source_id: str | None = None
    complained_unit: str | None = None
    stand_aside: tuple[str, ...] = ()
    informant: bool = False
    unit: str | None = None
    person: str | None = None
    co_handlers: tuple[CoHandler, ...] = ()
    triaged_unit: str | None = None
    triaged_co_units: tuple[str, ...] = ()
    no_hand_back: bool = False
    hand_backs: int = 0
    send_backs: int = 0
    repeats: int = 0
    people_count: int = 0
    clocks: tuple[RunningDeadline, ...] = ()
    late: tuple[Overdue, ...] = ()
    overdue_count: Annotated[int, Field(alias="lateness")] = 0
    reported_up: bool = False
    reopened: bool = False
    reopening_proposed: bool = False
    orders: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    release_requested_by: str | None = None
    erasure_requested_by: str | None = None
    outcome: Outcome | None = None
    satisfaction: Satisfaction = Satisfaction.UNRATED
    parent: str | None = None
    handed_by: str | None = None
    merged_into: str | None = None
    erased: bool = False
    newer_event: bool = False
    contact_time: datetime | None = None
    registered_at: datetime | None = None
    settled_at: datetime | None = None
    closed_at: datetime | None = None
    last_at: datetime | None = None
    since: datetime | None = None
    live_since: Annotated[datetime | None, Field(alias="ours_since")] = None
    applied: frozenset[str] = field(default_factory=frozenset)

    @property
    def co_units(self) -> tuple[str, ...]:
        return tuple(co.unit for co in self.co_handlers)

    @property
    def units(self) -> tuple[str, ...]:
        """The units that have the case; before assignment, the units of the triage."""
        triaged = (self.triaged_unit, *self.triaged_co_units)
        named = triaged if self.unit is None else (self.unit, *self.co_units)
        return tuple(unit for unit in named if unit is not None)

    @property
    def people(self) -> tuple[str, ...]:
        """The responsible person and those of the co-handling units."""
        return tuple(person for person in (self.person, *(co.person for co in self.co_handlers)) if person is not None)

    def person_of(self, unit: str | None) -> str | None:
        """The person responsible in a unit that has the case; without a unit, in the responsible unit."""
        if unit in (None, self.unit):
            return self.person
        return next((co.person for co in self.co_handlers if co.unit == unit), None)

    def clock(self, stage: Stage, unit: str | None = None) -> RunningDeadline | None:
        """The clock in force of a stage; for the co-handling stage, that of one unit."""
        return clocks.find(self.clocks, (stage, unit))

    def overdue_of(self, stage: Stage, unit: str | None = None) -> Overdue | None:
        """The overdue of a stage that stands."""
        return next((overdue for overdue in self.late if overdue.key == (stage, unit)), None)

    @property
    def running_stages(self) -> frozenset[Key]:
        """The stages that run now, of the case and of its co-handlers. Each has a clock (clause 5.1.3 a)."""
        if self.status not in OPEN:
            return frozenset()
        keys: set[Key] = {(STAGES[self.status], None)}
        if self.status in WITH_UNIT:
            keys |= {(Stage.CO_HANDLE, co.unit) for co in self.co_handlers if not co.reported}
        if not self.reported_up:
            keys.add((Stage.REPORT, None))
        return frozenset(keys)


STATE = TypeAdapter(CaseState)
NEW = CaseState()

# The fields of the state that an event changes, with their new values.
StateUpdate = Callable[[CaseState, Any, Recorded[Any]], dict[str, Any]]
_UPDATES: dict[type[Event], StateUpdate] = {}


def variant(event: Event, state: CaseState) -> Variant:
    """The variant of an event in the table of transitions, by its facts and by the state before it."""
    if isinstance(event, e.Registered) and event.answer is not None:
        return Variant.ANSWERED
    if isinstance(event, e.Assigned) and event.unit == state.unit:
        return Variant.CO
    if isinstance(event, e.SignedFor | e.Reassigned) and event.unit in state.co_units:
        return Variant.CO
    if isinstance(event, e.SentBack) and state.unit is None:
        return Variant.UNASSIGNED
    if isinstance(event, e.Unmerged):
        return Variant(event.status)
    if isinstance(event, e.Supplemented) and event.from_case is not None:
        return Variant.FORWARDED
    return Variant.PLAIN


def transition(state: CaseState, event: Event) -> Transition[Status] | None:
    """The row of the table that allows the event in this state; None when the event is not allowed."""
    return TRANSITIONS.get((state.status, type(event), variant(event, state)))


def evolve(state: CaseState, recorded: Recorded[Any]) -> CaseState:
    """The case after one more event."""
    event = recorded.event
    common: dict[str, Any] = {
        "version": state.version + 1,
        "applied": state.applied | {recorded.meta.command_id},
        "last_at": recorded.meta.time,
    }
    if isinstance(event, Unknown):
        return _changed(state, common | {"newer_event": True})
    update = _UPDATES.get(type(event))
    changes = update(state, event, recorded) if update else {}
    row = transition(state, event)
    entered = row is not None and row.target is not None and not isinstance(event, e.Triaged | e.Unmerged)
    if row is not None:
        common["status"] = row.status_after(state.status)
    if entered:
        common["since"] = recorded.meta.time
    new = _changed(state, common | changes)
    return _stages_ended(new, entered, recorded.meta.time) if new.clocks else new


def _stages_ended(state: CaseState, entered: bool, at: datetime) -> CaseState:
    """The case with the ends of its clocks. A case that ended keeps only its clocks with an undeclared overdue."""
    still = state.running_stages
    if entered:  # another stage began, or the same stage again
        still -= {(stage, None) for stage in STAGES.values()}
    if state.status not in ENDED and all(clock.ended_at or clock.key in still for clock in state.clocks):
        return state
    now = clocks.ended(state.clocks, still, at)
    remaining = tuple(clock for clock in now if clock.late_unseen) if state.status in ENDED else now
    return _changed(state, {"clocks": remaining, "late": clocks.late_ended(state.late, now)})


@replaced_by(slots_changed(CaseState))
def _changed(state: CaseState, changes: Mapping[str, Any]) -> CaseState:
    return replace(state, **changes)


def fold(recorded: Iterable[Recorded[Any]], state: CaseState = NEW) -> CaseState:
    """The case after these events, from `state` on."""
    for event in recorded:
        state = evolve(state, event)
    return state


def standing(events: Iterable[Recorded[Any]]) -> dict[str, Any]:
    """Where a case stood right before the merge that stands, as facts of an undoing: status, stage and clocks.

    Of a case that is not merged, where it stands; the law refuses to undo its merge.
    """
    state, before = NEW, None
    for recorded in events:
        if isinstance(recorded.event, e.Merged):
            before = state
        state = evolve(state, recorded)
    merged = before if state.status is Status.MERGED else None
    stood = (merged.status, merged.since, merged.clocks) if merged else (Status.AWAITING_TRIAGE, state.since, ())
    status, since, running = stood
    stored = clocks.STORED.dump_json(running, exclude_defaults=True).decode()
    return {"merged_at": state.since, "status": status.value, "since": since, "clocks": stored}


def _on(*types: type[Event]) -> Callable[[StateUpdate], StateUpdate]:
    def register(update: StateUpdate) -> StateUpdate:
        for type_ in types:
            _UPDATES[type_] = update
        return update

    return register


_NO_HANDLER = {"unit": None, "person": None, "co_handlers": (), "triaged_unit": None, "triaged_co_units": ()}

# the fields of a registration that the state has under the same name
_REGISTERED = e.Registered.model_fields.keys() & {field_.name for field_ in fields(CaseState)}


@_on(e.Registered)
def _registered(state: CaseState, event: e.Registered, recorded: Recorded[Any]) -> dict[str, Any]:
    changes = {name: getattr(event, name) for name in _REGISTERED} | _kept_from(state, event)
    answered = event.answer is not None
    return changes | {
        "channel": event.channel.value,
        "in_charge": event.region,
        "registration_sequence": recorded.position.sequence if recorded.position else 0,
        "registered_at": recorded.meta.time,
        "holds": (event.hold,) if event.hold else (),
        "settled_at": recorded.meta.time if answered else None,
        "outcome": Outcome.EXPLAINED if answered else None,
    }


def _kept_from(state: CaseState, event: KeptFrom) -> dict[str, Any]:
    return {
        "complained_unit": state.complained_unit or event.complained_unit,
        "stand_aside": tuple(dict.fromkeys((*state.stand_aside, *event.stand_aside))),
        "informant": state.informant or event.informant,
    }


@_on(e.Corrected, e.Triaged)
def _classified(state: CaseState, event: e.Corrected | e.Triaged, recorded: Recorded[Any]) -> dict[str, Any]:
    stated = {"nature": event.nature, "subject": event.subject, "severity": event.severity}
    changes: dict[str, Any] = {name: value for name, value in stated.items() if value is not None}
    if isinstance(event, e.Triaged):
        return changes | {"triaged_unit": event.unit, "triaged_co_units": event.co_units}
    return changes | _kept_from(state, event)


@_on(e.Attached)
def _attached(state: CaseState, event: e.Attached, recorded: Recorded[Any]) -> dict[str, Any]:
    repeats = state.repeats + 1 + (event.merged_repeats or 0)
    counts = {"repeats": repeats, "people_count": state.people_count + event.people_count}
    return counts | _kept_from(state, event)


@_on(e.CalledBack)
def _called_back(state: CaseState, event: e.CalledBack, recorded: Recorded[Any]) -> dict[str, Any]:
    return _rated(state, event, recorded) | ({"outcome": event.outcome} if event.outcome else {})


@_on(e.Rated)
def _rated(state: CaseState, event: e.Rated | e.CalledBack, recorded: Recorded[Any]) -> dict[str, Any]:
    """A call without a rating (nobody answered) does not take back an earlier rating.

    The reporter of a merged case does not speak for the others: only their dissatisfaction counts.
    """
    if isinstance(event, e.Rated) and event.from_case and event.satisfaction is not Satisfaction.DISSATISFIED:
        return {}
    return {} if event.satisfaction is Satisfaction.UNRATED else {"satisfaction": event.satisfaction}


@_on(e.Assigned, e.Ruled)
def _assigned(state: CaseState, event: e.Assigned | e.Ruled, recorded: Recorded[Any]) -> dict[str, Any]:
    bound = state.no_hand_back and event.unit == state.unit  # other co-handlers do not lift the ruling
    same_unit = variant(event, state) is Variant.CO  # its person and the remaining co-handlers stay
    before = {co.unit: co for co in state.co_handlers} if same_unit else {}
    return {
        "unit": event.unit,
        "person": state.person if same_unit else None,
        "co_handlers": tuple(before.get(unit) or CoHandler(unit, since=recorded.meta.time) for unit in event.co_units),
        "no_hand_back": bound or isinstance(event, e.Ruled) or event.direct,
        "outcome": None,
        "satisfaction": Satisfaction.UNRATED,
    }


@_on(e.SignedFor, e.Reassigned)
def _signed(state: CaseState, event: e.SignedFor | e.Reassigned, recorded: Recorded[Any]) -> dict[str, Any]:
    if event.unit == state.unit:
        return {"person": event.person}
    return {"co_handlers": _co(state, event.unit, lambda co: replace(co, person=event.person))}


@_on(e.CoReported)
def _co_reported(state: CaseState, event: e.CoReported, recorded: Recorded[Any]) -> dict[str, Any]:
    return {"co_handlers": _co(state, event.unit, lambda co: replace(co, reported=True))}


@_on(e.CoHandlingEnded)
def _co_ended(state: CaseState, event: e.CoHandlingEnded, recorded: Recorded[Any]) -> dict[str, Any]:
    return {"co_handlers": tuple(co for co in state.co_handlers if co.unit != event.unit)}


def _co(state: CaseState, unit: str, change: Callable[[CoHandler], CoHandler]) -> tuple[CoHandler, ...]:
    return tuple(change(co) if co.unit == unit else co for co in state.co_handlers)


@_on(e.HandedBack)
def _handed_back(state: CaseState, event: e.HandedBack, recorded: Recorded[Any]) -> dict[str, Any]:
    return _NO_HANDLER | {"hand_backs": state.hand_backs + 1}


@_on(e.Transferred)
def _transferred(state: CaseState, event: e.Transferred, recorded: Recorded[Any]) -> dict[str, Any]:
    return _NO_HANDLER | {"in_charge": event.to, "no_hand_back": False}


@_on(e.Settled)
def _settled(state: CaseState, event: e.Settled, recorded: Recorded[Any]) -> dict[str, Any]:
    return {"outcome": event.outcome, "settled_at": recorded.meta.time, "satisfaction": Satisfaction.UNRATED}


@_on(e.SentBack)
def _sent_back(state: CaseState, event: e.SentBack, recorded: Recorded[Any]) -> dict[str, Any]:
    return {
        "send_backs": state.send_backs + 1,
        "settled_at": None,
        "outcome": None,
        "satisfaction": Satisfaction.UNRATED,
        "co_handlers": tuple(replace(co, reported=False, since=recorded.meta.time) for co in state.co_handlers),
    }


@_on(e.Reopened)
def _reopened(state: CaseState, event: e.Reopened, recorded: Recorded[Any]) -> dict[str, Any]:
    cleared = {"closed_at": None, "settled_at": None, "outcome": None, "no_hand_back": False, "reopened": True}
    return (
        _NO_HANDLER
        | cleared
        | {
            "satisfaction": Satisfaction.UNRATED,
            "erasure_requested_by": None,
            "reopening_proposed": False,
        }
    )


_UPDATES |= {
    e.HandedDown: lambda state, event, recorded: {"in_charge": event.to},
    e.Merged: lambda state, event, recorded: {"merged_into": event.into},
    e.ReopeningProposed: lambda state, event, recorded: {"reopening_proposed": True},
    e.ReopeningDeclined: lambda state, event, recorded: {"reopening_proposed": False},
    e.Closed: lambda state, event, recorded: {"closed_at": recorded.meta.time},
    # a hold ends a request that waits: the content is needed, so erasure is requested anew
    e.Held: lambda state, event, recorded: {"holds": (*state.holds, event.hold), "erasure_requested_by": None},
    e.ReleaseRequested: lambda state, event, recorded: {"release_requested_by": recorded.meta.actor.person},
    e.ReleaseRequestEnded: lambda state, event, recorded: {"release_requested_by": None},
    e.ErasureRequested: lambda state, event, recorded: {"erasure_requested_by": recorded.meta.actor.person},
    e.ErasureRequestEnded: lambda state, event, recorded: {"erasure_requested_by": None},
    e.Erased: lambda state, event, recorded: {"erased": True},
}


@_on(e.Unmerged)
def _unmerged(state: CaseState, event: e.Unmerged, recorded: Recorded[Any]) -> dict[str, Any]:
    before = clocks.STORED.validate_json(event.clocks)
    run_on = clocks.run_on(before, state.late, recorded.id, recorded.meta.time)
    return {"merged_into": None, "since": event.since, "erasure_requested_by": None} | run_on


@_on(e.Released)
def _released(state: CaseState, event: e.Released, recorded: Recorded[Any]) -> dict[str, Any]:
    holds = {"holds": tuple(hold for hold in state.holds if hold is not event.hold)}
    if event.hold is Hold.IMPORT:
        return holds | {"live_since": recorded.meta.recorded_at}
    return holds | {"release_requested_by": None}


@_on(e.DeadlinesSet)
def _deadlines_set(state: CaseState, event: e.DeadlinesSet, recorded: Recorded[Any]) -> dict[str, Any]:
    return clocks.set_anew(state.clocks, state.late, event, recorded.id)


@_on(e.DeadlineRecomputed, e.Resumed)
def _reckoned_anew(
    state: CaseState, event: e.DeadlineRecomputed | e.Resumed, recorded: Recorded[Any]
) -> dict[str, Any]:
    return {"clocks": clocks.reckoned_anew(state.clocks, event, recorded)}


@_on(e.Extended)
def _extended(state: CaseState, event: e.Extended, recorded: Recorded[Any]) -> dict[str, Any]:
    return {"clocks": clocks.extended(state.clocks, event, recorded)}


@_on(*clocks.FLAGGING)
def _flagged(state: CaseState, event: Any, recorded: Recorded[Any]) -> dict[str, Any]:
    changed = {"clocks": clocks.flagged(state.clocks, event, recorded)}
    if not isinstance(event, e.OverdueDeclared):
        return changed
    clock = state.clock(event.stage, event.unit)
    late = clocks.declared(state.late, event, recorded.id, clock.ended_at if clock else None)
    return changed | {"late": late, "overdue_count": state.overdue_count + 1}


@_on(e.OverdueAnnulled)
def _annulled(state: CaseState, event: e.OverdueAnnulled, recorded: Recorded[Any]) -> dict[str, Any]:
    return {"late": clocks.annulled(state.late, (event.stage, event.unit)), "overdue_count": state.overdue_count - 1}


@_on(e.Urged, e.Ordered, e.Escalated)
def _climbed(state: CaseState, event: Any, recorded: Recorded[Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {"late": clocks.climbed(state.late, event, recorded.id)}
    if isinstance(event, e.Ordered):
        changes["orders"] = (*state.orders, event.order)
    elif isinstance(event, e.Escalated):
        changes |= {"in_charge": event.to, "reported_up": True}
    return changes
