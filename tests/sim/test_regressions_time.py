"""Errors of time that worlds found, each as a test of its own."""

from __future__ import annotations

from datetime import date, timedelta

from shared.case.base import Owner
from shared.case.calendar import reckon
from shared.case.facts import Deadline, Stage, TimeBase
from shared.reference.calendars import CalendarRow
from shared.reference.documents import Document, DocumentKind
from tests.sim.clients import Asked, by_itself
from tests.sim.places import PROVINCE, TOWN
from tests.sim.test_regressions import Town, in_a_town

DAYS_OFF = tuple(date(2026, 3, day) for day in (3, 4, 5))
NEWER = Document(
    kind=DocumentKind.CALENDARS, region=PROVINCE, rows=(CalendarRow(year="2026", holidays=DAYS_OFF),), sequence=99
)


@in_a_town
async def test_a_clock_that_is_set_by_an_old_calendar_behind_the_recomputation_is_found(town: Town) -> None:
    """A process without the newest calendar sets a clock after the recomputation of all others."""
    case = await town.register("k")
    town.start()
    await town.rest()
    informed, late = (town.copy(Owner.SUPERVISION, number) for number in (1, 2))
    informed.reference_data.put(NEWER)
    await town.world.clock.sleep(10)  # the recomputation has passed all cases once
    calendar, start = late.reference_data.calendar(TOWN), late.clock.now()
    old = reckon(start, 5, TimeBase.WORKING_DAYS, calendar)
    deadline = Deadline(
        stage=Stage.TRIAGE, start=start, due=old.due, base=TimeBase.WORKING_DAYS, amount=5, last_day=old.last_day,
        calendar_reference=calendar.reference_for(old.due.date()),
    )  # fmt: skip
    asked = town.asked("set-deadlines", case, "old", None, opens=(deadline,), closes=(Stage.TRIAGE,))
    await by_itself(Asked(asked, None))(late)
    late.reference_data.put(NEWER)
    await town.world.clock.sleep(60)
    clock = town.world.state(case).clock(Stage.TRIAGE)
    assert clock is not None
    assert clock.deadline.due == old.due + timedelta(days=3), "three days off"
    assert clock.deadline.calendar_reference == NEWER.reference
