"""Case numbers for use over the phone: the position of the registration on the log, in Crockford base 32.

`FJ4M-0003V-K` has the area (its six digits in 4 characters), the sequence (at least 5 characters) and a check
character. The check is a weighted sum over GF(32) with a different weight for each character, so it finds every single
wrong character and every swap of two neighbours. A number is computed from the position and leads back to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from shared.case.base import Position
from shared.case.content import typed_code
from shared.log.topology import LOG_PREFIX

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
AREA_CHARS = 4
SEQUENCE_CHARS_MIN = 5
SEQUENCE_CHARS_MAX = 12
_VALUE = {char: value for value, char in enumerate(ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_POLYNOMIAL = 0b100101  # x^5 + x^2 + 1, primitive: x has order 31


def _powers() -> list[int]:
    power, powers = 1, []
    for _ in range(31):
        powers.append(power)
        power <<= 1
        if power & 32:
            power ^= _POLYNOMIAL
    return powers


_EXP = _powers()
_LOG = {power: exponent for exponent, power in enumerate(_EXP)}


def _check(values: list[int]) -> int:
    # The check character has weight x^0, its left neighbour x^1, and so on.
    total = 0
    for weight, value in enumerate(reversed(values), start=1):
        if value:
            total ^= _EXP[(_LOG[value] + weight) % 31]
    return total


def _digits(number: int, width: int) -> list[int]:
    digits: list[int] = []
    while number or len(digits) < width:
        number, digit = divmod(number, 32)
        digits.append(digit)
    return digits[::-1]


def _number(digits: list[int]) -> int:
    total = 0
    for digit in digits:
        total = total * 32 + digit
    return total


def case_number(position: Position) -> str:
    """The case number of a registration at `position`. Raises ValueError for a position on no log stream."""
    area = position.stream.removeprefix(LOG_PREFIX)
    if area == position.stream or not area.isdigit() or len(area) > 6 or position.sequence < 1:
        raise ValueError(f"no case number for {position}: expected a sequence on a stream {LOG_PREFIX}<area>")
    head, tail = _digits(int(area.ljust(6, "0")), AREA_CHARS), _digits(position.sequence, SEQUENCE_CHARS_MIN)
    text = "".join(ALPHABET[value] for value in (*head, *tail, _check(head + tail)))
    return f"{text[:AREA_CHARS]}-{text[AREA_CHARS:-1]}-{text[-1]}"


def parse_case_number(text: str, streams: Iterable[str]) -> Position:
    """The position of a case number on one of these log streams.

    Lower case, full width, spaces and missing dashes are accepted, O for 0, and I and L for 1. Raises
    ValueError with the fault: the length, a character, the check, the area or the sequence.
    """
    plain = typed_code(text)
    length_min, length_max = AREA_CHARS + SEQUENCE_CHARS_MIN + 1, AREA_CHARS + SEQUENCE_CHARS_MAX + 1
    if not length_min <= len(plain) <= length_max:
        raise ValueError(
            f"a case number has {length_min} characters or a few more, as in FJ4M-0003V-K; this has {len(plain)}"
        )
    for index, char in enumerate(plain, start=1):
        if char not in _VALUE:
            raise ValueError(f"character {index} of the case number, {char!r}, is none that case numbers use")
    *values, check = (_VALUE[char] for char in plain)
    if _check(values) != check:
        raise ValueError(
            "the check character does not fit: a character is wrong or two are swapped; please read it again"
        )
    area, sequence = f"{_number(values[:AREA_CHARS]):06d}", _number(values[AREA_CHARS:])
    if sequence == 0 or (values[AREA_CHARS] == 0 and len(values) > AREA_CHARS + SEQUENCE_CHARS_MIN):
        raise ValueError("the sequence in the case number is none that is given out")
    for stream in streams:
        if stream.removeprefix(LOG_PREFIX).ljust(6, "0") == area:
            return Position(stream, sequence)
    raise ValueError(f"no area {area} here: the case number belongs to another place")
