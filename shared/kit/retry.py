"""How long a failure waits: messages that are delivered again, and loops whose servers are away."""

from __future__ import annotations

ATTEMPTS_COUNT_MAX = 8  # then a message that fails is parked
PAUSE_S = 1.0  # of a loop whose server gave no answer
DELAY_S_MIN = 0.2
DELAY_S_MAX = 60.0


def delay_s(attempts: int) -> float:
    """The delay in seconds after so many failed deliveries."""
    return min(DELAY_S_MIN * 2.0 ** min(attempts, 16), DELAY_S_MAX)
