"""Due moment, warning, bound and citations of a clock come from one reckoning, by the documents in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.supervision import policy
from services.supervision.deadlines.explanations import clocks_of, steps_of
from services.supervision.deadlines.reckoning import extended_deadline, resumption
from shared.case.clocks import RunningDeadline
from shared.case.facts import Allowance, Deadline, Stage
from shared.case.state import standing
from shared.kit.effects import Timer
from shared.reference.documents import DocumentKind
from shared.reference.reference_data import ReferenceData
from shared.reference.regions import NATION
from tests.support.law import TOWNSHIP, WHERE, Ask, ask
from tests.support.policy_life import HOUR, Life, document, library, limit

HANDLING = (ask("register"), ask("triage"), ask("assign"), ask("sign-for"))
DAY = timedelta(days=1)
# Monday 2 March 2026, 9:00 in China, is the start of every clock here
EXTRA = ["2026-03-03", "2026-03-04"]


def at(text: str) -> datetime:
    """A moment by the wall clock of China."""
    return datetime.fromisoformat(f"{text}+08:00").astimezone(UTC)


def life(*rows: dict[str, Any], calendars: list[dict[str, Any]] | None = None) -> Life:
    limits = [limit("triage", 1), *rows]
    return Life(*HANDLING, documents=library(limits=limits, calendars=calendars or [{"year": "2026"}]))


def days(amount: int, base: str = "working_days", **more: Any) -> dict[str, Any]:
    terms = {"warn": 1, "pauses": ["hearing"], "extend_max": 5, "extend_by": "desk"}
    return limit("handle", amount, base, **terms | more)


def publish(case: Life, *years: dict[str, Any], version: int = 99, region: str = NATION) -> None:
    """Put a calendar in force; running clocks are moved as by the service."""
    others = case.library.documents()
    new = document(DocumentKind.CALENDARS, version, *years).model_copy(update={"region": region})
    case.library = ReferenceData([*(one for one in others if one.name != new.name), new])
    clock = case.clock(Stage.HANDLE)
    if not clock.suspended:
        timer = Timer(clock.deadline.due, WHERE.subject, "overdue", "handle", "", clock.set_by)
        for request in policy.recompute_by(case.library)(WHERE, case.state, timer, case.history[-1].time):
            case.want(request, case.history[-1].time)


def resume(case: Life, moment: datetime) -> None:
    continued = resumption(case.clock(Stage.HANDLE), moment, case.library.calendar(TOWNSHIP))
    case.ask(Ask("resume", continued, at=moment))


def extend(case: Life, due: datetime, moment: datetime) -> None:
    deadline = extended_deadline(case.clock(Stage.HANDLE), due, moment, case.library.calendar(TOWNSHIP))
    case.ask(ask("extend", due=due, at=moment, deadline=deadline))


def handling(case: Life) -> Deadline:
    return case.clock(Stage.HANDLE).deadline


def bound(case: Life) -> datetime | None:
    allows = handling(case).allows
    return allows.extend_until if allows else None


@pytest.mark.clause("5.1.3a")
def test_a_calendar_published_during_a_pause_counts_as_for_a_clock_that_ran_on() -> None:
    ran_on, stood_still = life(days(5)), life(days(5))
    stood_still.ask(ask("suspend", at=at("2026-03-02 10:00")))
    for case in (ran_on, stood_still):
        publish(case, {"year": "2026", "holidays": EXTRA})
    resume(stood_still, at("2026-03-02 10:30"))
    for case in (ran_on, stood_still):
        deadline = handling(case)
        assert (deadline.due, deadline.warn_at) == (at("2026-03-12 00:00"), at("2026-03-11 00:00"))
        assert bound(case) == at("2026-03-19 00:00"), "five working days more"
        assert deadline.calendars == (deadline.calendar_reference,) == (f"calendars:{NATION}@99",)


def test_a_calendar_that_takes_days_off_away_makes_a_paused_clock_due_earlier() -> None:
    case = life(days(5), calendars=[{"year": "2026", "holidays": EXTRA}])
    case.ask(ask("suspend", at=at("2026-03-02 10:00")))
    publish(case, {"year": "2026"})
    resume(case, at("2026-03-02 10:30"))
    assert handling(case).due == at("2026-03-10 00:00")
    assert case.refused == []


@pytest.mark.clause("5.1.3a")
def test_a_warning_after_an_extension_is_reckoned_by_the_calendar() -> None:
    case = life(days(20, warn=5, extend_max=10), calendars=[{"year": "2026", "holidays": ["2026-04-06"]}])
    assert handling(case).due == at("2026-03-31 00:00")
    extend(case, at("2026-04-08 00:00"), at("2026-03-02 10:00"))
    assert handling(case).due == at("2026-04-08 00:00")
    assert handling(case).warn_at == at("2026-03-31 00:00"), "31 March, 1, 2, 3 and 7 April are left"
    assert bound(case) == at("2026-04-15 00:00")


def test_a_new_calendar_moves_the_bound_of_an_extension_though_the_due_moment_stays() -> None:
    case = life(days(5))
    assert bound(case) == at("2026-03-17 00:00")
    publish(case, {"year": "2026", "holidays": ["2026-03-12"]})
    assert (handling(case).due, bound(case)) == (at("2026-03-10 00:00"), at("2026-03-18 00:00"))
    extend(case, at("2026-03-18 00:00"), at("2026-03-02 10:00"))
    assert handling(case).due == at("2026-03-18 00:00")


def test_a_new_calendar_moves_the_warning_of_an_extended_clock() -> None:
    case = life(days(5, warn=2))
    extend(case, at("2026-03-17 00:00"), at("2026-03-02 10:00"))
    publish(case, {"year": "2026", "holidays": ["2026-03-16"]})
    assert (handling(case).due, handling(case).warn_at) == (at("2026-03-17 00:00"), at("2026-03-12 00:00"))
    assert handling(case).calendar_reference == f"calendars:{NATION}@99"


def test_days_off_that_come_later_than_an_extension_make_it_no_shorter_than_the_limit() -> None:
    case = life(days(5))
    extend(case, at("2026-03-11 00:00"), at("2026-03-02 10:00"))
    publish(case, {"year": "2026", "holidays": ["2026-03-03", "2026-03-04", "2026-03-05"]})
    assert handling(case).due == at("2026-03-13 00:00")


def test_what_a_calendar_leaves_as_it_is_keeps_the_name_of_its_document() -> None:
    case = life(days(5))
    before = handling(case)
    publish(case, {"year": "2026", "holidays": ["2026-12-30"]})
    assert handling(case) == before


def test_every_document_by_which_time_was_counted_is_cited() -> None:
    case = life(days(220), calendars=[{"year": "2026"}, {"year": "2027"}])
    publish(case, {"year": "2027", "holidays": ["2027-01-01"]}, version=98, region=TOWNSHIP)
    cited = handling(case)
    assert cited.calendar_reference == f"calendars:{TOWNSHIP}@98"
    assert cited.calendars == (f"calendars:{NATION}@4", f"calendars:{TOWNSHIP}@98")
    publish(case, {"year": "2026", "holidays": EXTRA}, {"year": "2027"})
    assert handling(case).calendars == (f"calendars:{NATION}@99", f"calendars:{TOWNSHIP}@98")
    assert handling(case).due == cited.due + 2 * DAY


def test_hours_that_end_in_the_night_of_a_new_year_cite_its_document_by_the_wall_clock() -> None:
    case = life(days(7313, "hours"), calendars=[{"year": "2026"}])
    assert handling(case).due == at("2027-01-01 02:00")
    assert handling(case).calendar_reference is None, "2027 is not published"


def test_a_pause_that_ended_unseen_ended_when_it_was_to_end() -> None:
    """After an outage, a recomputation counts the pause as the resumption did."""
    case = life(days(5))
    case.ask(ask("suspend", at=at("2026-03-03 10:00"), until=at("2026-03-05 10:00")))
    case.fire("resume", Stage.HANDLE, at("2026-03-09 10:00"))
    assert handling(case).due == at("2026-03-12 00:00")
    publish(case, {"year": "2026", "holidays": ["2026-03-06"]})
    assert handling(case).due == at("2026-03-13 00:00")


def test_an_overdue_that_stands_is_not_taken_back_by_a_pause_and_a_new_calendar() -> None:
    case = life(days(5))
    due = handling(case).due
    case.fire("overdue", Stage.HANDLE, due + HOUR)
    case.ask(ask("suspend", at=due + 2 * HOUR))
    publish(case, {"year": "2026", "holidays": EXTRA})
    resume(case, due + 3 * HOUR)
    assert (handling(case).due, case.clock(Stage.HANDLE).overdue, case.state.overdue_count) == (due, True, 1)


def test_a_bound_that_an_older_program_set_still_moves_with_a_pause() -> None:
    old = handling(life(days(5)))
    allows = old.allows or Allowance()
    deadline = old.model_copy(update={"allows": allows.model_copy(update={"extend_max": 0}), "calendars": ()})
    stopped = life(days(5))
    stopped.ask(ask("suspend", at=at("2026-03-03 10:00")))
    clock: RunningDeadline = stopped.clock(Stage.HANDLE)
    earlier = RunningDeadline(deadline, "set", suspended=True, moves=clock.moves)
    resumed = resumption(earlier, at("2026-03-05 10:00"), stopped.library.calendar(TOWNSHIP))["deadline"]
    assert (resumed.due, resumed.allows.extend_until) == (at("2026-03-12 00:00"), at("2026-03-19 00:00"))


def test_both_limits_and_the_reason_are_shown_whichever_holds() -> None:
    rows = [
        limit("handle", amount, "hours", when={"nature": [nature]}, pauses=["hearing"], id=f"h-{nature}")
        for nature, amount in (("dispute", 10), ("consultation", 8), ("help", 12))
    ]
    case = life(*rows)
    start = handling(case).start
    case.ask(ask("suspend", at=start + HOUR))
    resume(case, start + HOUR + timedelta(minutes=1))
    for nature, what, held in (
        ("help", "compare", "the moved one holds"),
        ("consultation", "recompute", "the law's own limit holds"),
    ):
        case.ask(ask("correct", nature=nature, severity=None, at=start + 2 * HOUR))
        history = clocks_of(case.history)[Stage.HANDLE, None]
        calendar = case.library.calendar(TOWNSHIP)
        comparison = policy.compare_limits(case.library, history.state, history.clock)
        (step,) = (step for step in steps_of(history, calendar, comparison) if step.what == what)
        assert held in step.why
        assert "moved: 10 hours (made up (not law)), due 2026-03-02T19:01+08:00" in step.why
    assert "case: 8 hours (made up (not law)), due 2026-03-02T17:01+08:00" in step.why


LAW = {"basis": {"mark": "L", "text": "the law, 14"}}


def promised(**more: Any) -> Life:
    """A case with a custom limit of 5 working days under the law's own of 10, both of which may be extended."""
    terms: dict[str, Any] = {"when": {"nature": ["dispute"]}, "extend_by": "desk", "extend_times_max": 3}
    terms |= {"pauses": ["hearing"]} | more
    custom = limit("handle", 5, extend_max=20, id="custom", **terms)
    return life(custom, limit("handle", 10, extend_max=10, id="law", **terms) | LAW)


