"""Given, when, then for the law: situations by name, a valid set of facts for each command, and functions to run them.

A situation is the list of commands that lead to it. Each of these commands passes through the law, so no test starts
from a state that is impossible.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from shared.case.base import Actor, Address, Event, Meta, Recorded, new_id
from shared.case.commands import COMMANDS, Command
from shared.case.decide import Accepted, Verdict, decide, event_of
from shared.case.facts import Allowance, Deadline, PauseCause, Stage, TimeBase
from shared.case.orders import NEW_ORDER, OrderState, decide_order, evolve_order
from shared.case.reasons import Reason, Rejected
from shared.case.state import NEW, CaseState, evolve

CONTACT = datetime(2026, 3, 2, 0, 50, tzinfo=UTC)  # ten minutes before the desk opens
START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)  # a Monday, nine in the morning in China
WARN = START + timedelta(days=4)
DUE = START + timedelta(days=5)
LATER = DUE + timedelta(days=5)
TOO_LATE = DUE + timedelta(seconds=1)  # the first moment at which the case is overdue
ERASABLE = datetime(2027, 3, 2, 16, 0, tzinfo=UTC)  # a year after START, when its last day is over in China
ERASABLE_ANEW = datetime(2028, 3, 3, 16, 0, tzinfo=UTC)  # a year after ERASABLE
RUNG = DUE + timedelta(days=1)  # the moment of the first rung of the ladder
NEXT_RUNG = DUE + timedelta(days=2)

TOWNSHIP, COUNTY, CITY = "510104001000", "510104000000", "510100000000"
VILLAGE, NEIGHBOUR = "510104001001", "510104002000"
HOUSING, WATER, LABOUR = (f"{TOWNSHIP}-{name}" for name in ("housing", "water", "labour"))
COMPLAINED, DESK_UNIT = f"{TOWNSHIP}-police", f"{TOWNSHIP}-desk"
ZHANG, LI, WANG, KIN, CHIEF = "zhang.wei", "li.na", "wang.fang", "zhang.kin", "chen.jun"
CASE, OTHER_CASE, ORDER = (new_id(TOWNSHIP, command) for command in ("case", "other case", "order"))
WHERE, ORDER_WHERE = Address("case", TOWNSHIP, CASE), Address("order", TOWNSHIP, ORDER)

NOTE = {"text": "the reason in words"}
ANSWER: dict[str, Any] = {"answer": {"text": "explained at the window"}}
CO_CLOCK: dict[str, Any] = {"stage": "co_handle", "unit": WATER}
CO: dict[str, Any] = {"co_units": (WATER,)}


def person(name: str = CHIEF) -> Actor:
    return Actor(person=name, post="desk", unit=DESK_UNIT, centre=TOWNSHIP, region=TOWNSHIP)


def deadline(
    stage: Stage = Stage.HANDLE, due: datetime = DUE, unit: str | None = None, allows: Allowance | None = None
) -> Deadline:
    return Deadline(
        stage=stage,
        start=START,
        due=due,
        warn_at=due - (DUE - WARN),
        base=TimeBase.WORKING_DAYS,
        amount=5,
        unit=unit,
        allows=allows,
    )


_FIRING = {"stage": "handle", "due": DUE, "seen_at": TOO_LATE}
BOUNDED = Allowance(
    extend_by="desk",
    extend_until=LATER,
    extend_times_max=2,
    pauses=(PauseCause.HEARING,),
    pause_times_max=1,
    pause_days_max=3,
)
# The facts of the first rung of the ladder, for the usual overdue.
ON_RUNG: dict[str, Any] = {"late_stage": "handle", "rung": 0, "moment": RUNG, "next_at": NEXT_RUNG}
ON_NEXT_RUNG: dict[str, Any] = ON_RUNG | {"rung": 1, "moment": NEXT_RUNG, "next_at": None}

# A valid set of facts for each command. A test states only its differences from them.
FACTS: dict[str, dict[str, Any]] = {
    "register": {
        "region": TOWNSHIP,
        "channel": "visit",
        "contact_time": CONTACT,
        "matter": {"title": "No water", "text": "There has been no water since Friday."},
        "reporter": {"parties": [{"name": "Zhou"}]},
        "nature": "complaint",
        "first_asked": ZHANG,
        "first_asked_unit": DESK_UNIT,
        "complained_unit": COMPLAINED,
        "stand_aside": (KIN,),
    },
    "supplement": {"note": NOTE},
    "correct": {"note": NOTE, "severity": "larger"},
    "attach": {
        "channel": "call",
        "contact_time": CONTACT,
        "matter": {"title": "Still no water", "text": "It is the same here."},
        "merged_from": OTHER_CASE,
        "merged_registered_at": START + timedelta(hours=1),
    },
    "withdraw": {"note": NOTE},
    "call-back": {"contacted": True, "satisfaction": "satisfied"},
    "rate": {"satisfaction": "satisfied"},
    "triage": {"unit": HOUSING, "nature": "dispute"},
    "decline": {"note": NOTE, "reason": "in_litigation", "legal_path": "the court that has it"},
    "split": {
        "parts": [{"region": TOWNSHIP, "nature": "help"}, {"region": VILLAGE, "nature": "dispute"}],
        "matters": {"matters": [{"title": "Water", "text": "No water."}, {"title": "Noise", "text": "Noise."}]},
    },
    "merge": {"into": OTHER_CASE},
    "unmerge": {"note": NOTE, "merged_at": START, "status": "awaiting_triage", "since": START, "clocks": "[]"},
    "assign": {"unit": HOUSING},
    "sign-for": {"unit": HOUSING, "person": LI},
    "reassign": {"unit": HOUSING, "person": WANG},
    "hand-back": {"unit": HOUSING, "basis": "not our remit", "note": NOTE},
    "rule": {"unit": HOUSING, "basis": "list of duties, 12", "note": NOTE},
    "transfer": {"to": NEIGHBOUR, "note": NOTE},
    "end-co-handling": {"unit": WATER, "note": NOTE},
    "progress": {"unit": HOUSING, "note": NOTE},
    "co-report": {"unit": WATER, "note": NOTE},
    "settle": {"outcome": "solved", "reply": NOTE, "basis": "water supply rules, 7"},
    "send-back": {"note": NOTE},
    "close": {},
    "propose-reopening": {},
    "decline-reopening": {"note": NOTE},
    "reopen": {"note": NOTE},
    "set-deadlines": {"opens": [deadline()]},
    "recompute-deadline": {"deadline": deadline(due=LATER), "due_before": DUE, "why": "calendar of 2027"},
    "request-extension": {"stage": "handle", "due": LATER, "note": NOTE},
    "extend": {"stage": "handle", "due": LATER, "approver": CHIEF, "note": NOTE},
    "refuse-extension": {"stage": "handle", "note": NOTE},
    "request-pause": {"stage": "handle", "cause": "hearing", "note": NOTE},
    "suspend": {"stage": "handle", "cause": "hearing", "note": NOTE},
    "refuse-pause": {"stage": "handle", "note": NOTE},
    "resume": {"deadline": deadline(due=LATER)},
    "warn": _FIRING | {"seen_at": WARN},
    "declare-overdue": _FIRING,
    "annul-overdue": {"stage": "handle", "proof": "settled in time, arrived late"},
    "escalate": {"to": COUNTY, "informs": ["party committee", "government"], "note": NOTE},
    "hand-down": {"to": VILLAGE, "note": NOTE},
    "urge": {"unit": HOUSING, "note": NOTE},
    "order": {"order": ORDER, "kind": "listed", "due": LATER},
    "hold": {"hold": "legal", "note": NOTE},
    "request-release": {"basis": "the suit is over"},
    "end-release-request": {"note": NOTE},
    "release": {"hold": "legal", "requested_by": LI},
    "request-erasure": {"retention": "year_1", "basis": "9.4 b"},
    "end-erasure-request": {"note": NOTE},
    "erase": {"retention": "year_1", "basis": "9.4 b", "requested_by": LI},
    "issue-order": {
        "kind": "ordinary",
        "region": TOWNSHIP,
        "unit": HOUSING,
        "cases": [WHERE.subject],
        "due": DUE,
        "note": NOTE,
    },
    "answer-order": {"note": NOTE},
    "accept-answer": {"note": NOTE},
    "refuse-answer": {"note": NOTE},
    "declare-order-overdue": {"due": DUE, "seen_at": TOO_LATE},
    "withdraw-order": {"note": NOTE},
    "note-case-refusal": {"case": WHERE.subject, "reason": "case_closed"},
}

_numbers = count(1)


@dataclass(frozen=True)
class Ask:
    """A request for a command: the facts that differ from FACTS, the person (CHIEF) and the time (START)."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    by: str = CHIEF
    at: datetime = START

    @property
    def command(self) -> Command:
        """The command under a new id."""
        spec = COMMANDS[self.name]
        id, recorded_at = f"command-{next(_numbers)}", max(self.at, START)
        meta = Meta(command_id=id, time=self.at, recorded_at=recorded_at, actor=person(self.by))
        where = ORDER_WHERE if spec.kind == "order" else WHERE
        return Command(where, meta, self.name, spec.facts.model_validate(FACTS[self.name] | self.facts))


