"""The limits of a world, short enough to become overdue in it, its ladder, and calendars that are published late."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from functools import cache
from random import Random

from shared.case.facts import Ends, OrderKind, PauseCause, Stage, TimeBase
from shared.reference.calendars import CalendarRow
from shared.reference.documents import Document, DocumentKind
from shared.reference.ladders import Act, Informed, LadderRow
from shared.reference.limits import LimitRow
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData
from shared.reference.row import BasisRow, Mark
from tests.sim.loop import START
from tests.sim.places import FAR_COUNTY, PROVINCE, people

LAW = BasisRow(mark=Mark.LAW, text="simulation")
EVERYBODY = tuple(Informed)
# Seconds of the time of day per second of the loop: limits of hours run out, while pauses of services stay seconds.
PACE = 200.0


def _limit(
    stage: Stage, amount: int, base: TimeBase = TimeBase.HOURS, warn: int = 0, ends: Ends = Ends.DAY
) -> LimitRow:
    return LimitRow(
        id=f"sim-{stage}", stage=stage, amount=amount, base=base, warn=warn, ends=ends, basis=LAW, extend_max=5,
        extend_by="director", extend_times_max=1, pauses=tuple(PauseCause), pause_times_max=1,
    )  # fmt: skip


def _limits() -> list[Document]:
    """Limits in hours for the province and in days for one county, so that a case may meet both."""
    hours = (
        _limit(Stage.TRIAGE, 1), _limit(Stage.SIGN, 2, warn=1), _limit(Stage.HANDLE, 3, warn=1),
        _limit(Stage.CO_HANDLE, 2, warn=1), _limit(Stage.FEEDBACK, 2, warn=1), _limit(Stage.REPORT, 1),
    )  # fmt: skip
    days = (
        _limit(Stage.TRIAGE, 3, warn=2), _limit(Stage.SIGN, 2, ends=Ends.OFFICE),
        _limit(Stage.HANDLE, 1, TimeBase.WORKING_DAYS, ends=Ends.OFFICE),
        _limit(Stage.CO_HANDLE, 4, warn=3, ends=Ends.OFFICE), _limit(Stage.FEEDBACK, 1, TimeBase.CALENDAR_DAYS),
        _limit(Stage.REPORT, 2, warn=1),
    )  # fmt: skip
    bounded = {"pauses": (PauseCause.HEARING,), "pause_times_max": 1, "pause_days_max": 1}
    immovable = {"extend_by": None, "extend_max": 0, "pauses": ()}
    far = tuple(row.model_copy(update=immovable if row.stage is Stage.SIGN else bounded) for row in days)
    return [
        Document(kind=DocumentKind.LIMITS, region=PROVINCE, rows=hours),
        Document(kind=DocumentKind.LIMITS, region=FAR_COUNTY, rows=far),
    ]


def _rung(act: Act, after: int, **more: object) -> LadderRow:
    return LadderRow.model_validate(
        {"id": f"sim-{act}", "after": after, "base": TimeBase.HOURS, "act": act, "acts": "simulation",
         "informs": EVERYBODY, "basis": LAW} | more
    )  # fmt: skip


def _ladder() -> Document:
    order: dict[str, object] = {"order_kind": OrderKind.ORDINARY, "answer": 1, "answer_base": TimeBase.HOURS}
    rungs = (
        _rung(Act.REMIND, 0), _rung(Act.URGE, 1), _rung(Act.ORDER, 2, **order), _rung(Act.ESCALATE, 3, every=2),
    )  # fmt: skip
    return Document(kind=DocumentKind.LADDERS, region=PROVINCE, rows=rungs)


@cache
def library() -> ReferenceData:
    """The documents of the demo, with the people, limits and ladder of the simulation."""
    return ReferenceData([*demo_documents(), people(), *_limits(), _ladder()])


def own_library() -> ReferenceData:
    """A copy for one process, whose calendars change independently of the other copies."""
    own = copy(library())
    own._documents, own._rows = dict(own._documents), dict(own._rows)
    own._rows[DocumentKind.CALENDARS] = dict(own._rows[DocumentKind.CALENDARS])
    own._calendars, own._references, own._versions = {}, {}, {}
    return own


def calendar(chance: Random, sequence: int) -> Document:
    """A newer calendar of the province, with some of the days of a world as holidays."""
    first = START.date()
    days = [first + timedelta(days=n) for n in range(1, 20)]
    holidays = tuple(sorted(chance.sample(days, chance.choice((1, 2, 6)))))
    row = CalendarRow(year=str(first.year), holidays=holidays, office=("09:00-12:00", "13:00-17:00"))
    return Document(kind=DocumentKind.CALENDARS, region=PROVINCE, rows=(row,)).model_copy(update={"sequence": sequence})