def test_an_extension_within_the_bound_of_the_law_stands_though_a_custom_limit_is_shorter() -> None:
    case = promised()
    extend(case, at("2026-03-19 00:00"), at("2026-03-06 10:00"))
    assert (handling(case).amount, handling(case).due) == (10, at("2026-03-17 00:00")), "longer than the law has it"
    extend(case, at("2026-03-21 00:00"), at("2026-03-13 10:00"))
    assert (handling(case).amount, handling(case).due) == (10, at("2026-03-21 00:00"))
    assert (case.clock(Stage.HANDLE).extensions, case.refused) == (1, [])


CORRECTIONS: tuple[dict[str, Any], ...] = (
    {"nature": None, "severity": "larger"},
    {"nature": None, "severity": None, "matter": {"title": "t", "text": "a slip of the pen"}},
)


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("paused", [False, True])
def test_a_correction_does_not_put_a_clock_back_under_the_custom_limit_that_it_left(
    paused: bool, correction: dict[str, Any]
) -> None:
    case = promised()
    if paused:
        case.ask(ask("suspend", at=at("2026-03-03 10:00")))
        resume(case, at("2026-03-04 10:00"))
    extend(case, at("2026-03-20 00:00"), at("2026-03-06 10:00"))
    due = at("2026-03-18 00:00" if paused else "2026-03-17 00:00")
    assert (handling(case).amount, handling(case).due) == (10, due)
    case.ask(ask("correct", at=at("2026-03-13 10:00"), **correction))
    assert (handling(case).amount, handling(case).due, case.refused) == (10, due, [])