def ask(name: str, by: str = CHIEF, at: datetime = START, **facts: Any) -> Ask:
    return Ask(name, facts, by, at)


_REGISTER = ask("register")
_NOBODY_COMPLAINED_OF = ask("register", complained_unit=None, stand_aside=())
_CO_ASSIGNED = (_REGISTER, ask("triage"), ask("assign", **CO))
_CO_HANDLING = (*_CO_ASSIGNED, ask("sign-for"))
_ASSIGNED = (_REGISTER, ask("triage"), ask("assign"))
_HANDLING = (*_ASSIGNED, ask("sign-for"))
_CLOCKED = (*_HANDLING, ask("set-deadlines"))
_CO_CLOCKED = (
    *_CO_HANDLING,
    ask("sign-for", unit=WATER, person=WANG),
    ask("set-deadlines", opens=[deadline(), deadline(Stage.CO_HANDLE, unit=WATER)]),
)
_SETTLED = (*_HANDLING, ask("settle"))
_CLOSED = (*_SETTLED, ask("close"))
_ERASURE_REQUESTED = (*_CLOSED, ask("request-erasure", by=LI, at=ERASABLE))
_UNMERGED = (
    _REGISTER,
    ask("merge"),
    ask("request-erasure", by=LI, at=ERASABLE),
    ask("unmerge", at=ERASABLE),
)
_HELD = (*_CLOSED, ask("hold"))
_RELEASE_REQUESTED = (*_HELD, ask("request-release", by=LI))
_OVERDUE = (*_CLOCKED, ask("declare-overdue"))
_ON_LADDER = (*_CLOCKED, ask("declare-overdue", next_at=RUNG))
_ENDED_IN_TIME = (*_CLOCKED, ask("settle"))
_ENDED_LATE = (*_CLOCKED, ask("settle", at=TOO_LATE))
_BOUNDED = (*_HANDLING, ask("set-deadlines", opens=[deadline(allows=BOUNDED)]))
_PAUSED = (
    ask("suspend", until=START + timedelta(days=1)),
    ask("resume", deadline=deadline(due=LATER, allows=BOUNDED)),
)
_ISSUED = (ask("issue-order"),)
_ANSWERED = (*_ISSUED, ask("answer-order"))

