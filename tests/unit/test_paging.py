from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting import http as reporting
from services.reporting.listing import parse_position
from services.routing import http as routing
from services.supervision import http as supervision
from services.supervision.feed import webhooks_http as webhooks
from shared.case.base import utc_time
from shared.kit.paging import page_rows, read_cursor, write_cursor
from shared.kit.problems import BadRequest, Unprocessable
from shared.kit.settings import Settings

LIST = "reporting.cases"
POSITIONS = st.lists(st.one_of(st.text(max_size=40), st.integers(0, 2**53)), max_size=3)


def position(*parts: str | int) -> tuple[str | int, ...]:
    return parts


@given(POSITIONS)
def test_a_cursor_gives_back_its_position(parts: list[str | int]) -> None:
    assert read_cursor(LIST, write_cursor(LIST, *parts), position) == tuple(parts)


@given(POSITIONS, st.integers(0), st.sampled_from("AZaz09-_%字"))
def test_a_cursor_that_was_changed_is_refused(parts: list[str | int], at: int, sign: str) -> None:
    cursor = write_cursor(LIST, *parts)
    at %= len(cursor)
    changed = cursor[:at] + sign + cursor[at + 1 :]
    if changed[:-1] != cursor[:-1]:  # the last sign may hold bits that mean nothing
        with pytest.raises(BadRequest) as refusal:
            read_cursor(LIST, changed, position)
        assert refusal.value.problem.code == "cursor.malformed"


@pytest.mark.parametrize(
    "cursor",
    [
        write_cursor("reporting.orders", "2026-03-02T09:00:00+00:00", "76c49198-68fd-8506-8960-d4a127e564db"),
        "MjAyNi0wMy0wMlQwOTowMDowMCswMDowMCA3NmM0OTE5OC02OGZkLTg1MDYtODk2MC1kNGExMjdlNTY0ZGI",  # as it was before
        "510104 76c49198-68fd-8506-8960-d4a127e564db", "", "x", "null", "\ud83d", "=",
    ],
)  # fmt: skip
def test_the_cursor_of_another_list_or_program_is_refused(cursor: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        read_cursor(LIST, cursor, position)
    assert "next" in refusal.value.problem.advice


def test_a_position_that_the_list_cannot_have_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_cursor(LIST, write_cursor(LIST, "yesterday"), utc_time)


AT, ID, REGION = "2026-03-02T09:00:00+00:00", "76c49198-68fd-8506-8960-d4a127e564db", "510104000000"
READERS: dict[str, tuple[Callable[..., Any], list[str | int]]] = {
    reporting.CASES_LIST: (parse_position, [AT, ID]),
    reporting.ORDERS_LIST: (parse_position, [AT, ID]),
    reporting.DOCUMENTS_LIST: (reporting._key, ["rules", REGION]),
    routing.QUEUE_LIST: (routing._position, [AT, ID]),
    supervision.PROPOSALS_LIST: (supervision._position, [REGION, ID]),
    webhooks.WEBHOOKS_LIST: (webhooks._webhook_position, [AT, ID]),
    webhooks.PARKED_LIST: (webhooks._sequence, [7]),
    webhooks.NOTICES_LIST: (webhooks._sequence, [7]),
}
TIMES = st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-01-01", "2026-01-01T00:00:00"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | TIMES
    | st.sampled_from(["\0", "\ud800", 10**40, -1, 5, AT, ID, REGION, REGION + "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=4,
)  # fmt: skip


def test_every_list_has_a_reader_here() -> None:
    sources = "".join(path.read_text("utf-8") for path in Path("services").rglob("*.py"))
    lists = [
        name
        for names in re.findall(r"^((?:[A-Z]+_LIST(?:, )?)+) = ", sources, re.MULTILINE)
        for name in names.split(", ")
    ]
    assert len(lists) == len(READERS)
    readers = set(re.findall(r"read_cursor\([\w.]+, [\w.]+, (\w+)\)", sources))
    assert readers == {reader.__name__ for reader, _ in READERS.values()}


@pytest.mark.parametrize("name", READERS)
@given(st.data())
def test_a_forged_cursor_of_any_list_is_refused_or_is_a_position_of_it(name: str, data: st.DataObject) -> None:
    reader, sample = READERS[name]
    values: Any = [data.draw(JSON_VALUES | st.just(value)) for value in sample] + data.draw(
        st.just([]) | st.lists(JSON_VALUES)
    )
    whole: Any = data.draw(st.just([name, *values]) | st.just(dict.fromkeys([name, *map(str, values)])) | JSON_VALUES)
    payload = json.dumps(whole).encode()
    cursor = urlsafe_b64encode(sha256(payload).digest()[:6] + payload).rstrip(b"=").decode()
    code, position_read = "", cast(Any, None)
    try:
        position_read = read_cursor(name, cursor, reader)
    except BadRequest as refusal:
        code = refusal.problem.code
    if position_read is None:
        assert code == "cursor.malformed"
        return
    assert isinstance(whole, list)
    assert len(values) == len(sample)
    sample_position = read_cursor(name, write_cursor(name, *sample), reader)
    assert (position_read > sample_position) in (True, False), "it compares with the rows of the list"
    for part in position_read if isinstance(position_read, tuple) else [position_read]:
        if isinstance(part, datetime):
            assert part.tzinfo is UTC
        elif isinstance(part, int):
            assert 0 <= part < 2**63
        elif name != reporting.DOCUMENTS_LIST:  # compared in the program alone
            assert re.fullmatch(r"[0-9a-f-]+", str(part)), "a text that the database takes"


def test_a_page_has_at_most_the_rows_that_the_operator_set() -> None:
    assert page_rows(Settings(page_rows_max=7), 7) == 7
    with pytest.raises(Unprocessable) as refusal:
        page_rows(Settings(page_rows_max=7), 8)
    assert refusal.value.problem.code == "limit.too_large"
