"""The shipped limits say what the laws say: every row of the deadline table is there, every number is its article's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.case.facts import PauseCause, TimeBase
from shared.reference.documents import DocumentKind
from shared.reference.limits import LimitRow
from shared.reference.load import demo_documents
from shared.reference.row import Mark

SPEC = Path(__file__).parents[3] / "shared" / "spec"
ROWS: list[LimitRow] = [
    row for document in demo_documents() if document.kind is DocumentKind.LIMITS for row in document.rows
]  # fmt: skip
LAWFUL = [row for row in ROWS if row.basis.mark is Mark.LAW]
PETITIONS, MARKET = "信访工作条例", "市场监督管理投诉举报处理暂行办法"
LABOUR, LAND = "劳动争议调解仲裁法", "农村土地承包经营纠纷调解仲裁法"
CONFIRMATION, DISCLOSURE = "最高人民法院关于人民调解协议司法确认程序的若干规定", "政府信息公开条例"
ACCIDENTS, MEDIATION = "生产安全事故报告和调查处理条例", "人民调解法"
CITIES = ("济南市", "潍坊市", "深圳经济特区")  # their ordinances are practice elsewhere

# What the table abbreviates: the words before the numbers of articles, or the matter when there are none.
NAMES = {
    "信访工作条例": PETITIONS, "书面告知": PETITIONS, "转送异议": PETITIONS, "申诉求决": PETITIONS, "请求复": PETITIONS,
    "济南": "济南市 12345", "潍坊": "潍坊市 12345", "办法": MARKET, "深圳": "深圳经济特区矛盾纠纷多元化解条例",
    "人民调解法": MEDIATION, "法释": CONFIRMATION, "劳动争议": LABOUR, "农村土地仲裁": LAND, "政府信息公开": DISCLOSURE,
    "生产安全事故报告条例": ACCIDENTS, "突发事件应对法": "突发事件应对法",
}  # fmt: skip
NOT_OF_A_STAGE = {
    (MEDIATION, 33): "the time that the parties have to apply",
    (ACCIDENTS, 13): "a supplement to the report, after it",
}
DIGITS = "零一二三四五六七八九"

needs_spec = pytest.mark.skipif(not SPEC.is_dir(), reason=f"{SPEC.name} with the laws is not beside the repository")


def chinese(number: int) -> str:
    """A number below 100 in words: 十, 二十三."""
    tens, ones = divmod(number, 10)
    return (("" if tens == 1 else DIGITS[tens]) + "十" if tens else "") + (DIGITS[ones] if ones else "")


def table() -> list[tuple[str, str, str]]:
    """Matter, deadline and basis of every row of the deadline table that has a law."""
    text = (SPEC / "domain.md").read_text(encoding="utf-8").partition("## 1.a' Deadlines")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [(matter, deadline, basis) for matter, deadline, _, basis in rows if "[L]" in basis]


def cited(matter: str, basis: str) -> list[tuple[str, int]]:
    """The laws and articles that a row of the table names."""
    found, law = [], matter
    for word, number in re.findall(r"([一-鿿]{2,}(?:\(\d+\))?)|(\d+)", basis.partition("[M]")[0]):
        law = word or law
        if number:
            found.append((next(name for short, name in NAMES.items() if law.startswith(short)), int(number)))
    return found


@needs_spec
@pytest.mark.clause("5.1.3a")
def test_every_lawful_row_of_the_deadline_table_is_shipped_with_its_article() -> None:
    asked = 0
    for matter, deadline, basis in table():
        amounts = {int(number) for number in re.findall(r"\d+", deadline)}
        articles = [one for one in cited(matter, basis) if one not in NOT_OF_A_STAGE]
        assert articles or "whole text" in basis, (matter, basis)
        for law, article in articles:
            rows = [row for row in ROWS if law in row.basis.text and f"第{chinese(article)}条" in row.basis.text]
            assert rows, f"{matter}: no limit cites {law} {article}"
            if amounts:
                assert {row.amount for row in rows} & amounts, f"{matter}: {law} {article} says {deadline}"
            custom = law.startswith(CITIES) or not amounts
            assert any((row.basis.mark is Mark.LAW) is not custom for row in rows), f"{matter}: {law} {article}"
            asked += 1
    assert asked >= 25


def test_what_follows_the_law_of_another_place_or_matter_is_not_law() -> None:
    assert [row.id for row in LAWFUL if "参照" in row.basis.text] == []
    assert [row.id for row in LAWFUL if any(city in row.basis.text for city in CITIES)] == []


def article(law: str, number: str) -> str:
    """The text of an article, `第二十二条`. Skips when the law is not there."""
    paths = list((SPEC / "laws").glob(f"{law}*.md"))
    if not paths:
        pytest.skip(f"{law} is not among the laws beside the repository")
    text = paths[0].read_text(encoding="utf-8")
    return re.split(r"\n第[一二三四五六七八九十百]+条", "\n" + text.partition(f"\n{number}")[2])[0]


@needs_spec
@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize("row", LAWFUL, ids=lambda row: row.id)
def test_every_number_that_is_law_stands_in_the_article(row: LimitRow) -> None:
    law, _, numbers = row.basis.text.partition(" ")
    text = "".join(article(law, number) for number in re.findall(r"第[一二三四五六七八九十]+条", numbers))
    unit = "个工作日" if row.base is TimeBase.WORKING_DAYS else "日"

    def said(amount: int) -> bool:
        return re.search(f"(?<![0-9一二三四五六七八九十])({amount}|{chinese(amount)}){unit}", text) is not None

    assert said(row.amount)
    assert not row.extend_max or (said(row.extend_max) and "延长" in text)
    assert row.extend_max or "延长期限" not in text
    assert not row.pauses or "所需时间不计算在" in text
    assert (PauseCause.HEARING in row.pauses) == ("听证所需时间不计算" in text)
