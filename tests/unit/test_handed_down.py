"""Matters that a superior centre hands down: by whom, through which channel, and what becomes of their parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from services.intake.forms import registration_facts
from services.intake.policy import register_parts
from shared.case.rights import Right
from shared.kit.access import Caller, refusal
from shared.kit.bodies import RegisterBody
from tests.support.law import CITY, COUNTY, NEIGHBOUR, START, TOWNSHIP, VILLAGE, ask, given, history
from tests.support.policy_life import LIBRARY

RIGHTS = frozenset({Right.REGISTER, Right.HAND_DOWN})
SUPERIOR = Caller("director", "director", f"{CITY}-centre", CITY, RIGHTS)
PLATFORM = replace(SUPERIOR, unit=f"{CITY}-platform", source="city")
BODY: dict[str, Any] = {
    "channel": "superior", "region": TOWNSHIP, "nature": "help", "title": "t", "text": "t", "handed_by": CITY
}  # fmt: skip


@pytest.mark.clause("5.1.1i")
@pytest.mark.parametrize(
    ("caller", "handed_by", "may"),
    [
        pytest.param(SUPERIOR, CITY, True, id="the superior centre itself"),
        pytest.param(SUPERIOR, None, True, id="whoever registers for themselves"),
        pytest.param(SUPERIOR, COUNTY, False, id="in another centre's name"),
        pytest.param(replace(SUPERIOR, rights=frozenset({Right.REGISTER})), CITY, False, id="without the right"),
        pytest.param(replace(SUPERIOR, unit=f"{CITY}-housing"), CITY, False, id="a department of the region"),
        pytest.param(PLATFORM, CITY, True, id="the superior's platform that may"),
        pytest.param(replace(PLATFORM, region="510000000000"), CITY, False, id="a platform of another region"),
        pytest.param(replace(PLATFORM, rights=frozenset({Right.REGISTER})), CITY, False, id="a platform that may not"),
    ],
)
def test_only_the_superior_centre_hands_down_in_its_name(caller: Caller, handed_by: str | None, may: bool) -> None:
    asked = ask("register", handed_by=handed_by).command
    assert (refusal(caller, asked, None) is None) is may


def test_what_is_handed_down_comes_from_a_superior() -> None:
    body = RegisterBody.model_validate(BODY)
    assert registration_facts(body, "director", SUPERIOR.unit, START).handed_by == CITY
    with pytest.raises(ValidationError, match="channel superior"):
        RegisterBody.model_validate(BODY | {"channel": "call"})


@pytest.mark.clause("5.1.1i")
def test_the_superior_follows_the_parts_of_what_it_handed_down_but_no_others() -> None:
    split = history("split")[-1]
    for handed_by, followed in ((CITY, [CITY, CITY]), (TOWNSHIP, [None, TOWNSHIP]), (NEIGHBOUR, [None, None])):
        state = replace(given("split"), handed_by=handed_by)
        parts = register_parts(split, state, LIBRARY)
        assert [getattr(part.facts, "region", "") for part in parts] == [TOWNSHIP, VILLAGE]
        assert [vars(part.facts)["handed_by"] for part in parts] == followed
