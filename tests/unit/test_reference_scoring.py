"""Weighted rules: which words give how many points, when a rule takes a case, and when the triage desk decides."""

from __future__ import annotations

import re
import sys
import time
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.case.facts import Nature
from shared.reference.codec import decode_document
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document, DocumentKind
from shared.reference.rules import MARGIN_DEFAULT, Ranking, RuleRow, examine_rules, rank, route
from shared.reference.scoring import PHRASE_GAP_CHARS_MAX, TEXT_TIMES_MAX, TITLE_TIMES, WordMatcher, _phrase_starts
from shared.reference.validate import validate

COUNTY = "510104000000"
BASIS = {"mark": "C", "text": "测试"}


def rule(id: str, points: Any, unit: str | None = None, **more: Any) -> RuleRow:
    return RuleRow.model_validate(
        {"id": id, "points": points, "then": {"unit": f"{{county}}-{unit or id}"}, "basis": BASIS, **more}
    )


def rules(*rows: RuleRow, region: str = "0" * 12, margin: int | None = None, sequence: int = 1) -> Document:
    return Document(kind=DocumentKind.RULES, region=region, margin=margin, rows=rows, sequence=sequence)


HOUSING = rule("housing", {"9": ["物业", "业委会"], "4": ["电梯"], "-5": ["学校"]})
SCHOOL = rule("education", {"9": ["学校", "补课"]})
BOTH = rules(HOUSING, SCHOOL)


def ranked(title: str, text: str = "", *documents: Document, nature: Nature = Nature.HELP, **facts: Any) -> Ranking:
    case = RoutingFacts(nature, COUNTY, text=f"{title}\n{text}", **facts)
    return rank(documents or (BOTH,), case, lambda _: True)


def points(title: str, text: str = "", *documents: Document) -> dict[str, int]:
    return {score.result.rule: score.points for score in ranked(title, text, *documents).scores}


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("物业", "", {"housing": 9 * TITLE_TIMES}),
        ("", "物业", {"housing": 9}),
        ("物业", "物业", {"housing": 9 * (TITLE_TIMES + 1)}),
        ("物业物业物业", "", {"housing": 9 * TITLE_TIMES}),
        ("", "物业。" * 50, {"housing": 9 * TEXT_TIMES_MAX}),
        ("", "物业和电梯", {"housing": 13}),
        ("", "学校的物业", {"housing": 4, "education": 9}),
        ("学校", "", {"housing": -5 * TITLE_TIMES, "education": 9 * TITLE_TIMES}),
        ("您好", "没有什么事", {}),
        ("", "", {}),
    ],
)  # fmt: skip
def test_the_points_of_a_text(title: str, text: str, expected: dict[str, int]) -> None:
    assert points(title, text) == expected


@pytest.mark.parametrize(
    ("text", "times"),
    [("ＫＴＶ扰民", 1), ("KTV扰民", 1), ("ktv", 1), ("Ｋtv，KTV", 2), ("K TV", 0)],
)
def test_full_width_and_capitals_are_the_same_word(text: str, times: int) -> None:
    assert points("", text, rules(rule("noise", {"9": ["ＫＴＶ"]}))) == ({"noise": 9 * times} if times else {})


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        ("拖欠工资", True), ("拖欠三个月的工资", True), ("拖欠工人工资", True),
        ("工资拖欠", False), ("拖欠货款。工资照发", False), ("拖欠货款！工资照发", False),
        ("拖欠" + "很久" * 7 + "工资", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("written", ["拖欠…工资", "拖欠...工资", "拖欠 … 工资"])
def test_a_phrase_leaves_a_gap_inside_a_sentence(written: str, text: str, stands: bool) -> None:
    assert bool(points("", text, rules(rule("labour", {"9": [written]})))) is stands


def plain_starts(parts: list[str], text: str) -> set[int]:
    """The starts of a phrase by trying every gap."""
    gap = rf"[^。!?;\n]{{0,{PHRASE_GAP_CHARS_MAX}}}"
    phrase = re.compile(gap.join(map(re.escape, parts)))
    return {at for at in range(len(text)) if phrase.match(text, at)}


@given(
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "。", "\n", "x", "x" * 11, "x" * 13]), max_size=20).map("".join),
)
def test_a_phrase_stands_where_trying_every_gap_finds_it(parts: list[str], text: str) -> None:
    assert _phrase_starts(parts, text) == plain_starts(parts, text)