SITUATIONS: dict[str, tuple[Ask, ...]] = {
    "unborn": (),
    "registered": (_REGISTER,),
    "answered on the spot": (ask("register", **ANSWER),),
    "imported": (ask("register", hold="import"),),
    "triaged": (_REGISTER, ask("triage")),
    "assigned": _ASSIGNED,
    "designated": (_REGISTER, ask("triage"), ask("assign", direct=True)),
    "assigned with a co-handler": _CO_ASSIGNED,
    "handled": _HANDLING,
    "co-handled": _CO_HANDLING,
    "co-handled twice": (_REGISTER, ask("triage"), ask("assign", co_units=(WATER, LABOUR)), ask("sign-for")),
    "co-handled, co-handler signed": (*_CO_HANDLING, ask("sign-for", unit=WATER, person=WANG)),
    "co-handled, co-handler reported": (*_CO_HANDLING, ask("co-report")),
    "co-handled, co-handler taken off": (*_CO_HANDLING, ask("end-co-handling")),
    "triaged, nobody complained of": (_NOBODY_COMPLAINED_OF, ask("triage", **CO)),
    "co-handled, nobody complained of": (
        _NOBODY_COMPLAINED_OF,
        *_CO_HANDLING[1:],
        ask("sign-for", unit=WATER, person=WANG),
    ),
    "closed, nobody complained of": (_NOBODY_COMPLAINED_OF, *_CLOSED[1:]),
    "handed back": (*_ASSIGNED, ask("hand-back")),
    "ruled": (*_ASSIGNED, ask("hand-back"), ask("rule")),
    "ruled, then more co-handlers": (*_ASSIGNED, ask("hand-back"), ask("rule"), ask("assign", **CO)),
    "ruled, then reassigned elsewhere": (*_ASSIGNED, ask("hand-back"), ask("rule"), ask("assign", unit=LABOUR)),
    "absorbed another": (_REGISTER, ask("attach")),
    "settled": _SETTLED,
    "settled, not satisfied": (*_SETTLED, ask("call-back", satisfaction="dissatisfied")),
    "settled, not satisfied, not reached again": (
        *_SETTLED,
        ask("rate", satisfaction="dissatisfied"),
        ask("call-back", contacted=False, satisfaction="unrated"),
    ),
    "settled, unsolved": (*_HANDLING, ask("settle", outcome="unsolved")),
    "sent back": (*_SETTLED, ask("send-back")),
    "closed": _CLOSED,
    "closed, reopening proposed": (*_CLOSED, ask("propose-reopening")),
    "closed, reopening declined": (*_CLOSED, ask("propose-reopening"), ask("decline-reopening")),
    "closed for ever": (ask("register", retention="permanent", **ANSWER), ask("close")),
    "closed, erasure requested": _ERASURE_REQUESTED,
    "closed, erasure request ended": (*_ERASURE_REQUESTED, ask("end-erasure-request", at=ERASABLE)),
    "closed, erasure requested, then reopened": (*_ERASURE_REQUESTED, ask("reopen", at=ERASABLE)),
    "closed, erasure requested, then held": (*_ERASURE_REQUESTED, ask("hold", at=ERASABLE)),
    "closed, erasure requested, then held and released": (
        *_ERASURE_REQUESTED,
        ask("hold", at=ERASABLE),
        ask("request-release", by=LI, at=ERASABLE),
        ask("release", at=ERASABLE),
    ),
    "closed anew": (*_CLOSED, ask("reopen", at=ERASABLE), *(replace(step, at=ERASABLE) for step in _CLOSED[1:])),
    "merged, erasure requested, unmerged, closed": (
        *_UNMERGED,
        *(replace(step, at=ERASABLE) for step in _CLOSED[1:]),
    ),
    "closed and held": _HELD,
    "closed and held, release requested": _RELEASE_REQUESTED,
    "closed and held, release request ended": (*_RELEASE_REQUESTED, ask("end-release-request")),
    "reopened": (*_CLOSED, ask("reopen")),
    "erased": (*_ERASURE_REQUESTED, ask("erase", at=ERASABLE)),
    "declined": (_REGISTER, ask("decline")),
    "withdrawn": (_REGISTER, ask("withdraw")),
    "merged": (_REGISTER, ask("merge")),
    "split": (_REGISTER, ask("split")),
    "escalated": (_REGISTER, ask("escalate")),
    "ordered": (*_HANDLING, ask("order")),
    "clocked": _CLOCKED,
    "clocked, imported": (ask("register", hold="import"), *_CLOCKED[1:]),
    "clocked, bounded": _BOUNDED,
    "clocked, bounded, extended": (*_BOUNDED, ask("extend", due=DUE + timedelta(days=1))),
    "clocked, bounded, extended twice": (
        *_BOUNDED,
        *(ask("extend", due=DUE + timedelta(days=day)) for day in (1, 2)),
    ),
    "clocked, bounded, paused": (*_BOUNDED, *_PAUSED),
    "clocked, by another post": (
        *_HANDLING,
        ask("set-deadlines", opens=[deadline(allows=Allowance(extend_by="director"))]),
    ),
    "clocked, immovable": (*_HANDLING, ask("set-deadlines", opens=[deadline(allows=Allowance())])),
    "ended in time": _ENDED_IN_TIME,
    "ended in time, sent back": (*_ENDED_IN_TIME, ask("send-back")),
    "ended late": _ENDED_LATE,
    "ended late, closed": (*_ENDED_LATE, ask("close")),
    "ended late, closed, reopened": (*_ENDED_LATE, ask("close"), ask("reopen")),
    "ended while suspended": (*_CLOCKED, ask("suspend"), ask("settle", at=TOO_LATE)),
    "overdue, on the ladder": _ON_LADDER,
    "overdue, first rung taken": (*_ON_LADDER, ask("urge", at=RUNG, **ON_RUNG)),
    "overdue, last rung taken": (
        *_ON_LADDER,
        ask("urge", at=RUNG, **ON_RUNG),
        ask("escalate", at=NEXT_RUNG, **ON_NEXT_RUNG),
    ),
    "overdue, on the ladder, settled": (*_ON_LADDER, ask("settle", at=RUNG)),
    "overdue, on the ladder, suspended": (*_ON_LADDER, ask("suspend")),
    "overdue, on the ladder, extended": (*_ON_LADDER, ask("extend")),
    "overdue, on the ladder, annulled": (*_ON_LADDER, ask("annul-overdue")),
    "co-clocked": (*_CO_CLOCKED,),
    "co-clocked, extension asked": (*_CO_CLOCKED, ask("request-extension", **CO_CLOCK)),
    "co-clocked, pause asked": (*_CO_CLOCKED, ask("request-pause", **CO_CLOCK)),
    "co-clocked, suspended": (*_CO_CLOCKED, ask("suspend", **CO_CLOCK)),
    "extension asked": (*_CLOCKED, ask("request-extension")),
    "pause asked": (*_CLOCKED, ask("request-pause")),
    "suspended": (*_CLOCKED, ask("suspend")),
    "warned": (*_CLOCKED, ask("warn")),
    "overdue": _OVERDUE,
    "overdue, annulled": (*_OVERDUE, ask("annul-overdue")),
    "overdue, then closed": (*_OVERDUE, ask("settle"), ask("close")),
    "overdue, recomputed to the same moment": (*_OVERDUE, ask("recompute-deadline", deadline=deadline())),
    "settled, clocked": (*_SETTLED, ask("set-deadlines", opens=[deadline(Stage.FEEDBACK)])),
}

