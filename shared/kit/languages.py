"""Problems in Chinese and English: the language that a caller reads, and the texts of the catalogue.

The program writes its texts in English; `problem_texts.yaml` holds the Chinese of each. A value inside a text stands
where the Chinese says. A text without a row is shown behind the Chinese meaning of its code, so nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.case.reasons import Reason
from shared.kit.problems import FieldError, Problem

TEXTS_FILE = Path(__file__).with_name("problem_texts.yaml")
_VALUE = re.compile(r"\{(\d)\}")


class Language(StrEnum):
    """The languages of problems, as Content-Language names them."""

    CHINESE = "zh-CN"
    ENGLISH = "en"


def language_of(accept: str | None) -> Language:
    """The language for the header Accept-Language (RFC 9110, section 12.5.4); Chinese where it asks for neither.

    Every Chinese is Chinese and every English is English, whatever the region or the script. The highest weight counts,
    of equal ones the first. Weight 0 excludes a language. A part that cannot be read is skipped.
    """
    weights: dict[Language, float] = {}
    others: float | None = None
    for tag, weight in _weighted(accept or ""):
        if tag == "*":
            others = weight if others is None else others
            continue
        for language in Language:
            if tag.partition("-")[0] == language.partition("-")[0]:
                weights[language] = max(weights.get(language, 0.0), weight)
    if others is not None:
        for language in Language:
            weights.setdefault(language, others)
    best = max(weights, key=lambda language: weights[language], default=Language.CHINESE)
    if weights.get(best, 1.0) > 0:
        return best
    return Language.ENGLISH if weights.keys() == {Language.CHINESE} else Language.CHINESE


def _weighted(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        tag, *parameters = (text.strip().lower() for text in part.split(";"))
        weights = [text.removeprefix("q=") for text in parameters if text.startswith("q=")]
        if not re.fullmatch(r"\*|[a-z]{1,8}(-[a-z0-9]{1,8})*", tag):
            continue
        if not weights:
            yield tag, 1.0
        elif re.fullmatch(r"(0(\.[0-9]{0,3})?|1(\.0{0,3})?)", weights[0]):
            yield tag, float(weights[0])


def in_language(problem: Problem, language: Language) -> Problem:
    """The problem with its texts in a language."""
    if language is Language.ENGLISH:
        return problem
    detail = chinese(problem.detail) or _by_code(problem)
    return problem.model_copy(
        update={
            "title": chinese(problem.title) or problem.title,
            "detail": detail,
            "advice": chinese(problem.advice) or problem.advice,
            "fields": tuple(_field(field) for field in problem.fields),
        }
    )


def _by_code(problem: Problem) -> str:
    """The Chinese meaning of a problem's code, and behind it the detail, or what it says beside a reason's message."""
    meaning, detail = meaning_of(problem.code), problem.detail
    if meaning is None:
        return detail
    if detail.startswith(meaning[Language.ENGLISH]):
        detail = detail.removeprefix(meaning[Language.ENGLISH]).strip().removeprefix("(").removesuffix(")")
    return f"{meaning[Language.CHINESE]}（{chinese(detail) or detail}）" if detail else meaning[Language.CHINESE]


def _field(field: FieldError) -> FieldError:
    return field.model_copy(update={"message": chinese(field.message) or field.message})


def meaning_of(code: str) -> Mapping[Language, str] | None:
    """The meaning of a code of the catalogue, in both languages; None for a code that there is not."""
    return types().get(code)


@cache
def types() -> Mapping[str, Mapping[Language, str]]:
    """The meaning of every code of a problem: those of the kit and the services, and the reasons of the law.

    A code of both has the meaning of the law.
    """
    own = {
        code: {Language.ENGLISH: row["en"], Language.CHINESE: row["zh"]} for code, row in _catalogue()["types"].items()
    }
    law = {
        reason.code: {Language.ENGLISH: reason.message, Language.CHINESE: _catalogue()["reasons"][reason.code]}
        for reason in Reason
        if reason.code in _catalogue()["reasons"]
    }
    return {code: {**own, **law}[code] for code in sorted(law.keys() | own.keys())}


def chinese(text: str) -> str | None:
    """The Chinese of an English text of the program; None where the catalogue lacks it."""
    if not text:
        return None
    texts: dict[str, str] = _catalogue()["texts"]
    if text in texts:
        return texts[text]
    for pattern, written in _patterns():
        if match := pattern.fullmatch(text):
            return written.format(*(chinese(value) or value for value in match.groups()))
    return None


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    catalogue: dict[str, dict[str, Any]] = yaml.safe_load(TEXTS_FILE.read_text("utf-8"))
    return catalogue


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """The texts with values, those with most words of their own first: `Input should be {0}` fits many."""
    with_values = [text for text in _catalogue()["texts"] if _VALUE.search(text)]
    with_values.sort(key=lambda text: len(_VALUE.sub("", text)), reverse=True)
    return [
        (re.compile("(.*?)".join(map(re.escape, _VALUE.split(text)[::2])), re.DOTALL), _catalogue()["texts"][text])
        for text in with_values
    ]
