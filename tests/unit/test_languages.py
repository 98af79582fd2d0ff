"""The languages of problems: which one a caller reads, and that every text of the program has its Chinese."""

from __future__ import annotations

import re
from html import escape

import pytest
import yaml
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from infra.servers import problem_pages
from shared.case.reasons import Reason, Rejected
from shared.kit import problems
from shared.kit.application import rejected
from shared.kit.languages import TEXTS_FILE, Language, chinese, in_language, language_of, types
from shared.kit.problems import NotFound, Unprocessable

CATALOGUE = yaml.safe_load(TEXTS_FILE.read_text("utf-8"))
HAN = re.compile(r"[一-鿿]")
PLURALS = ("Input should be a valid dictionary", "String should", "URL should", "{0} should")


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (None, "zh-CN"), ("", "zh-CN"), ("*", "zh-CN"), ("fr", "zh-CN"), ("fr;q=0.9, *;q=0.1", "zh-CN"),
        ("zh", "zh-CN"), ("zh-CN", "zh-CN"), ("ZH-hans-cn", "zh-CN"), ("zh-Hant-TW", "zh-CN"), ("zh-HK;q=0.1", "zh-CN"),
        ("en", "en"), ("en-GB", "en"), ("EN-us;q=0.3", "en"), ("fr, en;q=0.2", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("en-US,en;q=0.9,zh-CN;q=0.8", "en"), ("en;q=0.5, zh;q=0.5", "en"),
        ("zh;q=0.5, en;q=0.5", "zh-CN"), ("en;q=0.5, zh;q=0.501", "zh-CN"), ("en;q=0.2, *;q=0.7", "zh-CN"),
        ("en;q=0", "zh-CN"), ("zh;q=0", "en"), ("zh;q=0, *", "en"), ("zh;q=0, en;q=0", "zh-CN"), ("*;q=0", "zh-CN"),
        ("en;q=2", "zh-CN"), ("en;q=x", "zh-CN"), (";;,,=", "zh-CN"), ("english", "zh-CN"), ("enx", "zh-CN"),
        ("en_US", "zh-CN"), ("en ; q=0.9 , zh ; q=0.8", "en"),
    ],
)  # fmt: skip
def test_the_language_that_a_caller_reads(accept: str | None, language: str) -> None:
    assert language_of(accept) == language


@given(st.text(alphabet="zhen*-;q=0.19, \t字", max_size=40))
def test_any_header_names_a_language(accept: str) -> None:
    assert language_of(accept) in Language


def test_every_value_of_a_text_stands_in_its_chinese() -> None:
    for text, own in CATALOGUE["texts"].items():
        named, shown = set(re.findall(r"\{\d\}", text)), set(re.findall(r"\{\d\}", own))
        assert shown <= named, text
        assert shown == named or text.startswith(
            ("Input should be a valid dictionary", "String", "URL", "{0} should")
        ), text


def test_a_text_with_values_is_shown_with_them() -> None:
    assert chinese("There is no unit 51-x, or it is dissolved.") == "没有单位 51-x，或该单位已撤销。"
    assert chinese("There is no such order.") == "没有这个督办单。"
    assert chinese("Input should be greater than or equal to 1") == "须不小于 1"
    assert chinese("never written anywhere") is None


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_of_the_law_is_shown_with_its_particulars(reason: Reason) -> None:
    plain = in_language(rejected(Rejected(reason)).problem, Language.CHINESE)
    assert plain.detail == CATALOGUE["reasons"][reason.code]
    more = in_language(rejected(Rejected(reason, "510104000000-police")).problem, Language.CHINESE)
    assert more.detail == f"{plain.detail}（510104000000-police）"
    assert HAN.search(more.title)


def test_a_text_without_chinese_is_shown_behind_the_meaning_of_its_code() -> None:
    problem = in_language(NotFound("A new text.").problem, Language.CHINESE)
    assert problem.detail == f"{types()['not.found'][Language.CHINESE]}（A new text.）"


class Body(BaseModel, extra="forbid"):
    count: int = Field(ge=1)


@pytest.mark.parametrize(("accept", "language"), [(None, "zh-CN"), ("en-GB", "en"), ("zh-TW", "zh-CN")])
async def test_an_answer_names_its_language(accept: str | None, language: str) -> None:
    app = FastAPI()
    problems.install(app)

    @app.get("/raise")
    async def raise_it() -> None:
        raise Unprocessable("There is no unit 510104000000-ghosts, or it is dissolved.", code="unit.unknown")

    @app.post("/body")
    async def body(body: Body) -> None: ...

    async with AsyncClient(transport=ASGITransport(app), base_url="http://t") as client:
        headers = {"Accept-Language": accept} if accept else {}
        answers = [
            await client.get("/raise", headers=headers), await client.post("/body", json={"count": 0}, headers=headers),
            await client.get("/nowhere", headers=headers), await client.delete("/body", headers=headers),
        ]  # fmt: skip
    for answer in answers:
        assert (answer.headers["content-language"], answer.headers["vary"]) == (language, "Accept-Language")
        problem = answer.json()
        texts = [problem["title"], problem["detail"], problem["advice"]]
        texts += [field["message"] for field in problem.get("fields", ())]
        assert [bool(HAN.search(text)) for text in texts] == [language == "zh-CN"] * len(texts), problem
    assert "510104000000-ghosts" in answers[0].json()["detail"]


async def test_the_address_of_every_type_explains_it_in_both_languages() -> None:
    app = Starlette(routes=problem_pages.ROUTES)
    problems.install(app)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://t") as client:
        for code, meaning in types().items():
            address = NotFound("", code=code).problem.type
            answer, page = await client.get(address), await client.get(address, headers={"Accept": "text/html,*/*"})
            assert answer.json() == {"type": address, "code": code, "meaning": dict(meaning)}
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert page.text.index(escape(meaning[Language.CHINESE])) < page.text.index(
                escape(meaning[Language.ENGLISH])
            )
        unknown = await client.get("/problems/nothing")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not.found")
        assert {row["code"] for row in (await client.get("/problems")).json()["problems"]} == types().keys()
