"""Random facts for every command of the catalogue on a case, mostly sensible ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from shared.case.base import Facts, parent
from shared.case.clocks import RunningDeadline
from shared.case.commands import COMMANDS
from shared.case.facts import (
    Channel,
    Deadline,
    DeclineReason,
    Hold,
    Matter,
    Nature,
    Note,
    OrderKind,
    Outcome,
    Part,
    PartMatters,
    PauseCause,
    Retention,
    Satisfaction,
    Severity,
    Stage,
    TimeBase,
)
from shared.case.state import CaseState
from tests.sim.places import ALL_REGIONS, MARK, REGIONS, TEXTS, staff, units_of

NOTE = Note(text=f"because {MARK}")
STAGES = tuple(Stage)
HOUR = timedelta(hours=1)


class Pen:
    """Writes facts for a case in its present state; `other` is the id of another case, `now` the time of day."""

    def __init__(self, chance: Random, state: CaseState, now: datetime, other: str) -> None:
        self.chance, self.state, self.now, self.other = chance, state, now, other
        self.units = units_of(state.region or REGIONS[0])
        self.sane = chance.random() < 0.85

    def write(self, name: str) -> Facts:
        facts: Facts = COMMANDS[name].facts.model_construct(**_WRITERS[name](self))
        return facts

    def pick(self, *of: Any) -> Any:
        return self.chance.choice(of)

    def unit(self) -> str:
        return str(self.chance.choice(self.units))

    def held_by(self) -> str:
        """The responsible unit, or a co-handling one, or any."""
        state = self.state
        if self.sane and state.unit and not (state.co_units and self.chance.random() < 0.4):
            return state.unit
        if self.sane and state.co_units:
            return self.chance.choice(state.co_units)
        return self.unit()

    def co_unit(self) -> str:
        return self.chance.choice(self.state.co_units) if self.sane and self.state.co_units else self.unit()

    def handlers(self) -> dict[str, Any]:
        count = self.pick(0, 0, 0, 1, 2)
        named = self.chance.sample(self.units, count + 1)
        if self.sane and self.state.complained_unit in named:
            named = [unit for unit in self.units if unit != self.state.complained_unit][: count + 1]
        if not self.sane and self.state.complained_unit and self.chance.random() < 0.4:
            return {"unit": self.state.complained_unit, "co_units": (), "basis": "duty"}
        if self.sane and self.state.triaged_unit and self.chance.random() < 0.5:
            named = [self.state.triaged_unit, *self.state.triaged_co_units]
        return {"unit": named[0], "co_units": tuple(named[1:] if self.sane else named[: count + 1]), "basis": "duty"}

    def signer(self, again: bool) -> dict[str, Any]:
        """The unit and the person of a signature, or of a takeover (`again`) in a unit that has a person."""
        state = self.state
        signed = {state.unit: state.person} | {co.unit: co.person for co in state.co_handlers}
        fitting = [unit for unit, person in signed.items() if unit and (person is not None) is again]
        unit = self.chance.choice(fitting) if self.sane and fitting else self.held_by()
        people = [person for person in staff(unit) if person != signed.get(unit)]
        if self.sane:
            people = [person for person in people if person not in state.stand_aside] or people
        elif state.stand_aside and self.chance.random() < 0.4:
            people = list(state.stand_aside)
        return {"unit": unit, "person": self.chance.choice(people)}

    def clock(self) -> RunningDeadline | None:
        return self.chance.choice(self.state.clocks) if self.state.clocks and self.sane else None

    def deadline(self, stage: Stage, unit: str | None = None) -> Deadline:
        start = self.now
        amount = self.pick(1, 2, 5)
        due = start + HOUR * amount
        warn = self.pick(0, 1) if amount > 1 else 0
        return Deadline(
            stage=stage, start=start, due=due, warn_at=due - HOUR * warn if warn else None,
            base=TimeBase.HOURS, amount=amount, warn=warn, unit=unit,
        )  # fmt: skip

    def named(self, flag: str = "") -> dict[str, Any]:
        """The stage and unit of a clock of the case, preferably of one whose `flag` is set."""
        fitting = [clock for clock in self.state.clocks if not flag or getattr(clock, flag)]
        clock = self.chance.choice(fitting) if fitting and self.sane else self.clock()
        old = clock.deadline if clock else None
        return {"stage": old.stage if old else self.pick(*STAGES), "unit": old.unit if old else None}

    def longer(self) -> dict[str, Any]:
        named = self.named()
        clock = self.state.clock(named["stage"], named["unit"])
        due = clock.deadline.due if clock else self.now
        return named | {"due": due + HOUR * (self.pick(1, 3, 1_000) if self.sane else -1)}  # 1,000: beyond any bound

    def region(self, up: bool) -> str:
        here = self.state.in_charge or REGIONS[0]
        if self.sane and up:
            return parent(here) or here
        below = [region for region in REGIONS if region != here and region.startswith(here.rstrip("0"))]
        return str(self.chance.choice(below if self.sane and below else ALL_REGIONS))


def _registration(pen: Pen) -> dict[str, Any]:
    raise AssertionError("a registration is written by who registers")


def _order_facts(pen: Pen) -> dict[str, Any]:
    raise AssertionError("an order is written by who issues it")


def _attach(pen: Pen) -> dict[str, Any]:
    late = HOUR * 2 if not pen.sane and pen.chance.random() < 0.3 else timedelta(0)
    return {
        "channel": pen.pick(*Channel),
        "contact_time": pen.now - timedelta(minutes=5) + late,
        "matter": Matter(title=f"again {MARK}", text=f"the same {MARK}"),
        "merged_from": pen.pick(None, pen.other, pen.other, pen.other),
        "people_count": pen.pick(1, 2, 7),
    }


def _call_back(pen: Pen) -> dict[str, Any]:
    contacted = pen.chance.random() < 0.85
    return {
        "contacted": contacted,
        "outcome": pen.pick(None, None, Outcome.SOLVED, Outcome.UNSOLVED) if contacted else None,
        "satisfaction": pen.pick(*Satisfaction) if contacted else Satisfaction.UNRATED,
        "note": pen.pick(None, NOTE),
    }


def _split(pen: Pen) -> dict[str, Any]:
    count = pen.pick(2, 3)
    parts = tuple(Part(region=pen.pick(*REGIONS), nature=pen.pick(*Nature)) for _ in range(count))
    matter_count = count if pen.sane else 2
    return {
        "parts": parts,
        "matters": PartMatters(
            matters=tuple(Matter(title=f"p {MARK}", text=pen.pick(*TEXTS)) for _ in range(matter_count))
        ),
    }


def _set_deadlines(pen: Pen) -> dict[str, Any]:
    """New clocks for running stages, clocks for stages without one, or senseless ones."""
    state = pen.state
    if not pen.sane:
        stage = pen.pick(*STAGES)
        closes = pen.pick((), (pen.pick(*STAGES),), tuple({clock.deadline.stage for clock in state.clocks}))
        return {"opens": pen.pick((), (pen.deadline(stage),)), "closes": closes}
    closes = {clock.deadline.stage for clock in state.clocks if clock.ended_at or pen.chance.random() < 0.3}
    open_ones = {clock.key for clock in state.clocks if clock.deadline.stage not in closes}
    opens = [key for key in sorted(state.running_stages - open_ones, key=str) if key[0] is not Stage.REPORT]
    return {"opens": tuple(pen.deadline(*key) for key in opens), "closes": tuple(sorted(closes - {Stage.REPORT}))}


def _recompute(pen: Pen) -> dict[str, Any]:
    clock = pen.clock()
    old = clock.deadline if clock else pen.deadline(pen.pick(*STAGES))
    new = old.model_copy(update={"due": old.due + HOUR})
    return {"deadline": new, "due_before": old.due if pen.sane else old.due + HOUR, "why": "calendar"}


def _resume(pen: Pen) -> dict[str, Any]:
    """Facts that name a clock; the service replaces the due moment."""
    named = pen.named("suspended")
    clock = pen.state.clock(named["stage"], named["unit"])
    old = clock.deadline if clock else pen.deadline(named["stage"], named["unit"])
    return named | {"deadline": old.model_copy(update={"due": old.due + HOUR})}


def _fire(pen: Pen) -> dict[str, Any]:
    clock = pen.clock()
    old = clock.deadline if clock else pen.deadline(pen.pick(*STAGES))
    seen_at = pen.now if pen.sane else old.due - HOUR
    return {"stage": old.stage, "unit": old.unit, "due": old.due, "seen_at": seen_at}


def _annul(pen: Pen) -> dict[str, Any]:
    stage, unit = pen.chance.choice(pen.state.late).key if pen.state.late and pen.sane else (pen.pick(*STAGES), None)
    return {"stage": stage, "unit": unit, "proof": "stamped in time"}


def _urge(pen: Pen) -> dict[str, Any]:
    centre = f"{pen.state.in_charge}-centre"
    known = [unit for unit in (pen.state.unit, pen.state.triaged_unit, *pen.state.co_units) if unit] or [centre]
    return {"unit": pen.chance.choice(known) if pen.sane else pen.unit(), "note": NOTE}


def _correct(pen: Pen) -> dict[str, Any]:
    facts: dict[str, Any] = {"note": NOTE}
    if pen.sane:
        facts |= pen.pick(
            {"nature": pen.pick(*Nature)},
            {"severity": pen.pick(*Severity)},
            {"matter": Matter(title=f"corrected {MARK}", text=pen.pick(*TEXTS))},
        )
    return facts


def _explained(**more: Any) -> Callable[[Pen], dict[str, Any]]:
    return lambda pen: {"note": NOTE} | {k: v(pen) if callable(v) else v for k, v in more.items()}


_WRITERS: dict[str, Callable[[Pen], dict[str, Any]]] = {
    "register": _registration,
    "issue-order": _order_facts,
    "supplement": _explained(),
    "correct": _correct,
    "attach": _attach,
    "withdraw": _explained(),
    "call-back": _call_back,
    "rate": lambda pen: {"satisfaction": pen.pick(*Satisfaction), "note": pen.pick(None, NOTE)},
    "triage": lambda pen: pen.handlers() | {"nature": pen.pick(None, *Nature)},
    "decline": _explained(reason=lambda pen: pen.pick(*DeclineReason), legal_path="court"),
    "split": _split,
    "unmerge": _explained(
        merged_at=lambda pen: pen.state.since or pen.now,  # the service replaces all but the note
        status="awaiting_triage",
        since=lambda pen: pen.now,
        clocks="[]",
    ),
    "assign": lambda pen: pen.handlers() | {"direct": pen.chance.random() < 0.2},
    "sign-for": lambda pen: pen.signer(again=False),
    "reassign": lambda pen: pen.signer(again=True) | {"note": pen.pick(None, NOTE)},
    "hand-back": _explained(unit=lambda pen: (pen.sane and pen.state.unit) or pen.unit(), basis="remit"),
    "rule": lambda pen: pen.handlers() | {"note": NOTE},
    "transfer": _explained(to=lambda pen: pen.pick(*ALL_REGIONS)),
    "end-co-handling": _explained(unit=lambda pen: pen.co_unit()),
    "progress": _explained(unit=lambda pen: pen.held_by()),
    "co-report": _explained(unit=lambda pen: pen.co_unit()),
    "settle": lambda pen: {"outcome": pen.pick(*Outcome), "reply": NOTE, "basis": "rules, 7"},
    "send-back": _explained(),
    "close": lambda pen: {"basis": pen.pick("", "", "by law")},
    "propose-reopening": lambda pen: {"satisfaction": pen.pick(*Satisfaction)},
    "decline-reopening": _explained(),
    "reopen": _explained(),
    "set-deadlines": _set_deadlines,
    "recompute-deadline": _recompute,
    "request-extension": lambda pen: pen.longer() | {"note": NOTE},
    "extend": lambda pen: pen.longer() | {"note": NOTE, "approver": "jj-director"},
    "refuse-extension": lambda pen: pen.named("extension_requested") | {"note": NOTE},
    "request-pause": lambda pen: pen.named() | {"note": NOTE, "cause": pen.pick(*PauseCause)},
    "suspend": lambda pen: (
        pen.named()
        | {"note": NOTE, "cause": pen.pick(*PauseCause), "until": pen.pick(None, pen.now + HOUR, pen.now + 2 * HOUR)}
    ),
    "refuse-pause": lambda pen: pen.named("pause_requested") | {"note": NOTE},
    "resume": _resume,
    "warn": _fire,
    "declare-overdue": _fire,
    "annul-overdue": _annul,
    "escalate": _explained(to=lambda pen: pen.region(up=True), informs=("committee",)),
    "hand-down": _explained(to=lambda pen: pen.region(up=False)),
    "urge": _urge,
    "hold": _explained(hold=lambda pen: Hold.LEGAL if pen.sane else pen.pick(*Hold)),
    "release": lambda pen: {"hold": pen.chance.choice(pen.state.holds) if pen.state.holds else Hold.LEGAL},
    "request-release": lambda pen: {"basis": "the suit is over"},
    "end-release-request": _explained(),
    "request-erasure": lambda pen: {
        "retention": pen.state.retention if pen.sane else pen.pick(*Retention),
        "basis": "9.4 b",
    },
    "end-erasure-request": _explained(),
    "erase": lambda pen: {"retention": pen.state.retention if pen.sane else pen.pick(*Retention), "basis": "9.4 b"},
    "answer-order": _explained(),
    "accept-answer": _explained(),
    "refuse-answer": _explained(),
    "withdraw-order": _explained(),
}
ORDER_KINDS = tuple(OrderKind)
