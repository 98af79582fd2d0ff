"""What docs/bad-input.md says is what is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.bad_input import PAGE, cli_part, http_part
from tests.e2e.bad_input_nats import nats_part
from tests.support.stack import Stack

PARTS = [
    pytest.param(http_part, id="HTTP"), pytest.param(nats_part, id="NATS"),
    pytest.param(cli_part, id="command line", marks=pytest.mark.deep),
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_every_answer_of_the_page_on_bad_input_is_what_is_answered(
    stack: Stack, part: Callable[[Stack], Iterator[str]]
) -> None:
    told = PAGE.read_text("utf-8").splitlines()
    differing = [line for line in part(stack) if line not in told]
    assert not differing, "write it anew by `python -m tests.e2e.bad_input_write` if this is right:\n" + "\n".join(
        differing
    )


def test_no_bad_input_is_taken_or_answered_with_a_fault_of_ours() -> None:
    text = PAGE.read_text("utf-8")
    for wrong in ("Traceback", "| 500 ", "| 200 ", "| 201 "):
        assert wrong not in text
