"""The judgement of content as people and files give it, the same over HTTP, over NATS and from a file."""

from __future__ import annotations

import re
import unicodedata

_FORMULA = re.compile(r'="([^"]*)"')  # text that Excel shall not read as a number
# Controls and marks of direction: a text with them can look like another one.
_MISLEADING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NO_WIDTH = re.compile("[\u200b\u2060-\u2064\ufeff]")  # they come along when text is copied from a page
_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d+)?[Ee][+-]?\d+")


def shown_line(text: str) -> str:
    """A name or a title as it is shown, without characters of no width.

    Raises ValueError for a character that changes how the others look.
    """
    if mark := _MISLEADING.search(text):
        raise ValueError(f"holds the invisible character U+{ord(mark[0]):04X}; write the text without it")
    return _NO_WIDTH.sub("", text)


def safe_file_name(text: str) -> str:
    """The name of a file. Raises ValueError for a path and as `shown_line`."""
    if "/" in text or "\\" in text or text in ("", ".", ".."):
        raise ValueError("is no name of a file; send the name without its folders")
    return shown_line(text)


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
