"""Rate limits: a token bucket per key, in this process, with a bounded number of keys."""

from __future__ import annotations

from collections import OrderedDict

from shared.kit.clock import Clock
from shared.kit.problems import TooManyRequests

KEYS_COUNT_MAX = 100_000


class Rates:
    """Buckets that refill evenly over a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # key -> tokens left, at which time (seconds)

    def take(self, key: str, per_minute_max: int) -> None:
        """Take one token of `key`. Raises TooManyRequests with the seconds until the next token."""
        now = self._clock.monotonic()
        left, at = self._buckets.get(key, (float(per_minute_max), now))
        left = min(float(per_minute_max), left + (now - at) * per_minute_max / 60)
        if left < 1:
            wait_s = int((1 - left) * 60 / per_minute_max) + 1
            raise TooManyRequests("Too many requests of this kind.", retry_after_s=wait_s)
        self._buckets[key] = (left - 1, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > KEYS_COUNT_MAX:
            self._buckets.popitem(last=False)
