"""Whatever the case and the rules: the first match wins, and nobody gets a complaint about themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.case.facts import Nature, Severity, Stage
from shared.case.rights import SEPARATED, Right
from shared.reference.codec import decode_document
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document, DocumentKind
from shared.reference.limits import LimitRow, choose_limit
from shared.reference.load import LoadError, demo_documents, load_yaml
from shared.reference.people import PostRow
from shared.reference.reference_data import ReferenceData
from shared.reference.row import Mark
from shared.reference.rules import RuleRow, examine_rules, rank, route
from shared.reference.scoring import TEXT_TIMES_MAX, TITLE_TIMES, comparable

LIBRARY = ReferenceData(demo_documents())
REGIONS = ["510000000000", "510100000000", "510104000000", "510104022000", "510104017001", "510703001003"]
SLUGS = ["housing", "land", "land-mediation", "police", "urban", "centre", "justice", "none"]
WORDS = ["物业", "噪声", "征地", "ABC", "占道", "邻居"]
UNITS = sorted({unit.code for unit in LIBRARY.units()})
LEVELS = ["province", "city", "county", "township", "village"]


def some(values: Any, most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(list(values)), max_size=most, unique=True).map(tuple)


facts = st.builds(
    RoutingFacts,
    nature=st.sampled_from(Nature),
    region=st.sampled_from(REGIONS),
    subject=st.none() | st.sampled_from(["01", "0102", "010203", "0303", "15"]),
    severity=st.sampled_from(Severity),
    text=some(WORDS).map(" ".join),
    complained_unit=st.none() | st.sampled_from(UNITS),
    stand_aside=some(UNITS).map(frozenset),
)
patterns = st.builds(
    lambda place, slug: f"{place}-{slug}",
    st.sampled_from(LEVELS).map(lambda level: f"{{{level}}}") | st.sampled_from(REGIONS),
    st.sampled_from(SLUGS),
)
rows = st.fixed_dictionaries(
    {
        "when": st.fixed_dictionaries(
            {
                "nature": some(Nature), "severity": some(Severity), "words": some(WORDS),
                "subject": some(["01", "0102", "03"]), "region": some(["51", "5101", "510104022"]),
            }
        ),
        "then": st.fixed_dictionaries({"unit": patterns, "co_units": st.lists(patterns, max_size=3)}),
        "basis": st.just({"mark": "C", "text": "测试"}),
    }
)  # fmt: skip
documents = st.lists(rows, max_size=8).map(
    lambda found: Document(
        kind=DocumentKind.RULES,
        rows=tuple(RuleRow.model_validate({"id": f"r{at}", **row}) for at, row in enumerate(found)),
    )
)


@given(document=documents, case=facts)
def test_the_first_match_wins_and_nobody_judges_themselves(document: Document, case: RoutingFacts) -> None:
    verdicts = list(examine_rules([document], case, LIBRARY.has_unit))
    assert [verdict.rule for verdict in verdicts] == [row.id for row in document.rows]
    hits = [verdict.hit for verdict in verdicts if verdict.hit]
    first = next((verdict for verdict in verdicts if verdict.hit or verdict.stops), None)
    assert route([document], case, LIBRARY.has_unit) == (first.hit if first else None)
    for hit in hits:
        barred = case.stand_aside | {case.complained_unit}
        assert hit.unit not in barred
        assert not barred & set(hit.co_units)
        assert hit.unit not in hit.co_units
        assert all(LIBRARY.has_unit(unit) for unit in (hit.unit, *hit.co_units))


def weighted(at: int, row: dict[str, Any]) -> RuleRow:
    by_points: dict[int, list[str]] = {}
    for word, points in row["points"].items():
        by_points.setdefault(points, []).append(word)
    return RuleRow.model_validate({"id": f"w{at}", **row, "points": by_points})


weighted_rows = st.lists(
    st.fixed_dictionaries(
        {
            "points": st.dictionaries(st.sampled_from(WORDS), st.sampled_from([-9, -1, 1, 4, 9]), min_size=1),
            "then": st.fixed_dictionaries({"unit": patterns}),
            "when": st.fixed_dictionaries({"nature": some(Nature, 1)}),
            "basis": st.just({"mark": "C", "text": "测试"}),
        }
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: [weighted(at, row) for at, row in enumerate(rows)])
texts = st.lists(st.sampled_from([*WORDS, "ＡＢＣ", "您好", "。", "\n"]), max_size=12).map("".join)


def scores_of(rows: list[RuleRow], case: RoutingFacts) -> dict[str, int]:
    document = Document(kind=DocumentKind.RULES, rows=tuple(rows))
    return {score.result.rule: score.points for score in rank([document], case, LIBRARY.has_unit).scores}


@given(rows=weighted_rows, case=facts, text=texts, order=st.randoms(use_true_random=False), margin=st.integers(1, 60))
def test_the_order_of_weighted_rules_decides_nothing(
    rows: list[RuleRow], case: RoutingFacts, text: str, order: Any, margin: int
) -> None:
    case, shuffled = replace(case, text=text), list(rows)
    order.shuffle(shuffled)
    one, other = (Document(kind=DocumentKind.RULES, rows=tuple(each), margin=margin) for each in (rows, shuffled))
    assert rank([one], case, LIBRARY.has_unit) == rank([other], case, LIBRARY.has_unit)
    assert route([one], case, LIBRARY.has_unit) == route([other], case, LIBRARY.has_unit)


@given(rows=weighted_rows, case=facts, text=texts)
def test_a_further_rule_changes_no_score_of_another(rows: list[RuleRow], case: RoutingFacts, text: str) -> None:
    case = replace(case, text=text)
    *fewer, further = rows
    with_it, without = scores_of(rows, case), scores_of(fewer, case)
    assert {rule: points for rule, points in with_it.items() if rule != further.id} == without


@given(rows=weighted_rows, case=facts, text=texts, margin=st.integers(1, 60))
def test_the_points_are_those_of_a_plain_count(rows: list[RuleRow], case: RoutingFacts, text: str, margin: int) -> None:
    case = replace(case, text=text)
    title, _, body = comparable(text).partition("\n")
    for row in rows:
        points = sum(
            value * (TITLE_TIMES * (word in title) + min(body.count(word), TEXT_TIMES_MAX))
            for word, value in row.points
        )
        counted = row.when.nature in ((), (case.nature,))
        assert scores_of([row], case).get(row.id, 0) == (points if counted else 0)
    document = Document(kind=DocumentKind.RULES, rows=tuple(rows), margin=margin)
    chosen = rank([document], case, LIBRARY.has_unit).chosen
    hits = [result.hit for result in examine_rules([document], case, LIBRARY.has_unit) if result.hit]
    hit = route([document], case, LIBRARY.has_unit)
    assert hits == ([hit] if hit else [])
    assert hit == (chosen.result.hit if chosen else None)


limit_rows = st.fixed_dictionaries(
    {
        "stage": st.sampled_from([Stage.HANDLE, Stage.SIGN]),
        "when": st.fixed_dictionaries(
            {
                "nature": some(Nature), "severity": some(Severity), "subject": some(["01", "0102", "03"]),
                "region": some(["51", "5101", "510104022"]),
            }
        ),
        "basis": st.sampled_from([{"mark": "L", "text": "某法 第一条"}, {"mark": "C", "text": "自定"}]),
    }
)  # fmt: skip
limit_documents = st.lists(st.lists(limit_rows, max_size=5), max_size=3).map(
    lambda found: [
        Document(
            kind=DocumentKind.LIMITS,
            sequence=near,
            rows=tuple(
                LimitRow.model_validate({"id": f"r{at}", "amount": 5, "base": "hours", **row})
                for at, row in enumerate(rows)
            ),
        )
        for near, rows in enumerate(found)
    ]
)


@given(documents=limit_documents, case=facts)
def test_no_choice_of_a_limit_is_laxer_than_a_law_that_matches(documents: list[Document], case: RoutingFacts) -> None:
    choice = choose_limit(documents, Stage.HANDLE, case)
    alone = [document.model_copy(update={"rows": (row,)}) for document in documents for row in document.rows]
    matching = [one.rows[0] for one in alone if choose_limit([one], Stage.HANDLE, case)]
    if choice is None:
        assert not matching
        return
    lawful = [row for row in matching if row.basis.mark is Mark.LAW]
    held = choice.ceiling[0] if choice.ceiling else choice.row
    assert held in (lawful or matching)
    assert choice.row in matching
    assert not held.when.general or all(row.when.general for row in lawful)
    if choice.ceiling or not lawful:
        assert choice.row == matching[0]


@given(document=documents)
def test_a_document_comes_back_from_its_bytes(document: Document) -> None:
    assert decode_document(document.encode(), 0) == document


@given(rights=st.permutations(sorted(set(Right) - SEPARATED)))
def test_the_bytes_do_not_depend_on_the_order_of_a_set(rights: list[Right]) -> None:
    def encoded(order: list[Right]) -> bytes:
        return Document(kind=DocumentKind.POSTS, rows=(PostRow(code="x", title="岗", rights=tuple(order)),)).encode()

    assert encoded(rights) == encoded(sorted(rights))


@given(data=st.binary(max_size=200) | st.text("kindregos: \n-{}[]&*!'\"#|>0123,?%@", max_size=120).map(str.encode))
def test_whatever_the_file_the_answer_is_documents_or_faults(data: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    try:
        load_yaml(path)
    except LoadError as error:
        faults = error.faults
    else:
        return
    assert faults
    assert all(fault.file == "any.yaml" and fault.reason for fault in faults)
