"""A document of rules as YAML that a clerk reads: one rule after the other, words grouped by their points."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from shared.reference.documents import Document
from shared.reference.rules import RuleRow

LINE_CHARS_MAX = 118
_PLAIN = re.compile(r"[\u4e00-\u9fffA-Za-z][\u4e00-\u9fffA-Za-z0-9…]*")
_WORDS_OF_YAML = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})


def rules_as_yaml(document: Document) -> str:
    """The document, as `caseflow reference load` reads it."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Document) -> Iterator[str]:
    yield "---"
    yield f"kind: {document.kind}"
    yield f'region: "{document.region}"'
    if document.note:
        yield f"note: {_flow(document.note)}"
    if document.margin is not None:
        yield f"margin: {document.margin}"
    yield "rows:"
    for row in document.rows:
        yield from _row(row)


def _row(row: RuleRow) -> Iterator[str]:
    fields = row.model_dump(mode="json", exclude_defaults=True)
    points = fields.pop("points", None)
    key = fields.pop("id")
    if not points:
        yield f"  {key}: {_flow(fields)}"
        return
    yield f"  {key}:"
    for name in ("when",):
        if name in fields:
            yield f"    {name}: {_flow(fields.pop(name))}"
    yield "    points:"
    for number, words in points.items():
        yield from _wrapped(f"      {number}: [", [_flow(word.replace("...", "…")) for word in words])
    for name, value in fields.items():
        yield f"    {name}: {_flow(value)}"


def _wrapped(start: str, words: list[str]) -> Iterator[str]:
    line = start
    for index, word in enumerate(words):
        part = word + ("]" if index == len(words) - 1 else ", ")
        if len(line) + len(part) > LINE_CHARS_MAX:
            yield line.rstrip()
            line = " " * 10
        line += part
    yield line


def _flow(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case str() if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)
