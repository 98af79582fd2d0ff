"""People at the desk go first, and what follows never starves."""

from __future__ import annotations

import pytest

from shared.kit.load_gate import BREATH_S, BUSY_SLOTS_COUNT, SLOTS_COUNT, LoadGate
from tests.support.clock import FakeClock


def _watched() -> tuple[FakeClock, list[float]]:
    """A clock, and how long it was slept by."""
    clock, slept = FakeClock(), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    clock.sleep = sleep  # type: ignore[method-assign]
    return clock, slept


async def test_while_a_command_is_answered_reactions_are_few_and_jobs_breathe() -> None:
    pace, (clock, slept) = LoadGate(), _watched()
    assert pace.slots == SLOTS_COUNT
    await pace.breathe(clock)
    assert slept == []
    with pace.answering(), pace.answering():
        assert pace.slots == BUSY_SLOTS_COUNT > 0
        await pace.breathe(clock)
    assert slept == [BREATH_S]
    assert pace.slots == SLOTS_COUNT


async def test_while_somebody_is_behind_the_others_breathe_and_they_do_not() -> None:
    pace, (clock, slept) = LoadGate(), _watched()
    pace.follows("routing", "LOG_5101", True)
    await pace.breathe(clock, "routing")
    assert (slept, pace.behind("LOG_5101"), pace.behind("LOG_5107")) == ([], True, False)
    await pace.breathe(clock, "intake")
    await pace.breathe(clock)
    assert slept == [BREATH_S, BREATH_S]
    pace.follows("routing", "LOG_5101", False)
    await pace.breathe(clock)
    assert (len(slept), pace.behind("LOG_5101")) == (2, False)


def test_an_answer_that_fails_is_no_longer_waited_for() -> None:
    pace = LoadGate()
    with pytest.raises(ValueError, match="broken"), pace.answering():
        raise ValueError("broken")
    assert pace.slots == SLOTS_COUNT
