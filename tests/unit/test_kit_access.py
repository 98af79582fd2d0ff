"""Who may ask for more time: the unit whose clock it is. A resident rates the own case. Who holds does not erase."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.case.rights import Right
from shared.kit.access import Caller, refusal
from tests.support.law import CASE, CO_CLOCK, HOUSING, LABOUR, LI, OTHER_CASE, TOWNSHIP, WATER, ask, given


@pytest.mark.parametrize("name", ["request-extension", "request-pause"])
@pytest.mark.parametrize(
    ("unit", "clock", "may"),
    [
        (HOUSING, {}, True),
        (WATER, CO_CLOCK, True),
        (WATER, {}, False),
        (HOUSING, CO_CLOCK, False),
        (LABOUR, CO_CLOCK, False),
        (LABOUR, CO_CLOCK | {"unit": LABOUR}, False),
    ],
)
def test_a_unit_asks_for_its_own_clock_only(name: str, unit: str, clock: dict[str, Any], may: bool) -> None:
    caller = Caller(LI, "handler", unit, TOWNSHIP, frozenset({Right.HANDLE}))
    refused = refusal(caller, ask(name, **clock).command, given("co-clocked"))
    assert (refused is None) is may


@pytest.mark.parametrize(
    ("name", "own_case", "may"),
    [("rate", CASE, True), ("rate", OTHER_CASE, False), ("withdraw", CASE, False), ("supplement", CASE, False)],
)
def test_a_resident_with_the_secret_rates_that_case_and_does_nothing_else(name: str, own_case: str, may: bool) -> None:
    caller = Caller("resident", "resident", f"{TOWNSHIP}-centre", TOWNSHIP, frozenset({Right.REGISTER}), None, own_case)
    closed = given("closed")
    assert (refusal(caller, ask(name).command, closed) is None) is may
    of_the_centre = replace(closed, complained_unit=caller.unit)
    assert (refusal(caller, ask(name).command, of_the_centre) is None) is may, "also who complains of the centre"


@pytest.mark.parametrize(
    ("rights", "may"), [({Right.ERASE}, True), ({Right.ERASE, Right.HOLD}, False), ({Right.HOLD}, False)]
)
@pytest.mark.parametrize("name", ["request-erasure", "erase", "end-erasure-request"])
def test_a_post_that_may_end_a_hold_erases_nothing(name: str, rights: set[Right], may: bool) -> None:
    """Also one whose document was published before the rule."""
    caller = Caller(LI, "records-officer", f"{TOWNSHIP}-centre", TOWNSHIP, frozenset(rights))
    refused = refusal(caller, ask(name).command, given("closed, erasure requested"))
    assert (refused is None) is may
    assert may or "hold and erase" in (refused or "") or "lacks the right" in (refused or "")
