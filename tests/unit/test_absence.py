"""Who holds something for whom: an absent or inactive person holds nothing, the deputy in line does, else the unit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.supervision.policy import holder
from shared.case.base import Owner
from shared.case.facts import Stage
from shared.case.rights import Right
from shared.kit.access import Caller, barred, refusal, takes_no_part
from shared.kit.identity import Identity
from shared.kit.settings import Settings
from shared.reference.documents import DocumentKind
from shared.reference.people import PersonRow
from shared.reference.reference_data import ReferenceData
from tests.support.law import HOUSING, LABOUR, LI, TOWNSHIP, WANG, ask, given
from tests.support.policy_life import HOUR, Life, document, library

NOON = datetime(2026, 6, 10, 4, 0, tzinfo=UTC)  # 12:00 in China
LAST_HOUR, NEXT_DAY = datetime(2026, 6, 12, 15, 30, tzinfo=UTC), datetime(2026, 6, 12, 16, 30, tzinfo=UTC)
AWAY = {"away_from": "2026-06-10", "away_until": "2026-06-12"}
LONG_AWAY: dict[str, Any] = {"away_from": "2026-01-01"}
LEFT: dict[str, Any] = {"active": False}


def row(id: str, deputy: str | None = None, **more: Any) -> dict[str, Any]:
    return {"id": id, "name": id, "unit": HOUSING, "post": "handler", "deputy": deputy} | more


def directory(*rows: dict[str, Any]) -> ReferenceData:
    posts = [
        {"code": "handler", "title": "承办人", "rights": ["sign", "handle", "co_handle"]},
        {"code": "chief", "title": "主任", "rights": ["read", "extend", "suspend", "assign"]},
        {"code": "auditor", "title": "审计员", "rights": ["audit"]},
    ]
    return ReferenceData([document(DocumentKind.POSTS, 1, *posts), document(DocumentKind.PEOPLE, 2, *rows)])


# what the person is -> the deputies in line -> who holds it at noon of the 10th; None is the unit
LINES: tuple[tuple[str, tuple[dict[str, Any], ...], str | None], ...] = (
    ("present", (row("a", "b"), row("b")), "a"),
    ("away, with a deputy", (row("a", "b", **AWAY), row("b")), "b"),
    ("away without an end", (row("a", "b", **LONG_AWAY), row("b")), "b"),
    ("away from tomorrow", (row("a", "b", away_from="2026-06-11"), row("b")), "a"),
    ("away until yesterday", (row("a", "b", away_from="2026-06-01", away_until="2026-06-09"), row("b")), "a"),
    ("inactive, with a deputy", (row("a", "b", **LEFT), row("b")), "b"),
    ("the deputy is away too", (row("a", "b", **AWAY), row("b", "c", **AWAY), row("c")), "c"),
    ("the deputy has left", (row("a", "b", **AWAY), row("b", "c", **LEFT), row("c")), "c"),
    ("no deputy", (row("a", **AWAY),), None),
    ("the whole line is away", (row("a", "b", **AWAY), row("b", **LEFT)), None),
    ("a circle", (row("a", "b", **AWAY), row("b", "a", **AWAY)), None),
    ("the own deputy", (row("a", "a", **AWAY),), None),
    ("a deputy of no document", (row("a", "gone", **AWAY),), None),
    ("of no document", (row("b"),), None),
)


@pytest.mark.parametrize(("_", "rows", "holds"), LINES, ids=[name for name, *_ in LINES])
def test_who_is_absent_holds_nothing(_: str, rows: tuple[dict[str, Any], ...], holds: str | None) -> None:
    reference_data = directory(*rows)
    case = replace(given("handled"), person="a")
    assert holder(reference_data, case, None, NOON) == holds
    stand_in = reference_data.stand_in("a", NOON)
    assert (stand_in.id if stand_in else None) == holds


@pytest.mark.parametrize(("at", "holds"), [(NOON, "b"), (LAST_HOUR, "b"), (NEXT_DAY, "a")])
def test_the_days_of_an_absence_are_local_and_it_ends_by_itself(at: datetime, holds: str) -> None:
    case = replace(given("handled"), person="a")
    assert holder(directory(row("a", "b", **AWAY), row("b")), case, None, at) == holds


@pytest.mark.parametrize(
    ("case", "deputy", "holds"),
    [
        ({"stand_aside": ("b",)}, {}, "c"),
        ({"complained_unit": LABOUR}, {"unit": LABOUR}, "c"),
        ({}, {"stands_aside_from": ["a"]}, "c"),
        ({}, {"stands_aside_from": [HOUSING]}, "c"),
        ({"stand_aside": ("a",)}, {}, None),
        ({}, {}, "b"),
    ],
)
def test_nobody_who_is_barred_from_a_case_stands_in_for_it(
    case: dict[str, Any], deputy: dict[str, Any], holds: str | None
) -> None:
    reference_data = directory(row("a", "b", **AWAY), row("b", "c", **deputy), row("c"))
    assert holder(reference_data, replace(given("handled"), person="a", **case), None, NOON) == holds


@pytest.mark.parametrize(
    "fields", [{"away_until": "2026-06-12"}, {"away_from": "2026-06-12", "away_until": "2026-06-10"}]
)
def test_an_absence_without_a_beginning_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="away_until needs an away_from"):
        PersonRow.model_validate(row("a", **fields))


@pytest.mark.clause("11.2")
@pytest.mark.parametrize(
    ("rows", "person"),
    [
        ((row(LI),), LI),
        ((row(LI, WANG, **LONG_AWAY), row(WANG)), WANG),
        ((row(LI, **LONG_AWAY),), None),
    ],
)
def test_a_reminder_goes_to_who_holds_the_case_and_else_to_the_unit(
    rows: tuple[dict[str, Any], ...], person: str | None
) -> None:
    handling = (ask("register"), ask("triage"), ask("assign"), ask("sign-for"))
    life = Life(*handling, documents=library(people=rows))
    life.fire("overdue", Stage.HANDLE, life.clock(Stage.HANDLE).deadline.due + HOUR)
    moment = life.late.next_at
    assert moment is not None
    (reminder,) = life.fire("rung", Stage.HANDLE, moment)
    assert (reminder.facts.unit, reminder.facts.person) == (HOUSING, person)
    assert reminder.facts.informs == tuple(name for name in (person, HOUSING) if name)
    assert life.late.unit is None, "the clock is the unit's, and it runs on"


CHIEF, CLERK = row("chief", "clerk", unit=f"{TOWNSHIP}-centre", post="chief", **AWAY), row("clerk", unit=LABOUR)
EXTEND = ask("extend")


def as_deputy(reference_data: ReferenceData, person: str, state: Any, at: datetime = NOON) -> list[Caller]:
    identity = Identity(owner=Owner.SUPERVISION, settings=Settings(), reference_data=reference_data)
    caller = identity.person(person)
    return [] if caller is None else list(identity.as_deputy(caller, at, state))


def test_a_deputy_acts_with_the_post_of_the_absent_person_and_in_the_own_name() -> None:
    case = given("extension asked")
    (deputy,) = as_deputy(directory(CHIEF, CLERK), "clerk", case)
    assert refusal(deputy, EXTEND.command, case) is None
    actor = deputy.actor
    assert (actor.person, actor.post, actor.unit, actor.acting_for) == ("clerk", "chief", CHIEF["unit"], "chief")
    assert Right.EXTEND in deputy.rights


@pytest.mark.parametrize(
    ("rows", "case", "at"),
    [
        ((CHIEF, CLERK), {}, NEXT_DAY),  # the chief is back
        ((CHIEF | {"away_from": None, "away_until": None}, CLERK), {}, NOON),  # the chief was never away
        ((CHIEF, CLERK | AWAY), {}, NOON),  # the deputy is away too
        ((CHIEF, CLERK | LEFT), {}, NOON),  # an inactive person cannot act
        ((CHIEF | {"deputy": "other"}, CLERK, row("other")), {}, NOON),  # somebody else is nearer in line
        ((CHIEF | {"post": "auditor"}, CLERK), {}, NOON),  # clause 9.5 b keeps these powers apart
        ((CHIEF, CLERK), {"stand_aside": ("clerk",)}, NOON),
        ((CHIEF, CLERK), {"stand_aside": ("chief",)}, NOON),
        ((CHIEF, CLERK), {"complained_unit": LABOUR}, NOON),
        ((CHIEF, CLERK | {"stands_aside_from": [LI]}), {}, NOON),
    ],
)
def test_who_does_not_stand_in_has_no_right_of_another(rows: Any, case: dict[str, Any], at: datetime) -> None:
    assert as_deputy(directory(*rows), "clerk", replace(given("extension asked"), **case), at) == []


# the rights of the deputy's own post, those of two absent people -> those that the deputy has for each of them
POWERS: tuple[tuple[str, str, str, list[set[str]]], ...] = (
    ("handle", "read hold", "read erase", [{"read"}, {"read"}]),
    ("handle", "hold", "erase", []),
    ("handle", "read hold", "read close", [{"read", "hold"}, {"read", "close"}]),
    ("erase", "read hold", "read close", [{"read"}, {"read", "close"}]),
    ("export", "audit", "operate", []),
    ("export", "admin export", "handle", [{"export"}, {"handle"}]),
    ("audit", "handle", "export", [{"export"}]),
    ("audit", "operate", "admin", []),
)


@pytest.mark.clause("9.5b")
@pytest.mark.parametrize(("own", "first", "second", "rights"), POWERS)
def test_powers_that_are_kept_apart_do_not_come_together_from_two_absent_people(
    own: str, first: str, second: str, rights: list[set[str]]
) -> None:
    posts = [{"code": code, "title": code, "rights": names.split()} for code, names in
             (("own", own), ("first", first), ("second", second))]  # fmt: skip
    people = [row(id, "deputy", post=id, **AWAY) for id in ("first", "second")]
    rows = (document(DocumentKind.POSTS, 1, *posts),
            document(DocumentKind.PEOPLE, 2, *people, row("deputy", post="own")))  # fmt: skip
    deputies = as_deputy(ReferenceData(rows), "deputy", None)
    assert [{right.value for right in deputy.rights} for deputy in deputies] == rights


def test_a_deputy_is_barred_by_the_own_unit_and_by_the_absent_person() -> None:
    caller = Caller("clerk", "chief", HOUSING, TOWNSHIP, frozenset(), acting_for="chief", own_unit=LABOUR)
    case = given("handled")
    assert not barred(caller, case)
    assert barred(caller, replace(case, complained_unit=LABOUR))
    assert barred(caller, replace(case, complained_unit=HOUSING))
    assert barred(caller, replace(case, stand_aside=("chief",)))
    assert takes_no_part(replace(case, complained_unit=LABOUR))(PersonRow.model_validate(CLERK))
