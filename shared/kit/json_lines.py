"""JSON as one line for every reader (JSON lines, data of server-sent events)."""

from __future__ import annotations

# Characters that end a line for many readers, as Python's splitlines, and that JSON does not escape by itself.
_LINE_ENDS = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in ("\x85", "\u2028", "\u2029"))


def as_one_line(json: bytes) -> bytes:
    """Compact JSON without a character that some reader takes for the end of a line; the same value."""
    for char, escape in _LINE_ENDS:
        json = json.replace(char, escape)
    return json
