"""Deputies in any lines and circles: the line ends, and leads to somebody present who may, or to nobody."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.reference.documents import Document, DocumentKind
from shared.reference.people import PersonRow
from shared.reference.reference_data import ReferenceData

COUNTY = "510104000000"
IDS = "abcdef"
NOW = datetime(2026, 6, 10, 4, tzinfo=UTC)
ABSENCES = st.sampled_from(
    [{}, {}, {"active": False}, {"away_from": date(2026, 6, 10)}, {"away_from": date(2026, 6, 11)}]
)
PEOPLE = st.fixed_dictionaries(
    {id: st.tuples(st.none() | st.sampled_from(IDS), ABSENCES, st.booleans()) for id in IDS}
)  # (deputy, absence, barred from the case)


@given(PEOPLE)
def test_a_line_of_deputies_ends_with_somebody_present_and_not_barred_or_with_nobody(
    people: dict[str, tuple[Any, ...]],
) -> None:
    rows = [
        PersonRow(id=id, name=id, unit=f"{COUNTY}-centre", post="p", region=COUNTY, deputy=deputy, **absence)
        for id, (deputy, absence, _) in people.items()
    ]
    reference_data = ReferenceData([Document(kind=DocumentKind.PEOPLE, region=COUNTY, rows=tuple(rows))])
    barred = {id for id, (*_, bars) in people.items() if bars}
    absent = {row.id for row in rows if not row.present(date(2026, 6, 10))}
    holders = {id: _by_hand(id, people, absent, barred) for id in IDS}
    for id in IDS:
        stand_in = reference_data.stand_in(id, NOW, lambda row: row.id in barred)
        assert (stand_in.id if stand_in else None) == holders[id]
        assert stand_in is None or stand_in.id not in absent | barred
        assert stand_in is None or (stand_in.id == id) is (id not in absent)
    for deputy in IDS:
        represented = [row.id for row in reference_data.absent_before(deputy, NOW, lambda row: row.id in barred)]
        assert sorted(represented) == [id for id in IDS if id in absent and holders[id] == deputy]


def _by_hand(id: str, people: dict[str, tuple[Any, ...]], absent: set[str], barred: set[str]) -> str | None:
    """The person in line who is present and may, after at most as many steps as there are people."""
    if id in barred:
        return None
    current: str | None = id
    for _ in people:
        if current is None or current not in absent | barred:
            return current
        current = people[current][0]
    return None
