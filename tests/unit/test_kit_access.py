"""Who may ask for more time: the unit whose clock it is."""

from __future__ import annotations

from typing import Any

import pytest

from shared.case.rights import Right
from shared.kit.access import Caller, refusal
from tests.support.law import CO_CLOCK, HOUSING, LABOUR, LI, TOWNSHIP, WATER, ask, given


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
