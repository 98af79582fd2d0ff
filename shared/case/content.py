"""The judgement of content as people and files give it, the same over HTTP, over NATS and from a file."""

from __future__ import annotations

import re
import unicodedata

_FORMULA = re.compile(r'="([^"]*)"')  # text that Excel shall not read as a number
_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d+)?[Ee][+-]?\d+")


def typed_code(text: str) -> str:
    """A code as people type it, in capitals: without spaces and dashes of any kind, full-width characters as plain."""
    plain = unicodedata.normalize("NFKC", text).upper()
    return "".join(char for char in plain if not char.isspace() and unicodedata.category(char) != "Pd" and char != "−")


def phone_number(text: str) -> str:
    """A phone number in plain characters, without the marks by which a spreadsheet keeps text. Other words stay.

    Raises ValueError for a number whose digits a spreadsheet has lost.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    formula = _FORMULA.fullmatch(plain)
    plain = formula[1].strip() if formula else plain.removeprefix("'")
    if _SCIENTIFIC.fullmatch(plain):
        raise ValueError("has lost its digits in a spreadsheet; write the number as text")
    return plain
