"""Response models of supervision; explanations stand in `deadlines/explanations.py`, proposals in `proposals.py`."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel

from services.supervision.deadlines.explanations import ClockView, OverdueView
from shared.case.facts import Stage
from shared.case.lifecycle import Status


class Moment(BaseModel):
    """The next timer of a clock if nothing happens. `what` is warn, overdue, rung or resume."""

    at: AwareDatetime
    what: str
    stage: Stage
    unit: str | None


class Deadlines(BaseModel):
    """All clocks of a case, its overdues, the number of its late stages, and its next timers, soonest first."""

    id: str
    number: str
    status: Status
    clocks: list[ClockView]
    late: list[OverdueView]
    lateness: int
    next: list[Moment]
