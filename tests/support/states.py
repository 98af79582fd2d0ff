"""Cases and callers over few regions of all levels, few units and few people, so that they often coincide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from shared.case.clocks import Overdue
from shared.case.facts import Nature, Stage
from shared.case.lifecycle import EXISTING
from shared.case.rights import Right
from shared.case.state import CaseState, CoHandler
from shared.kit.access import Caller

REGIONS = (
    "510000000000", "510100000000", "510104000000", "510104001000", "510104001001", "510104002000", "510105000000",
    "510105001002", "510700000000", "510703000000",
)  # fmt: skip
UNITS = ("510104001000-housing", "510104001000-police", "510104000000-housing", "510100000000-centre")
PEOPLE = ("li.na", "wang.fang", "zhang.wei", "510104")  # the last looks like a region
START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)

CALLERS = st.builds(
    Caller,
    person=st.sampled_from(PEOPLE),
    post=st.just("desk"),
    unit=st.sampled_from(UNITS),
    region=st.sampled_from(REGIONS),
    rights=st.sampled_from(
        [frozenset[Right](), frozenset({Right.HANDLE}), frozenset({Right.READ}), frozenset({Right.READ, Right.CLOSE}),
         frozenset({Right.AUDIT}), frozenset({Right.AUDIT, Right.EXPORT})]
    ),
)  # fmt: skip
_UNIT = st.none() | st.sampled_from(UNITS)
_PERSON = st.none() | st.sampled_from(PEOPLE)
CASES = st.builds(
    CaseState,
    status=st.sampled_from(EXISTING),
    version=st.just(3),
    registration_sequence=st.just(1),
    region=st.sampled_from(REGIONS),
    in_charge=st.sampled_from(REGIONS),
    nature=st.sampled_from([Nature.HELP, Nature.COMPLAINT]),
    subject=st.none() | st.sampled_from(["water", "water.supply", "housing"]),
    first_asked=st.sampled_from(PEOPLE),
    complained_unit=st.none() | st.none() | _UNIT,
    stand_aside=st.just(()) | st.just(()) | st.tuples(st.sampled_from(PEOPLE)),
    informant=st.booleans(),
    unit=_UNIT,
    person=_PERSON,
    co_handlers=st.lists(
        st.builds(CoHandler, unit=st.sampled_from(UNITS), person=_PERSON), max_size=2, unique_by=lambda co: co.unit
    ).map(tuple),
    late=st.sampled_from([(), (), (Overdue(Stage.HANDLE, None, START, "cause"),)]),
    registered_at=st.integers(0, 5).map(lambda days: START + timedelta(days=days)),
    last_at=st.just(START),
)
