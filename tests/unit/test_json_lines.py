"""JSON lines: whatever stands in a value, it is one line, and the same value."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from shared.kit.json_lines import as_one_line

LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


@given(st.lists(st.text(st.sampled_from('a甲\\"' + LINE_ENDS) | st.characters(codec="utf-8"))))
def test_a_value_is_one_line_for_every_reader(values: list[str]) -> None:
    line = as_one_line(to_json(values))
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == values
