"""A case that people work on and that supervision follows, through the law, by documents made up for it."""

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
from tests.support.law import CITY, COUNTY, TOWNSHIP, WHERE, Ask, given, person, then, when

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
    {"region": one, "name": one, "party_committee": f"party of {one}", "government": f"government of {one}"}
    for one in CHAIN
]
DOUBLE = ["party_committee", "government", "centre_above"]
LADDER = (
    rung("remind", 0, "remind", informs=["person", "unit"]),
    rung("urge", 1, "urge", informs=["unit", "centre"]),
    rung("order", 2, "order", order_kind="on_site", answer=3, answer_base="hours"),
    rung("up", 4, "escalate", every=4, informs=DOUBLE),
)
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
    """The documents in force, some of them `changed`."""
    rows: dict[str, Sequence[dict[str, Any]]] = {
        "centres": CENTRES, "limits": LIMITS, "ladders": LADDER, "calendars": [{"year": "2026"}],
    }  # fmt: skip
    named = (rows | changed).items()
    return ReferenceData([document(DocumentKind(kind), number, *some) for number, (kind, some) in enumerate(named, 1)])


LIBRARY = library()


def law(state: Any, wanted: CommandRequest, at: datetime) -> Recorded[Any] | Rejected | None:
    """What comes of something that supervision wants."""
    meta = Meta(command_id=f"policy-{next(_numbers)}", time=at, recorded_at=at, actor=person())
    verdict = when(state, Command(wanted.address, meta, wanted.name, wanted.facts))
    return verdict.recorded if isinstance(verdict, Accepted) else verdict


class Life:
    """A case that people work on and that supervision follows."""

    def __init__(self, *asked: Ask, documents: ReferenceData = LIBRARY) -> None:
        self.state: CaseState = NEW
        self.library = documents
        self.history: list[Recorded[Any]] = []
        self.refused: list[Reason] = []
        for one in asked:
            self.ask(one)

    def ask(self, one: Ask) -> None:
        """Somebody does something, and supervision reacts."""
        verdict = when(self.state, one.command)
        assert isinstance(verdict, Accepted), verdict
        assert verdict.recorded is not None
        self.happened(verdict.recorded)

    def happened(self, recorded: Recorded[Any]) -> None:
        self.state = then(self.state, recorded)
        self.history.append(recorded)
        for reaction in policy.REACTIONS:
            if type(recorded.event) in reaction.events:
                for wanted in reaction.decide(recorded, self.state, self.library):
                    self.want(wanted, recorded.time)

    def want(self, wanted: CommandRequest, at: datetime) -> None:
        """The law decides; an order is told to its case."""
        if wanted.address.kind == "order":
            issued = law(given("no order"), wanted, at)
            assert isinstance(issued, Recorded)
            for told in policy.tell_the_cases(issued, NEW_ORDER, self.library):
                self.want(told, at)
            return
        came = law(self.state, wanted, at)
        if isinstance(came, Rejected):
            self.refused.append(came.reason)
        elif came is not None:
            self.happened(came)

    def fire(self, what: str, stage: Stage, at: datetime, unit: str = "") -> Sequence[Any]:
        """What a moment wants, done."""
        in_force = {(one.what, one.stage, one.unit): one for one in moments(WHERE.subject, self.state)}
        due = in_force.get((what, stage, unit)) or Timer(at, WHERE.subject, what, stage, unit)
        wanted = policy.fire(WHERE, self.state, due, at, self.library)
        for one in wanted:
            self.want(one, at)
        return wanted

    @property
    def names(self) -> list[str]:
        return [recorded.type.partition(".")[2] for recorded in self.history]

    @property
    def running(self) -> set[tuple[Stage, str | None]]:
        assert all(clock.ended_at is None for clock in self.state.clocks), "what is over is closed"
        return {clock.key for clock in self.state.clocks}

    def clock(self, stage: Stage) -> RunningDeadline:
        found = self.state.clock(stage)
        assert found is not None
        return found

    @property
    def late(self) -> Overdue:
        (one,) = self.state.late
        return one