@pytest.mark.parametrize("text", ["拖欠" + "工" * 10_000, "拖欠工" * 3_000, "拖欠工资" * 2_500])
def test_the_work_of_a_phrase_with_many_gaps_is_linear_in_the_text(text: str) -> None:
    lines_count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines_count
        lines_count += 1
        assert lines_count < 100 * len(text)
        return trace

    matcher = WordMatcher({"labour": [("拖欠…工…工…工…工…工…无".replace("…", "..."), 9)]})
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert matcher.points("", text) == {}
    finally:
        sys.settrace(before)


def test_words_that_overlap_are_all_counted() -> None:
    scores = points("", "住房公积金", rules(rule("housing", {"5": ["住房公积金"], "3": ["公积金"], "2": ["住房"]})))
    assert scores == {"housing": 10}


@pytest.mark.parametrize(
    ("title", "text", "margin", "chosen", "lead"),
    [
        ("物业", "", None, "housing", 27),
        ("物业", "", 28, None, 27),
        ("物业", "", 27, "housing", 27),
        ("物业", "补课", 19, None, 18),
        ("物业", "补课", 18, "housing", 18),
        ("物业补课", "", 1, None, 0),
        ("", "物业", None, None, 9),
        ("学校", "", 27, "education", 27),
        ("您好", "", 1, None, 0),
        ("", "", 1, None, 0),
    ],
)  # fmt: skip
def test_a_rule_takes_a_case_when_it_leads_by_the_margin(
    title: str, text: str, margin: int | None, chosen: str | None, lead: int
) -> None:
    documents = (rules(HOUSING, SCHOOL, margin=margin),)
    ranking = ranked(title, text, *documents)
    assert ranking.lead == lead
    assert (ranking.chosen.result.rule if ranking.chosen else None) == chosen
    facts = RoutingFacts(Nature.HELP, COUNTY, text=f"{title}\n{text}")
    hit = route(documents, facts, lambda _: True)
    assert (hit.rule if hit else None) == chosen


def test_two_rules_of_one_unit_are_no_rivals() -> None:
    document = rules(rule("wages", {"9": ["工资"]}, "labour"), rule("contract", {"8": ["合同"]}, "labour"))
    ranking = ranked("工资合同", "", document)
    assert [score.result.rule for score in ranking.scores] == ["wages", "contract"]
    assert (ranking.lead, ranking.chosen is not None) == (27, True)


def test_a_firm_rule_comes_before_every_weighted_one() -> None:
    firm = RuleRow.model_validate(
        {"id": "firm", "when": {"words": ["电梯"]}, "then": {"unit": "{county}-market"}, "basis": BASIS}
    )
    document = rules(HOUSING, firm)
    facts = RoutingFacts(Nature.HELP, COUNTY, text="物业电梯")
    hit = route([document], facts, lambda _: True)
    assert hit is not None
    assert hit.rule == "firm"
    assert [(result.rule, result.hit is not None) for result in examine_rules([document], facts, lambda _: True)] == [
        ("firm", True), ("housing", True),
    ]  # fmt: skip


def test_conditions_hold_for_weighted_rules_too() -> None:
    only_complaints = rule("housing", {"9": ["物业"]}, when={"nature": ["complaint"]})
    assert ranked("物业", "", rules(only_complaints)).scores == ()
    assert ranked("物业", "", rules(only_complaints), nature=Nature.COMPLAINT).chosen is not None
    refused = list(examine_rules([rules(only_complaints)], RoutingFacts(Nature.HELP, COUNTY, text="物业"), bool))
    assert [result.reason for result in refused] == ["is for complaint, not for help"]


def test_a_nearer_rule_stands_in_for_an_outer_one_of_its_id() -> None:
    near = rules(rule("housing", {"9": ["电梯"]}, "market"), region=COUNTY, margin=10)
    ranking = ranked("电梯", "", near, rules(HOUSING, SCHOOL, margin=90))
    assert [score.unit for score in ranking.scores] == [f"{COUNTY}-market"]
    assert ranking.margin == 10
    assert ranked("电梯", "", rules(rule("own", {"9": ["电梯"]}), region=COUNTY), BOTH).margin == MARGIN_DEFAULT