ORDER_SITUATIONS: dict[str, tuple[Ask, ...]] = {
    "no order": (),
    "issued": _ISSUED,
    "answered": _ANSWERED,
    "order accepted": (*_ANSWERED, ask("accept-answer")),
    "order refused": (*_ANSWERED, ask("refuse-answer")),
    "order overdue": (*_ISSUED, ask("declare-order-overdue")),
    "order withdrawn": (*_ISSUED, ask("withdraw-order")),
    "order with a refusing case": (*_ISSUED, ask("note-case-refusal")),
}

State = CaseState | OrderState


def when(state: Any, command: Command) -> Verdict:
    return decide(command, state) if command.address.kind == "case" else decide_order(command, state)


def then(state: Any, recorded: Recorded[Any]) -> Any:
    return evolve(state, recorded) if isinstance(state, CaseState) else evolve_order(state, recorded)


def event(request: Ask) -> Event:
    """The event of the command, whether the law allows it or not."""
    return event_of(request.command)


def _unborn(situation: str) -> State:
    return NEW_ORDER if situation in ORDER_SITUATIONS else NEW


@cache
def history(situation: str) -> tuple[Recorded[Any], ...]:
    """The events that lead to a situation. Raises AssertionError when the law refuses one of its commands."""
    state = _unborn(situation)
    events: list[Recorded[Any]] = []
    for request in (SITUATIONS | ORDER_SITUATIONS)[situation]:
        events.append(accepted(state, request))
        state = then(state, events[-1])
    return tuple(events)


def given(situation: str) -> Any:
    """The case (or the order) in a situation."""
    state = _unborn(situation)
    for recorded in history(situation):
        state = then(state, recorded)
    return state


def accepted(state: Any, request: Ask) -> Recorded[Any]:
    """The event of an accepted command. Raises AssertionError when the law rejects the command."""
    return accepted_command(state, request.command)


def accepted_command(state: Any, command: Command) -> Recorded[Any]:
    """As `accepted`, for a command that is already made."""
    verdict = when(state, command)
    assert isinstance(verdict, Accepted), verdict
    assert verdict.recorded is not None
    return verdict.recorded


def refused(state: Any, request: Ask) -> Reason:
    """The reason for which the law rejects the command. Raises AssertionError when the law accepts it."""
    verdict = when(state, request.command)
    assert isinstance(verdict, Rejected), verdict
    return verdict.reason


def after(state: Any, *requests: Ask) -> Any:
    """The state after all commands. Raises AssertionError when the law rejects one of them."""
    for request in requests:
        state = then(state, accepted(state, request))
    return state
