"""Random walks through the law: the choice of the next command.

`propose_case` and `propose_order` choose among all commands, and sensible ones more often than others. `CaseWatch` and
`OrderWatch` (law_watch.py) send the command to the law and check each rule against the events, not against the state
that the law itself keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

from shared.case.base import Event
from shared.case.clocks import Overdue, RunningDeadline
from shared.case.commands import COMMANDS
from shared.case.facts import (
    Allowance,
    Deadline,
    Hold,
    Nature,
    OrderKind,
    Outcome,
    PauseCause,
    Retention,
    Satisfaction,
    Severity,
    Stage,
)
from shared.case.lifecycle import ENDED, TRANSITIONS, Status, Variant
from shared.case.orders import OrderState
from shared.case.state import CaseState
from tests.support.law import (
    ANSWER,
    CASE,
    CHIEF,
    CITY,
    COMPLAINED,
    COUNTY,
    DESK_UNIT,
    HOUSING,
    KIN,
    LABOUR,
    LI,
    NEIGHBOUR,
    NOTE,
    ORDER,
    OTHER_CASE,
    START,
    TOWNSHIP,
    VILLAGE,
    WANG,
    WATER,
    WHERE,
    ZHANG,
    Ask,
    deadline,
)

T = TypeVar("T")
UNITS = (HOUSING, WATER, LABOUR, COMPLAINED, DESK_UNIT)
PEOPLE = (ZHANG, LI, WANG, KIN)
REGIONS = (VILLAGE, TOWNSHIP, NEIGHBOUR, COUNTY, CITY, "510000000000")
STAGES = tuple(Stage)
DAYS = (1, 2, 3)  # few, so that due moments coincide
# How often a command is proposed (default 4): commands that lead forward often, those that lead back seldom.
OFTEN = {
    "merge": 8,
    "unmerge": 32,
    "split": 8,
    "request-erasure": 8,
    "erase": 8,
    "triage": 24,
    "assign": 16,
    "sign-for": 24,
    "settle": 8,
    "set-deadlines": 16,
    "declare-overdue": 8,
    "reopen": 8,
    "request-extension": 8,
    "request-pause": 8,
    "resume": 8,
}
SELDOM = {"transfer": 1, "hand-back": 3, "withdraw": 1, "decline": 1, "escalate": 2, "hand-down": 2}
RUNGS = ("urge", "order", "escalate")
APPROVALS = frozenset({"release", "erase"})
FINAL = frozenset({"merge", "split", "erase"})
ERASURE = frozenset({"request-erasure", "erase"})
WEIGHTS = OFTEN | SELDOM
CASE_COMMANDS = tuple(name for name, spec in COMMANDS.items() if spec.kind == "case")
ORDER_COMMANDS = tuple(name for name, spec in COMMANDS.items() if spec.kind == "order")

Chooser = Callable[[Random, CaseState], dict[str, Any]]
Allowed = tuple[Status, type[Event], Variant]  # a key of the table of transitions


def _pick(rng: Random, values: Sequence[T]) -> T:
    return values[rng.randrange(len(values))]


def _mostly(rng: Random, value: T | None, others: Sequence[T]) -> T:
    """The sensible value three times in four, any of `others` otherwise."""
    return value if value is not None and rng.randrange(4) else _pick(rng, others)


def _day(rng: Random) -> datetime:
    return START + timedelta(days=_pick(rng, DAYS))


def _clock(rng: Random, state: CaseState) -> RunningDeadline | None:
    return _pick(rng, state.clocks) if state.clocks else None


ALLOWANCES = (
    Allowance(),
    Allowance(extend_by="director"),
    Allowance(
        extend_by="desk",
        extend_until=START + timedelta(days=2),
        extend_times_max=1,
        pauses=(PauseCause.HEARING,),
        pause_times_max=1,
        pause_days_max=2,
    ),
)


def _deadline(rng: Random, state: CaseState) -> Deadline:
    duties = sorted(state.running_stages, key=str)
    if duties and rng.randrange(8):
        stage, unit = _pick(rng, duties)
    else:
        stage = _pick(rng, STAGES)
        unit = _pick(rng, UNITS[:2]) if stage is Stage.CO_HANDLE else None
    chosen = deadline(stage, _day(rng), unit, _pick(rng, (None, None, None, *ALLOWANCES)))
    return chosen if rng.randrange(4) else chosen.model_copy(update={"warn_at": None})


def _register(rng: Random, state: CaseState) -> dict[str, Any]:
    return {
        "complained_unit": _pick(rng, (None, COMPLAINED)),
        "retention": _pick(rng, tuple(Retention)),
        "hold": _pick(rng, (None, None, None, Hold.IMPORT)),
        "first_asked": _pick(rng, PEOPLE),
    } | (ANSWER if rng.randrange(5) == 0 else {})


def _attached(rng: Random, state: CaseState) -> dict[str, Any]:
    merged_from = _pick(rng, (None, OTHER_CASE, CASE))
    registered_at = START + timedelta(seconds=rng.randrange(3) - 1) if merged_from else None
    return _kept_from(rng, state) | {
        "merged_from": merged_from,
        "merged_registered_at": registered_at,
        "people_count": 1 + rng.randrange(9),
    }


def _handlers(rng: Random, state: CaseState) -> dict[str, Any]:
    co_units = [unit for unit in UNITS if rng.randrange(5) == 0]
    return {"unit": _mostly(rng, state.triaged_unit, UNITS), "co_units": co_units}


def _ruling(rng: Random, state: CaseState) -> dict[str, Any]:
    return _handlers(rng, state) | {"basis": "list of duties"}


def _kept_from(rng: Random, state: CaseState) -> dict[str, Any]:
    if rng.randrange(6):
        return {}
    aside = tuple(person for person in PEOPLE if rng.randrange(8) == 0)
    return {"complained_unit": _pick(rng, (None, *UNITS)), "stand_aside": aside, "informant": rng.randrange(4) == 0}


def _classified(rng: Random, state: CaseState) -> dict[str, Any]:
    return _kept_from(rng, state) | {"nature": _pick(rng, (None, *Nature)), "severity": _pick(rng, (None, *Severity))}


def _of_unit(rng: Random, state: CaseState) -> dict[str, Any]:
    return {"unit": _mostly(rng, state.unit, UNITS)}


def _of_co_unit(rng: Random, state: CaseState) -> dict[str, Any]:
    return {"unit": _mostly(rng, state.co_units[0] if state.co_units else None, UNITS)}


def _of_any_unit(rng: Random, state: CaseState) -> dict[str, Any]:
    return _of_unit(rng, state) if rng.randrange(2) else _of_co_unit(rng, state)


def _named(rng: Random, state: CaseState) -> dict[str, Any]:
    return _of_any_unit(rng, state) | {"person": _pick(rng, PEOPLE)}


def _moved(rng: Random, state: CaseState) -> dict[str, Any]:
    return {"to": _pick(rng, REGIONS)}


def _stage(rng: Random, state: CaseState) -> dict[str, Any]:
    return _named_clock(rng, _clock(rng, state))


def _waiting(rng: Random, state: CaseState) -> dict[str, Any]:
    pending = [clock for clock in state.clocks if clock.extension_requested or clock.pause_requested]
    return _named_clock(rng, pending[0] if pending else None)


def _named_clock(rng: Random, clock: RunningDeadline | None) -> dict[str, Any]:
    others = [(stage, None) for stage in STAGES]
    stage, unit = _mostly(rng, (clock.deadline.stage, clock.deadline.unit) if clock else None, others)
    return {"stage": stage, "unit": unit}


def _stage_due(rng: Random, state: CaseState) -> dict[str, Any]:
    return _stage(rng, state) | {"due": _day(rng)}


def _approved(rng: Random, state: CaseState) -> dict[str, Any]:
    return _stage_due(rng, state) | {"approver": _pick(rng, (CHIEF, CHIEF, *PEOPLE))}


def _firing(rng: Random, state: CaseState) -> dict[str, Any]:
    clock = _clock(rng, state)
    if clock is None:
        return {"stage": _pick(rng, STAGES), "due": _day(rng)}
    current = clock.deadline
    seen_at = _pick(rng, (current.due, current.due + timedelta(seconds=1), current.warn_at or current.due, START))
    return {
        "stage": current.stage,
        "unit": current.unit,
        "due": _mostly(rng, current.due, (_day(rng),)),
        "seen_at": seen_at,
    }


def _overdue(rng: Random, state: CaseState) -> dict[str, Any]:
    return _firing(rng, state) | {"next_at": _pick(rng, (None, _day(rng), _day(rng)))}


def _suspended(rng: Random, state: CaseState) -> dict[str, Any]:
    until = _pick(rng, (None, _day(rng)))
    return _stage(rng, state) | {"cause": _mostly(rng, PauseCause.HEARING, tuple(PauseCause)), "until": until}


def _rung(rng: Random, state: CaseState) -> dict[str, Any]:
    """A rung of the ladder, mostly the next one."""
    late: Overdue | None = _pick(rng, state.late) if state.late else None
    if late is None or not rng.randrange(4):
        return {} if rng.randrange(4) else {"late_stage": _pick(rng, STAGES), "rung": 0, "moment": _day(rng)}
    return {
        "late_stage": late.stage,
        "late_unit": late.unit,
        "rung": _mostly(rng, late.rung, (0, 1, 2)),
        "moment": _mostly(rng, late.next_at, (_day(rng),)),
        "next_at": _pick(rng, (None, _day(rng), _day(rng))),
    }


def _annulled(rng: Random, state: CaseState) -> dict[str, Any]:
    late = state.late[-1].key if state.late else None
    stage, unit = _mostly(rng, late, tuple((stage, None) for stage in STAGES))
    return {"stage": stage, "unit": unit}


def _recomputed(rng: Random, state: CaseState) -> dict[str, Any]:
    clock = _clock(rng, state)
    if clock is None:
        return {"deadline": _deadline(rng, state)}
    current, due = clock.deadline, _day(rng)
    moved = current.model_copy(update={"due": due, "warn_at": due - timedelta(days=1)})
    return {"deadline": _pick(rng, (current, moved, moved)), "due_before": _mostly(rng, current.due, (_day(rng),))}


def _resumed(rng: Random, state: CaseState) -> dict[str, Any]:
    still = replace(state, clocks=tuple(clock for clock in state.clocks if clock.suspended))
    return {"deadline": _recomputed(rng, still)["deadline"]}


def _set(rng: Random, state: CaseState) -> dict[str, Any]:
    opens = [_deadline(rng, state) for _ in range(rng.randrange(3))]
    running = [clock.deadline for clock in state.clocks if rng.randrange(2 if clock.ended_at else 3) == 0]
    closes = list({deadline.stage for deadline in running})
    if rng.randrange(2):  # another unit's clock ended: the running clock is opened again
        opens += [deadline for deadline in running if deadline.unit]
    return {"opens": opens, "closes": closes}


CHOOSERS: dict[str, Chooser] = {
    "register": _register,
    "supplement": lambda rng, _: _pick(rng, ({}, {"from_case": OTHER_CASE}, {"forwarded_to": OTHER_CASE})),
    "correct": _classified,
    "attach": _attached,
    "call-back": lambda rng, _: {
        "contacted": bool(rng.randrange(2)),
        "outcome": _pick(rng, (None, None, *Outcome)),
        "satisfaction": _pick(rng, tuple(Satisfaction)),
    },
    "rate": lambda rng, _: {"satisfaction": _pick(rng, tuple(Satisfaction))},
    "triage": _handlers,
    "merge": lambda rng, _: {"into": _pick(rng, (OTHER_CASE, CASE, ORDER))},
    "assign": lambda rng, state: _handlers(rng, state) | {"direct": rng.randrange(6) == 0},
    "sign-for": _named,
    "reassign": _named,
    "hand-back": lambda rng, state: _of_unit(rng, state) | {"basis": "not our remit"},
    "rule": _ruling,
    "transfer": _moved,
    "end-co-handling": _of_co_unit,
    "progress": _of_any_unit,
    "co-report": _of_co_unit,
    "settle": lambda rng, _: {"outcome": _pick(rng, tuple(Outcome)), "basis": _pick(rng, ("", "rules, 7", "rules, 7"))},
    "close": lambda rng, _: {"basis": _pick(rng, ("", "", "petitions regulation, 36"))},
    "set-deadlines": _set,
    "recompute-deadline": _recomputed,
    "request-extension": _stage_due,
    "extend": _approved,
    "refuse-extension": _waiting,
    "request-pause": lambda rng, state: _stage(rng, state) | {"cause": _pick(rng, tuple(PauseCause))},
    "suspend": _suspended,
    "refuse-pause": _waiting,
    "resume": _resumed,
    "warn": _firing,
    "declare-overdue": _overdue,
    "annul-overdue": _annulled,
    "escalate": lambda rng, state: _moved(rng, state) | _rung(rng, state),
    "hand-down": _moved,
    "urge": lambda rng, state: _of_any_unit(rng, state) | _rung(rng, state),
    "order": lambda rng, state: (
        {"order": _pick(rng, (ORDER, CASE)), "kind": _pick(rng, tuple(OrderKind))} | _rung(rng, state)
    ),
    "hold": lambda rng, _: {"hold": _pick(rng, tuple(Hold))},
    "release": lambda rng, state: {
        "hold": _mostly(rng, state.holds[0] if state.holds else None, tuple(Hold)),
        "requested_by": _mostly(rng, state.release_requested_by, (CHIEF, LI, None)),
    },
    "request-erasure": lambda rng, state: {"retention": _mostly(rng, state.retention, tuple(Retention))},
    "erase": lambda rng, state: {
        "retention": _mostly(rng, state.retention, tuple(Retention)),
        "requested_by": _mostly(rng, state.erasure_requested_by, (CHIEF, LI, None)),
    },
}


def propose_case(rng: Random, state: CaseState, seen: AbstractSet[Allowed] = frozenset()) -> Ask:
    """A request about a case: mostly a transition that the table allows in its status, sometimes one not in `seen`."""
    here = [allowed for allowed in TRANSITIONS if allowed[0] is state.status]
    unseen = [allowed for allowed in here if allowed not in seen] if seen else []
    fitting = {event for _, event, _ in (here if rng.randrange(4) else unseen or here)}
    names = [name for name in CASE_COMMANDS if COMMANDS[name].event in fitting]
    if not names or not rng.randrange(8):
        names = list(CASE_COMMANDS)
    if rng.randrange(8):
        names = [name for name in names if name not in FINAL] or names
    if rng.randrange(4) == 0:
        names = _in_its_turn(state) or names
    name = _pick(rng, [name for name in names for _ in range(WEIGHTS.get(name, 4))])
    chooser = CHOOSERS.get(name)
    by = _pick(rng, (CHIEF, CHIEF, CHIEF, LI))
    at = START if rng.randrange(3) else _day(rng) + timedelta(seconds=rng.randrange(2))
    at = max(at, *(late.next_at or at for late in state.late), at) if name in RUNGS and rng.randrange(2) else at
    facts = chooser(rng, state) if chooser else {}
    if name in ERASURE and rng.randrange(4):
        at += timedelta(days=_pick(rng, (80, 90, 100, 180, 190, 360, 370)))
    if name in APPROVALS and rng.randrange(2):
        by = LI if facts["requested_by"] == CHIEF else CHIEF
    return Ask(name, facts, by, at)


def _in_its_turn(state: CaseState) -> list[str]:
    """The commands of a ladder, and those that a limit bounds: a walk seldom meets them by chance."""
    if any(late.next_at and late.ended_at is None for late in state.late):
        return list(RUNGS)
    if state.status in ENDED and (state.clocks or state.late):
        return ["declare-overdue"] if state.clocks else ["annul-overdue"]
    if state.erasure_requested_by or state.release_requested_by:
        return ["erase"] if state.erasure_requested_by else ["release"]
    bounded = any(clock.deadline.allows and clock.ended_at is None for clock in state.clocks)
    return ["extend", "suspend", "resume"] if bounded else []


def propose_order(rng: Random, state: OrderState) -> Ask:
    """A request about an order."""
    name = _pick(rng, ORDER_COMMANDS)
    cases = (WHERE.subject, replace(WHERE, id=OTHER_CASE).subject)
    due = state.due or _day(rng)
    facts: dict[str, dict[str, Any]] = {
        "issue-order": {"due": _day(rng), "cases": cases, "region": _pick(rng, (TOWNSHIP, TOWNSHIP, COUNTY))},
        "declare-order-overdue": {
            "due": _mostly(rng, due, (_day(rng),)),
            "seen_at": due + timedelta(seconds=rng.randrange(2)),
        },
        "note-case-refusal": {"case": _pick(rng, (*cases, OTHER_CASE)), "reason": "case_closed"},
    }
    return Ask(name, facts.get(name, {"note": NOTE}))
