"""A case with the reactions and timers of supervision, through the law, under made-up reference documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from services.supervision import policy
from services.supervision.policy import moments
from shared.case.base import Meta, Recorded
from shared.case.clocks import Overdue, RunningDeadline
from shared.case.commands import Command
from shared.case.decide import Accepted
from shared.case.facts import Stage
from shared.case.orders import NEW_ORDER
from shared.case.reasons import Reason, Rejected
from shared.case.state import NEW, CaseState
from shared.kit.effects import CommandRequest, Timer
from shared.reference.documents import ROW_TYPES, Document, DocumentKind
from shared.reference.reference_data import ReferenceData
from shared.reference.regions import NATION
from tests.support.law import CITY, COUNTY, HOUSING, LI, TOWNSHIP, WANG, WATER, WHERE, Ask, given, person, then, when

PROVINCE = "510000000000"
HOUR = timedelta(hours=1)
MADE = {"mark": "C", "text": "made up"}
CHAIN = (TOWNSHIP, COUNTY, CITY, PROVINCE)
_numbers = count(1)


def document(kind: DocumentKind, sequence: int, *rows: dict[str, Any]) -> Document:
    return Document(
        kind=kind, region=NATION, rows=tuple(ROW_TYPES[kind].model_validate(row) for row in rows), sequence=sequence
    )


def limit(stage: str, amount: int, base: str = "working_days", **more: Any) -> dict[str, Any]:
    row = {"id": f"{stage}-{amount}", "stage": stage, "amount": amount, "base": base, "basis": MADE}
    return row | more


def rung(id: str, after: int, act: str, **more: Any) -> dict[str, Any]:
    row = {"id": id, "after": after, "base": "hours", "act": act, "acts": f"who must {act}", "basis": MADE}
    return row | more


CENTRES = [
    {"region": region, "name": region, "party_committee": f"party of {region}", "government": f"government of {region}"}
    for region in CHAIN
]
DOUBLE = ["party_committee", "government", "centre_above"]
LADDER = (
    rung("remind", 0, "remind", informs=["person", "unit"]),
    rung("urge", 1, "urge", informs=["unit", "centre"]),
    rung("order", 2, "order", order_kind="on_site", answer=3, answer_base="hours"),
    rung("up", 4, "escalate", every=4, informs=DOUBLE),
)
PEOPLE = [{"id": id, "name": id, "unit": unit, "post": "handler"} for id, unit in ((LI, HOUSING), (WANG, WATER))]
LIMITS = (
    limit("triage", 2, "hours", when={"severity": ["larger"]}),
    limit("triage", 1, extend_max=20, extend_by="desk"),
    limit("sign", 1),
    limit("handle", 5, warn=1, pauses=["hearing"], extend_max=10, extend_by="desk"),
    limit("co_handle", 5),
    limit("feedback", 3),
    limit("report", 4, "hours", when={"severity": ["major", "extreme"]}),
)


def library(**changed: Sequence[dict[str, Any]]) -> ReferenceData:
    """The documents in force, with the `changed` rows by kind."""
    rows_by_kind: dict[str, Sequence[dict[str, Any]]] = {
        "centres": CENTRES, "limits": LIMITS, "ladders": LADDER, "calendars": [{"year": "2026"}], "people": PEOPLE,
    }  # fmt: skip
    items = (rows_by_kind | changed).items()
    return ReferenceData([document(DocumentKind(kind), number, *rows) for number, (kind, rows) in enumerate(items, 1)])


LIBRARY = library()


def law(state: Any, request: CommandRequest, at: datetime) -> Recorded[Any] | Rejected | None:
    """The event of a command that supervision requests, or its rejection; None when it was applied before."""
    meta = Meta(command_id=f"policy-{next(_numbers)}", time=at, recorded_at=at, actor=person())
    verdict = when(state, Command(request.address, meta, request.name, request.facts))
    return verdict.recorded if isinstance(verdict, Accepted) else verdict


class Life:
    """A case of a test: each event that people cause is followed by the commands that supervision requests."""

    def __init__(self, *requests: Ask, documents: ReferenceData = LIBRARY) -> None:
        self.state: CaseState = NEW
        self.library = documents
        self.history: list[Recorded[Any]] = []
        self.refused: list[Reason] = []
        for request in requests:
            self.ask(request)

    def ask(self, request: Ask) -> None:
        """Apply a command of a person and the reactions of supervision. Raises AssertionError when it is rejected."""
        verdict = when(self.state, request.command)
        assert isinstance(verdict, Accepted), verdict
        assert verdict.recorded is not None
        self.happened(verdict.recorded)

    def happened(self, recorded: Recorded[Any]) -> None:
        """Add an event and apply the reactions of supervision."""
        self.state = then(self.state, recorded)
        self.history.append(recorded)
        for reaction in policy.REACTIONS:
            if type(recorded.event) in reaction.events:
                for request in reaction.decide(recorded, self.state, self.library):
                    self.want(request, recorded.time)

    def want(self, request: CommandRequest, at: datetime) -> None:
        """Apply a command that supervision requests; an issued order is noted on its case."""
        if request.address.kind == "order":
            issued = law(given("no order"), request, at)
            assert isinstance(issued, Recorded)
            for case_request in policy.tell_the_cases(issued, NEW_ORDER, self.library):
                self.want(case_request, at)
            return
        outcome = law(self.state, request, at)
        if isinstance(outcome, Rejected):
            self.refused.append(outcome.reason)
        elif outcome is not None:
            self.happened(outcome)

    def fire(self, what: str, stage: Stage, at: datetime, unit: str = "") -> Sequence[Any]:
        """Fire a timer and apply the commands that it requests; returns them."""
        in_force = {(timer.what, timer.stage, timer.unit): timer for timer in moments(WHERE.subject, self.state)}
        due = in_force.get((what, stage, unit)) or Timer(at, WHERE.subject, what, stage, unit)
        requests = policy.fire(WHERE, self.state, due, at, self.library)
        for request in requests:
            self.want(request, at)
        return requests

    @property
    def names(self) -> list[str]:
        return [recorded.type.partition(".")[2] for recorded in self.history]

    @property
    def running(self) -> set[tuple[Stage, str | None]]:
        assert all(clock.ended_at is None for clock in self.state.clocks), "the clock of an ended stage is closed"
        return {clock.key for clock in self.state.clocks}

    def clock(self, stage: Stage) -> RunningDeadline:
        clock = self.state.clock(stage)
        assert clock is not None
        return clock

    @property
    def late(self) -> Overdue:
        (overdue,) = self.state.late
        return overdue
