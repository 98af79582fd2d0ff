"""The shipped limits say what the laws say: every time is there, every number stands in its article."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.case.facts import PauseCause, TimeBase
from shared.reference.documents import DocumentKind
from shared.reference.limits import LimitRow
from shared.reference.load import demo_documents
from shared.reference.row import Mark

LAWS: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "support" / "law_articles.yaml").read_text("utf-8"))
ROWS: list[LimitRow] = [
    row for document in demo_documents() if document.kind is DocumentKind.LIMITS for row in document.rows
]  # fmt: skip
LAWFUL = [row for row in ROWS if row.basis.mark is Mark.LAW]
ARTICLES_COUNT_MIN = 25  # that the table of times names, each beside the matter whose time it sets
ABSENT_LAW = "生产安全事故报告和调查处理条例"  # the only one whose articles are not in law_articles.yaml
CITIES = ("济南市", "潍坊市", "深圳经济特区")  # their ordinances are practice elsewhere

DIGITS = "零一二三四五六七八九"


def chinese(number: int) -> str:
    """A number below 100 in words: 十, 二十三."""
    tens, ones = divmod(number, 10)
    return (("" if tens == 1 else DIGITS[tens]) + "十" if tens else "") + (DIGITS[ones] if ones else "")


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize("row", LAWS["deadlines"], ids=lambda row: row["matter"])
def test_every_time_that_a_law_sets_is_shipped_with_its_article(row: dict[str, Any]) -> None:
    times = set(row["times"])
    for law, articles in row["articles"].items():
        for number in articles:
            limits = [one for one in ROWS if law in one.basis.text and f"第{chinese(number)}条" in one.basis.text]
            assert limits, f"no limit cites {law} {number}"
            assert not times or {limit.amount for limit in limits} & times, f"{law} {number} says {times}"
            custom = law.startswith(CITIES) or not times
            assert any((limit.basis.mark is Mark.LAW) is not custom for limit in limits), f"{law} {number}"


def test_the_table_of_times_is_not_cut_short() -> None:
    named = [number for row in LAWS["deadlines"] for numbers in row["articles"].values() for number in numbers]
    assert len(named) >= ARTICLES_COUNT_MIN


def test_what_follows_the_law_of_another_place_or_matter_is_not_law() -> None:
    assert [row.id for row in LAWFUL if "参照" in row.basis.text] == []
    assert [row.id for row in LAWFUL if any(city in row.basis.text for city in CITIES)] == []


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize("row", LAWFUL, ids=lambda row: row.id)
def test_every_number_that_is_law_stands_in_the_article(row: LimitRow) -> None:
    law, _, numbers = row.basis.text.partition(" ")
    if law == ABSENT_LAW:
        assert law not in LAWS["articles"], "its articles are there: compare them"
        pytest.skip(f"the articles of {law} are not in tests/support/law_articles.yaml")
    articles = LAWS["articles"][law]
    text = "".join(articles[number] for number in re.findall(r"第[一二三四五六七八九十]+条", numbers))
    unit = "个工作日" if row.base is TimeBase.WORKING_DAYS else "日"

    def said(amount: int) -> bool:
        return re.search(f"(?<![0-9一二三四五六七八九十])({amount}|{chinese(amount)}){unit}", text) is not None

    assert said(row.amount)
    assert not row.extend_max or (said(row.extend_max) and "延长" in text)
    assert row.extend_max or "延长期限" not in text
    assert not row.pauses or "所需时间不计算在" in text
    assert (PauseCause.HEARING in row.pauses) == ("听证所需时间不计算" in text)