def test_a_unit_complained_of_leaves_the_case_to_the_desk() -> None:
    facts = RoutingFacts(Nature.COMPLAINT, COUNTY, text="物业", complained_unit=f"{COUNTY}-housing")
    above = route([BOTH], facts, lambda _: True)
    assert above is not None
    assert above.unit == "510100000000-housing"
    assert route([BOTH], facts, lambda unit: unit.startswith(COUNTY)) is None


def test_the_best_rule_whose_unit_is_missing_leaves_the_case_to_the_desk() -> None:
    ranking = rank([BOTH], RoutingFacts(Nature.HELP, COUNTY, text="物业"), lambda _: False)
    assert ranking.chosen is not None
    assert ranking.chosen.result.hit is None
    assert route([BOTH], RoutingFacts(Nature.HELP, COUNTY, text="物业"), lambda _: False) is None


def test_the_reason_shows_words_points_and_margin() -> None:
    facts = RoutingFacts(Nature.HELP, COUNTY, text="物业\n电梯和学校")
    results = list(examine_rules([BOTH], facts, lambda _: True))
    assert results[0].reason == (
        "26 points, leads by 17, margin 20: the triage desk decides"
        " (物业 9×3 (title), 学校 -5×1, 电梯 4×1); takes it: 测试 (not law)"
    )
    assert results[1].reason == "9 points, 17 behind housing (学校 9×1); takes it: 测试 (not law)"


@pytest.mark.parametrize(
    ("points", "fault"),
    [
        ({"0": ["物业"]}, "is no number of points"),
        ({"100": ["物业"]}, "is no number of points"),
        ({"x": ["物业"]}, "is no number of points"),
        ({"9": "物业"}, "write them in brackets"),
        (["物业"], "is no mapping"),
        ({"9": ["物"]}, "is no word"),
        ({"9": ["拖欠…"]}, "is no word"),
        ({"9": ["欠…工资"]}, "2 or more before the gap"),
        ({"9": ["字" * 41]}, "is no word"),
        ({"9": ["物业"], "4": ["物业"]}, "has points twice"),
        ({"9": ["KTV", "ｋｔｖ"]}, "has points twice"),
        ({"9": [f"词{number}" for number in range(2001)]}, "a rule has at most 2000"),
    ],
)
def test_points_that_cannot_be_meant_are_refused_with_a_remedy(points: Any, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        rule("housing", points)


def test_rules_without_points_are_stored_as_before() -> None:
    row = {"id": "r", "when": {"words": ["物业"]}, "then": {"unit": "{county}-housing"}, "basis": BASIS}
    document = rules(RuleRow.model_validate(row))
    stored = (
        '{"kind":"rules","rows":[{"id":"r","when":{"words":["物业"]},"then":{"unit":"{county}-housing"},'
        '"basis":{"mark":"C","text":"测试"}}]}'
    )
    assert document.encode().decode() == stored
    again = decode_document(stored.encode(), 1)
    assert again == document
    assert again.margin is None
    assert again.rows[0].points == ()


def test_rules_with_points_come_back_from_their_bytes() -> None:
    document = rules(HOUSING, SCHOOL, margin=25)
    assert decode_document(document.encode(), 1) == document
    assert '"points":{"9":["业委会","物业"],"4":["电梯"],"-5":["学校"]}' in document.encode().decode()


def test_only_rules_have_a_margin() -> None:
    with pytest.raises(ValidationError, match="only a document of rules has one"):
        Document(kind=DocumentKind.SUBJECTS, margin=5, rows=())


def test_weighted_rules_do_not_hide_each_other() -> None:
    findings = validate([rules(HOUSING, SCHOOL)])
    assert not [finding for finding in findings if "stands before it" in finding.reason]


def test_thousands_of_words_cost_a_long_text_little() -> None:
    many = rules(*(rule(f"r{n}", {"9": [f"词{n}语{m}" for m in range(500)]}, f"u{n}") for n in range(10)))
    text = "词1语1，" + "没有一个词出现在这一段很长的文字里。" * 550
    assert points("", text, many)["r1"] == 9  # the matcher is made once
    begin = time.process_time()
    for _ in range(10):
        points("", text, many)
    assert (time.process_time() - begin) / 10 < 0.1, "10,000 characters and 5,000 words"
