"""What supervision answers with; explanations stand in `deadlines/explanations.py`, proposals in `proposals.py`."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel

from services.supervision.deadlines.explanations import ClockView, OverdueView
from shared.case.facts import Stage
from shared.case.lifecycle import Status


class Moment(BaseModel):
    """The next moment of a clock if nothing happens: warn, overdue, rung or resume."""

    at: AwareDatetime
    what: str
    stage: Stage
    unit: str | None


class Deadlines(BaseModel):
    """All clocks of a case, what is late, how often it was, and the next moments, soonest first."""

    id: str
    number: str
    status: Status
    clocks: list[ClockView]
    late: list[OverdueView]
    lateness: int
    next: list[Moment]
