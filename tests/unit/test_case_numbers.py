"""Case numbers: to a position and back, forgiving in form and strict in content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.case.base import Position
from shared.log.case_numbers import ALPHABET, case_number, parse_case_number

STREAMS = ("LOG_5101", "LOG_5107", "LOG_33", "LOG_990101")
positions = st.builds(Position, st.sampled_from(STREAMS), st.integers(1, 10**12))


def test_the_form() -> None:
    assert case_number(Position("LOG_5101", 123)) == "FJ4M-0003V-F"
    assert case_number(Position("LOG_5101", 32**5)) == "FJ4M-100000-" + case_number(Position("LOG_5101", 32**5))[-1]


@given(positions)
def test_there_and_back(position: Position) -> None:
    assert parse_case_number(case_number(position), STREAMS) == position


@pytest.mark.parametrize("heard", ["fj4m 0003v f", "FJ4MOOO3VF", "fj4m-ooo3v-f", " F J 4 M 0 0 0 3 V F"])
def test_what_people_say_and_type_is_taken(heard: str) -> None:
    assert parse_case_number(heard, STREAMS) == Position("LOG_5101", 123)


def test_i_and_l_are_read_as_one() -> None:
    number = case_number(Position("LOG_5101", 33))
    assert "00011" in number
    assert parse_case_number(number.replace("00011", "000il"), STREAMS) == Position("LOG_5101", 33)


@given(positions, st.data())
def test_every_single_wrong_character_is_found(position: Position, data: st.DataObject) -> None:
    plain = case_number(position).replace("-", "")
    place = data.draw(st.integers(0, len(plain) - 1))
    for wrong in set(ALPHABET) - {plain[place]}:
        with pytest.raises(ValueError, match="check character"):
            parse_case_number(plain[:place] + wrong + plain[place + 1 :], STREAMS)


@given(positions)
def test_every_swap_of_neighbours_is_found(position: Position) -> None:
    plain = case_number(position).replace("-", "")
    for place in range(len(plain) - 1):
        one, two = plain[place], plain[place + 1]
        if one != two:
            with pytest.raises(ValueError, match="check character"):
                parse_case_number(plain[:place] + two + one + plain[place + 2 :], STREAMS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "this has 0"),
        ("FJ4M", "this has 4"),
        ("F" * 40, "this has 40"),
        ("FJ4M-0003U-F", "character 9 of the case number, 'U'"),
        ("FJ4M-000é3-F", "character 8"),
        ("0000-00000-0", "sequence"),
        (case_number(Position("LOG_3301", 5)), "no area 330100 here"),
    ],
)
def test_what_is_wrong_is_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_case_number(text, STREAMS)


def test_a_number_with_a_zero_put_in_is_refused() -> None:
    # The weights leave a leading zero unseen: it changes no sum, so the form is what refuses it.
    number = case_number(Position("LOG_5101", 123)).replace("-", "")
    with pytest.raises(ValueError, match=r"check character|sequence"):
        parse_case_number(number[:4] + "0" + number[4:], STREAMS)


@pytest.mark.parametrize("stream", ["FEED", "LOG_", "LOG_x", "LOG_51010400"])
def test_only_a_log_stream_has_numbers(stream: str) -> None:
    with pytest.raises(ValueError, match="no case number"):
        case_number(Position(stream, 1))
    with pytest.raises(ValueError, match="no case number"):
        case_number(Position("LOG_5101", 0))


@pytest.mark.parametrize(
    "typed",
    ["fj4m0003vf", "\uff26\uff2a\uff14\uff2d\uff0d\uff10\uff10\uff10\uff13\uff36\uff0d\uff26", "fj4m 0003v f",
     "FJ4M\u20130003V\u2014F", "FJ4M\u30000003V\xa0F"],
)  # fmt: skip
def test_a_number_is_read_as_people_type_it(typed: str) -> None:
    assert parse_case_number(typed, STREAMS) == Position("LOG_5101", 123)
