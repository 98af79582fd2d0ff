"""Which rule takes a case and which time limit holds, on the documents that ship."""

from __future__ import annotations

import pytest

from shared.case.facts import Nature, Severity, Stage, TimeBase
from shared.reference.conditions import RoutingFacts
from shared.reference.limits import choose_limit
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData
from shared.reference.row import Mark
from shared.reference.rules import RuleHit, examine_rules, route

LIBRARY = ReferenceData(demo_documents())
COUNTY = "510104000000"


def routed(
    text: str = "",
    nature: Nature = Nature.COMPLAINT,
    region: str = COUNTY,
    subject: str | None = None,
    complained: str | None = None,
    stand_aside: frozenset[str] = frozenset(),
) -> RuleHit | None:
    facts = RoutingFacts(nature, region, subject, Severity.GENERAL, text, complained, stand_aside)
    return route(LIBRARY.rules(region), facts, LIBRARY.has_unit)


@pytest.mark.clause("8.2b")
@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("征地补偿没有到位", "land-mediation"), ("房屋拆迁补偿", "housing"), ("物业乱收费", "housing"),
        ("工地夜间施工", "urban"), ("工厂排污", "environment"), ("老板拖欠工资", "labour"),
        ("丈夫家暴", "women"), ("买到假货要退款", "market"), ("占道经营", "urban"),
    ],
)  # fmt: skip
def test_the_routing_table_of_the_standard(text: str, slug: str) -> None:
    hit = routed(text)
    assert hit is not None
    assert hit.unit == f"{COUNTY}-{slug}"
    assert hit.basis.startswith("GB/T 33200-2016 8.2 b")


@pytest.mark.parametrize("subject", [f"{number:02}" for number in range(1, 16)])
def test_every_first_level_subject_has_a_unit(subject: str) -> None:
    hit = routed(subject=subject)
    assert hit is not None
    assert LIBRARY.has_unit(hit.unit)


def test_what_no_rule_takes_waits() -> None:
    assert routed("您好") is None


def test_a_village_case_goes_to_the_department_of_its_county() -> None:
    hit = routed("物业", region="510703001003")
    assert hit is not None
    assert hit.unit == "510703000000-housing"


def test_a_case_of_a_city_goes_to_the_department_of_the_city() -> None:
    hit = routed("物业", region="510100000000")
    assert hit is not None
    assert hit.unit == "510100000000-housing"


def test_the_county_is_asked_before_the_nation() -> None:
    near, far = routed("占道", region="510104022006"), routed("占道", region="510104017001")
    assert near is not None
    assert far is not None
    assert (near.unit, near.rule) == ("510104022000-urban", "chunxi-street-order")
    assert (far.unit, far.rule) == ("510104000000-urban", "city-order")
    assert near.reference.startswith("rules:510104000000@")


@pytest.mark.clause("8.1f")
def test_a_complaint_goes_to_the_department_above_the_one_complained_of() -> None:
    hit = routed("物业", complained=f"{COUNTY}-housing")
    assert hit is not None
    assert hit.unit == "510100000000-housing"


@pytest.mark.clause("8.1f")
def test_a_complaint_about_a_department_that_nobody_has_above_waits() -> None:
    complained = f"{COUNTY}-land-mediation"
    assert routed(subject="0303", complained=complained) is None
    facts = RoutingFacts(Nature.COMPLAINT, COUNTY, "0303", complained_unit=complained)
    stopping = [verdict for verdict in examine_rules(LIBRARY.rules(COUNTY), facts, LIBRARY.has_unit) if verdict.stops]
    assert [verdict.rule for verdict in stopping] == ["s-land-taking"]
    assert "nobody above it can take the case" in stopping[0].reason


def test_a_unit_that_stands_aside_neither_leads_nor_helps() -> None:
    hit = routed("征地", stand_aside=frozenset({f"{COUNTY}-land"}))
    assert hit is not None
    assert (hit.unit, hit.co_units) == (f"{COUNTY}-land-mediation", ())
    higher = routed("物业", stand_aside=frozenset({f"{COUNTY}-housing", "510100000000-housing"}))
    assert higher is not None
    assert higher.unit == "510000000000-housing"


def test_every_rule_says_why_it_does_not_match() -> None:
    facts = RoutingFacts(Nature.DISPUTE, COUNTY, text="噪声扰民")
    verdicts = {verdict.rule: verdict for verdict in examine_rules(LIBRARY.rules(COUNTY), facts, LIBRARY.has_unit)}
    assert "not for 510104000000" in verdicts["chunxi-street-order"].reason
    assert verdicts["report-official"].reason == "is for report, complaint, not for dispute"
    assert verdicts["discipline"].reason == "is for subjects 05, not for a case without one"
    assert verdicts["wages"].reason == "none of its words stands in the text"
    assert verdicts["pollution"].hit is not None


@pytest.mark.parametrize(
    ("stage", "nature", "subject", "amount", "base", "mark"),
    [
        (Stage.HANDLE, Nature.COMPLAINT, None, 60, TimeBase.CALENDAR_DAYS, Mark.LAW),
        (Stage.HANDLE, Nature.HELP, None, 5, TimeBase.WORKING_DAYS, Mark.PRACTICE),
        (Stage.HANDLE, Nature.COMPLAINT, "1103", 45, TimeBase.WORKING_DAYS, Mark.LAW),
        (Stage.HANDLE, Nature.DISPUTE, "1506", 15, TimeBase.CALENDAR_DAYS, Mark.LAW),
        (Stage.HANDLE, Nature.DISPUTE, None, 30, TimeBase.CALENDAR_DAYS, Mark.PRACTICE),
        (Stage.HANDLE, Nature.DISPUTE, "131105", 30, TimeBase.CALENDAR_DAYS, Mark.MEMORY),
        (Stage.HANDLE, Nature.REPORT, None, 60, TimeBase.CALENDAR_DAYS, Mark.PRACTICE),
        (Stage.HANDLE, Nature.COMPLAINT, "0208", 20, TimeBase.WORKING_DAYS, Mark.LAW),
        (Stage.REPORT, Nature.REPORT, "010101", 1, TimeBase.HOURS, Mark.LAW),
        (Stage.TRIAGE, Nature.COMPLAINT, None, 15, TimeBase.CALENDAR_DAYS, Mark.LAW),
        (Stage.SIGN, Nature.HELP, None, 4, TimeBase.HOURS, Mark.PRACTICE),
    ],
)
@pytest.mark.clause("5.1.3a")
def test_a_stage_has_a_limit_with_its_basis(
    stage: Stage, nature: Nature, subject: str | None, amount: int, base: TimeBase, mark: Mark
) -> None:
    found = choose_limit(LIBRARY.limits(COUNTY), stage, RoutingFacts(nature, COUNTY, subject))
    assert found is not None
    assert (found.row.amount, found.row.base, found.row.basis.mark) == (amount, base, mark)


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("nature", list(Nature))
def test_no_stage_is_without_a_limit(stage: Stage, nature: Nature) -> None:
    severity = Severity.MAJOR if stage is Stage.REPORT else Severity.GENERAL  # clause 11.4: what is grave is reported
    assert choose_limit(LIBRARY.limits(COUNTY), stage, RoutingFacts(nature, COUNTY, severity=severity)) is not None


def test_what_is_not_law_is_never_shown_as_law() -> None:
    for document in LIBRARY.limits(COUNTY):
        for row in document.rows:
            assert ("(not law)" in str(row.basis)) == (row.basis.mark not in (Mark.LAW, Mark.STANDARD))
