from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        read_cursor(LIST, write_cursor(LIST, "yesterday"), int)


def test_a_page_has_at_most_the_rows_that_the_operator_set() -> None:
    assert page_rows(Settings(page_rows_max=7), 7) == 7
    with pytest.raises(Unprocessable) as refusal:
        page_rows(Settings(page_rows_max=7), 8)
    assert refusal.value.problem.code == "limit.too_large"
