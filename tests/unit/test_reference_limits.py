"""Which limit holds and why, and which rung of which ladder is next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from services.supervision.deadlines.reckoning import deadline_for
from shared.case.base import Owner
from shared.case.facts import SHORT_CHARS_MAX, Nature, Severity, Stage
from shared.case.state import CaseState
from shared.reference.codec import describe_faults
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import ROW_TYPES, Document, DocumentKind
from shared.reference.ladders import Act, Informed, LadderRow, ladder_for, rung
from shared.reference.limits import LimitChoice, LimitRow, choose_limit
from shared.reference.load import demo_documents
from shared.reference.reference_data import ReferenceData

LIBRARY = ReferenceData(demo_documents())
COUNTY, CITY, NATION = "510104000000", "510100000000", "0" * 12
MONDAY = datetime(2026, 3, 2, 1, tzinfo=UTC)
LAW, CUSTOM = {"mark": "L", "text": "某法 第一条"}, {"mark": "C", "text": "自定"}
SPECIFIC = {"nature": ["complaint"]}


def limit(id: str, basis: dict[str, str], when: dict[str, Any] | None = None, **more: Any) -> LimitRow:
    fields = {"id": id, "stage": "handle", "amount": 5, "base": "working_days", "basis": basis, "when": when or {}}
    return LimitRow.model_validate({**fields, **more})


def limits(region: str, *rows: LimitRow) -> Document:
    return Document(kind=DocumentKind.LIMITS, region=region, rows=rows, sequence=7)


def chosen(*documents: Document, nature: Nature = Nature.COMPLAINT) -> tuple[str, str | None]:
    """The limit that holds and its ceiling."""
    choice = choose(*documents, nature=nature)
    return choice.row.id, choice.ceiling[0].id if choice.ceiling else None


def choose(*documents: Document, nature: Nature = Nature.COMPLAINT) -> LimitChoice:
    choice = choose_limit(documents, Stage.HANDLE, RoutingFacts(nature, COUNTY, "1503"))
    assert choice is not None
    return choice


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(
    ("rows", "limit_and_ceiling"),
    [
        ([limit("a", CUSTOM)], ("a", None)),
        ([limit("a", LAW, SPECIFIC)], ("a", None)),
        ([limit("a", CUSTOM), limit("b", CUSTOM, SPECIFIC)], ("a", None)),  # the first one, as for rules
        ([limit("a", CUSTOM), limit("b", LAW, SPECIFIC)], ("b", None)),  # the law prevails over a general one
        ([limit("a", CUSTOM), limit("b", LAW)], ("b", None)),
        ([limit("a", CUSTOM, {"region": ["51"]}), limit("b", LAW, SPECIFIC)], ("b", None)),  # a region is no matter
        ([limit("a", CUSTOM, SPECIFIC), limit("b", LAW, SPECIFIC)], ("a", "b")),  # the law is the ceiling
        ([limit("a", CUSTOM, {"subject": ["15"]}), limit("b", LAW)], ("a", "b")),
        ([limit("a", CUSTOM, {"severity": ["general"]}), limit("b", LAW)], ("a", "b")),
        ([limit("a", LAW, SPECIFIC), limit("b", CUSTOM, SPECIFIC)], ("a", None)),
        ([limit("a", LAW), limit("b", LAW, SPECIFIC)], ("b", None)),  # the special law before the general one
        ([limit("a", CUSTOM, SPECIFIC), limit("b", LAW), limit("c", LAW, SPECIFIC)], ("a", "c")),
        ([limit("a", CUSTOM, {"nature": ["help"]}), limit("b", CUSTOM)], ("b", None)),
        ([limit("a", CUSTOM), limit("b", LAW, {"nature": ["help"]})], ("a", None)),  # a law for another matter
        ([limit("a", CUSTOM, SPECIFIC, stage="sign"), limit("b", CUSTOM)], ("b", None)),
    ],
)
def test_which_limit_holds(rows: list[LimitRow], limit_and_ceiling: tuple[str, str | None]) -> None:
    assert chosen(limits(NATION, *rows)) == limit_and_ceiling


def test_the_nearest_document_is_asked_first_and_the_law_of_the_nation_stays_the_ceiling() -> None:
    nation = limits(NATION, limit("law", LAW, SPECIFIC), limit("nation", CUSTOM))
    assert chosen(limits(COUNTY, limit("near", CUSTOM)), limits(CITY, limit("city", CUSTOM))) == ("near", None)
    assert chosen(limits(COUNTY, limit("near", CUSTOM)), nation) == ("law", None)
    assert chosen(limits(COUNTY, limit("near", CUSTOM, SPECIFIC)), nation) == ("near", "law")
    assert chosen(limits(COUNTY, limit("near", CUSTOM)), nation, nature=Nature.HELP) == ("near", None)
    assert choose_limit([nation], Stage.SIGN, RoutingFacts(Nature.HELP, COUNTY)) is None


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            [limit("a", CUSTOM)],
            "自定时限 limits:000000000000@7 a：最先符合条件，法律未另行规定。",
        ),
        (
            [limit("a", LAW, {"nature": ["complaint"], "subject": ["15"]})],
            "法定时限 limits:000000000000@7 a（nature complaint、subject 1503）：最先符合条件。",
        ),
        (
            [limit("a", CUSTOM), limit("b", LAW, SPECIFIC)],
            "法定时限 limits:000000000000@7 b（nature complaint）：优先于一般时限 limits:000000000000@7 a。",
        ),
        (
            [limit("a", CUSTOM, SPECIFIC), limit("b", LAW)],
            "自定时限 limits:000000000000@7 a（nature complaint）与法定时限 limits:000000000000@7 b以先到期者为准："
            "可严于法律，不得宽于法律。",
        ),
    ],
)
def test_the_choice_says_why(rows: list[LimitRow], why: str) -> None:
    assert choose(limits(NATION, *rows)).why == why


def test_the_longest_reason_fits_a_deadline() -> None:
    long = {"nature": ["complaint"], "subject": ["15"], "severity": ["general"]}
    why = choose(limits(NATION, limit("a" * 64, CUSTOM, long), limit("b" * 64, LAW, long))).why
    assert len(why) <= SHORT_CHARS_MAX
    assert why.endswith("以先到期者为准：可严于法律，不得宽于法律。")


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(
    ("amount", "base", "held"),
    [
        (3, "calendar_days", "custom"),  # stricter than the law: the promise holds
        (16, "calendar_days", "law"),  # laxer: the law holds
        (15, "calendar_days", "custom"),  # the same
        (11, "working_days", "custom"),  # in another base: what counts is the due moment
        (12, "working_days", "law"),
    ],
)
def test_a_custom_limit_may_be_stricter_than_the_law_and_never_laxer(amount: int, base: str, held: str) -> None:
    """From Monday 2026-03-02: 15 days end on Tuesday the 17th, as do 11 working days."""
    rows = (
        limit("custom", {"mark": "C", "text": "custom"}, SPECIFIC, amount=amount, base=base),
        limit("law", {"mark": "L", "text": "law"}, SPECIFIC, amount=15, base="calendar_days"),
    )
    state = CaseState(nature=Nature.COMPLAINT, in_charge=COUNTY)
    deadline = deadline_for(ReferenceData([limits(NATION, *rows)]), state, Stage.HANDLE, None, MONDAY)
    assert deadline is not None
    assert deadline.legal_basis.partition(" ")[0] == held
    assert "以先到期者为准" in deadline.choice


def ladder_row(id: str, after: int, act: str = "urge", **more: Any) -> LadderRow:
    fields = {"id": id, "after": after, "base": "hours", "act": act, "acts": "谁", "basis": CUSTOM, **more}
    return LadderRow.model_validate(fields)


def test_the_last_rung_repeats_for_ever_or_there_is_none() -> None:
    ends = (ladder_row("a", 0), ladder_row("b", 3))
    repeats = (ladder_row("a", 0), ladder_row("b", 3, every=4))
    found = [rung(repeats, number) for number in range(5)]
    assert [(row.id, after) for row, after in filter(None, found)] == [
        ("a", 0),
        ("b", 3),
        ("b", 7),
        ("b", 11),
        ("b", 15),
    ]
    assert [rung(ends, number) is None for number in range(4)] == [False, False, True, True]
    assert rung((), 0) is None
    single = rung((ladder_row("a", 2, every=1),), 3)
    assert single is not None
    assert single[1] == 5


def test_the_first_ladder_that_matches_is_climbed_and_no_rung_of_another() -> None:
    severe: dict[str, Any] = {"when": {"severity": ["extreme"]}}
    rows = (ladder_row("x1", 0, **severe), ladder_row("a1", 1), ladder_row("x2", 2, **severe), ladder_row("a2", 3))
    nation = Document(kind=DocumentKind.LADDERS, rows=rows)
    sign = Document(kind=DocumentKind.LADDERS, region=COUNTY, rows=(ladder_row("s1", 9, stages=["sign", "handle"]),))

    def climbed(stage: Stage, severity: Severity, *documents: Document) -> list[str]:
        facts = RoutingFacts(Nature.HELP, COUNTY, severity=severity)
        return [row.id for row in ladder_for(documents, stage, facts)]

    assert climbed(Stage.SIGN, Severity.EXTREME, nation) == ["x1", "x2"]
    assert climbed(Stage.SIGN, Severity.MAJOR, nation) == ["a1", "a2"]
    assert climbed(Stage.SIGN, Severity.EXTREME, sign, nation) == ["s1"]
    assert climbed(Stage.REPORT, Severity.GENERAL, sign, nation) == ["a1", "a2"]
    assert climbed(Stage.REPORT, Severity.GENERAL, sign) == []


@pytest.mark.clause("11.2")
@pytest.mark.parametrize("severity", list(Severity))
@pytest.mark.parametrize("stage", list(Stage))
def test_every_late_stage_of_the_demo_climbs_to_the_level_above_and_informs_both_lines(
    stage: Stage, severity: Severity
) -> None:
    ladder = ladder_for(LIBRARY.ladders(COUNTY), stage, RoutingFacts(Nature.HELP, COUNTY, severity=severity))
    last = ladder[-1]
    assert (last.act, last.every > 0) == (Act.ESCALATE, True)
    assert set(last.informs) >= {Informed.CENTRE_ABOVE, Informed.PARTY_COMMITTEE, Informed.GOVERNMENT}
    if stage is not Stage.REPORT:
        assert [row.act for row in ladder] == [Act.REMIND, Act.URGE, Act.ORDER, Act.ESCALATE]


def test_only_supervision_cites_the_ladder() -> None:
    own = {one.partition(":")[0] for one in LIBRARY.references(COUNTY, Owner.SUPERVISION)}
    assert own - {one.partition(":")[0] for one in LIBRARY.references(COUNTY, Owner.INTAKE)} == {"ladders"}


@pytest.mark.clause("5.1.1f")
def test_the_nearer_threshold_for_an_order_holds() -> None:
    near = ROW_TYPES[DocumentKind.PROPOSALS].model_validate({"id": "people", "at_least": 3, "basis": CUSTOM})
    reference_data = ReferenceData(
        [*demo_documents(), Document(kind=DocumentKind.PROPOSALS, region=CITY, rows=(near,))]
    )
    assert reference_data.proposals(COUNTY) == {"hand_backs": 2, "repeats": 3, "lateness": 2, "people": 3}
    assert reference_data.proposals("510703000000")["people"] == 5
    assert ReferenceData().proposals(COUNTY) == {}


@pytest.mark.clause("12.3")
def test_the_nearer_consequence_of_dissatisfaction_holds_and_without_one_it_is_a_proposal() -> None:
    near = ROW_TYPES[DocumentKind.PROPOSALS].model_validate({"id": "dissatisfied", "then": "reopen", "basis": CUSTOM})
    reference_data = ReferenceData(
        [*demo_documents(), Document(kind=DocumentKind.PROPOSALS, region=CITY, rows=(near,))]
    )
    assert reference_data.when_dissatisfied(COUNTY) == "reopen"
    assert reference_data.when_dissatisfied("510703000000") == "propose"
    assert ReferenceData().when_dissatisfied(COUNTY) == "propose"


LIMIT = {"id": "x", "stage": "handle", "amount": 5, "base": "working_days", "basis": LAW}
ORDER = {"act": "order", "order_kind": "ordinary", "answer": 3}


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (DocumentKind.LIMITS, {**LIMIT, "amount": 0}, "amount: Input should be greater than 0"),
        (DocumentKind.LIMITS, {**LIMIT, "warn": 5}, "would warn at the start"),
        (DocumentKind.LIMITS, {**LIMIT, "extend_max": 3}, "go together"),
        (DocumentKind.LIMITS, {**LIMIT, "extend_by": "director"}, "go together"),
        (DocumentKind.LIMITS, {**LIMIT, "extend_times_max": 2}, "give extend_max and extend_by"),
        (DocumentKind.LIMITS, {**LIMIT, "pause_times_max": 2}, "name the causes there"),
        (DocumentKind.LIMITS, {**LIMIT, "pause_days_max": 2}, "name the causes there"),
        (
            DocumentKind.LIMITS,
            {**LIMIT, "pauses": ["rain"]},
            "pauses.0: Input should be 'hearing', 'papers' or 'resident'",
        ),
        (DocumentKind.LIMITS, {**LIMIT, "base": "hours", "ends": "clock"}, "remove it"),
        (
            DocumentKind.LIMITS,
            {**LIMIT, "counts_from": "birth"},
            "counts_from: Input should be 'stage' or 'registered'",
        ),
        (DocumentKind.LADDERS, {**ORDER, "order_kind": ""}, "order_kind: Input should be"),
        (DocumentKind.LADDERS, {"act": "order", "answer": 3}, "an order needs order_kind"),
        (DocumentKind.LADDERS, {"act": "order", "order_kind": "listed"}, "how long the unit has to answer"),
        (DocumentKind.LADDERS, {"act": "urge", "answer": 3}, "act is urge: remove them"),
        (DocumentKind.LADDERS, {"act": "escalate", "order_kind": "listed"}, "act is escalate: remove them"),
        (DocumentKind.LADDERS, {"act": "remind", "answer_base": "hours"}, "act is remind: remove them"),
        (DocumentKind.LADDERS, {"act": "remind", "informs": ["unit", "unit"]}, "names somebody twice"),
        (DocumentKind.LADDERS, {"act": "remind", "acts": " "}, "acts: String should have at least 1 character"),
        (DocumentKind.LADDERS, {"act": "remind", "after": -1}, "after: Input should be greater than or equal to 0"),
        (
            DocumentKind.PROPOSALS,
            {"id": "moods"},
            "id: Input should be 'hand_backs', 'repeats', 'lateness', 'people' or 'dissatisfied'",
        ),
        (DocumentKind.PROPOSALS, {"id": "dissatisfied"}, "say `then: propose` or `then: reopen`"),
        (DocumentKind.PROPOSALS, {"id": "people", "then": "reopen"}, "it has no then"),
        (DocumentKind.PROPOSALS, {"id": "people", "at_least": None}, "say `at_least` and a number"),
        (
            DocumentKind.PROPOSALS,
            {"id": "people", "at_least": 0},
            "at_least: Input should be greater than or equal to 1",
        ),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(kind: DocumentKind, fields: dict[str, Any], message: str) -> None:
    base = {
        DocumentKind.LIMITS: {},
        DocumentKind.LADDERS: {"id": "x", "after": 1, "base": "hours", "acts": "谁", "basis": CUSTOM},
        DocumentKind.PROPOSALS: {"at_least": 2, "basis": CUSTOM},
    }
    with pytest.raises(ValidationError) as raised:
        ROW_TYPES[kind].model_validate({**base[kind], **fields})
    assert message in describe_faults(raised.value)