def test_a_clock_that_was_put_under_the_law_has_the_limit_of_another_matter_after_a_correction() -> None:
    other = limit("handle", 12, when={"nature": ["consultation"]}, id="other")
    custom, law_row = (
        limit("handle", amount, when={"nature": ["dispute"]}, extend_max=20, extend_by="desk", id=id)
        for amount, id in ((5, "custom"), (10, "law"))
    )
    case = life(custom, law_row | LAW, other)
    extend(case, at("2026-03-19 00:00"), at("2026-03-06 10:00"))
    case.ask(ask("correct", nature="consultation", severity=None, at=at("2026-03-09 10:00")))
    assert (handling(case).amount, handling(case).due) == (12, at("2026-03-19 00:00"))


def test_a_calendar_that_was_published_while_a_case_was_merged_counts_when_the_merge_is_undone() -> None:
    case = life(days(5), calendars=[{"year": "2026", "holidays": EXTRA}])
    assert handling(case).due == at("2026-03-12 00:00")
    case.ask(ask("merge", at=at("2026-03-02 11:00")))
    others = [one for one in case.library.documents() if one.kind is not DocumentKind.CALENDARS]
    case.library = ReferenceData([*others, document(DocumentKind.CALENDARS, 99, {"year": "2026"})])
    case.ask(Ask("unmerge", standing(case.history), at=at("2026-03-03 11:00")))
    assert handling(case).due == at("2026-03-10 00:00")
    undone = next(recorded for recorded in case.history if recorded.type == "case.unmerged")
    assert policy.keep_clocks(undone, case.state, case.library) == [], "a repetition asks for nothing"
