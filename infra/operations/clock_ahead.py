"""Events that were recorded in the future: the clock of the host was wrong and was set right since."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from shared.log.envelope import EventDecoder
from shared.log.port import Log, Malformed
from shared.log.streams import Streams

RECORDED_AHEAD_S_MAX = 5.0
ADVICE = "Commands on its case are refused until then. Let the host keep time by NTP"


async def recorded_ahead(log: Log, streams: Streams, now: datetime) -> AsyncIterator[str]:
    """A sentence for each log stream whose newest event was recorded in the future. Raises LogUnavailable."""
    for stream in log.streams():
        message = await streams.last(stream, ">")
        if message is None:
            continue
        try:
            recorded = EventDecoder().event_at(stream, message.sequence, message.data)
        except Malformed:
            continue
        if recorded.meta.recorded_at > now + timedelta(seconds=RECORDED_AHEAD_S_MAX):
            at = recorded.meta.recorded_at.isoformat(timespec="seconds")
            yield f"the newest event of {stream} was recorded at {at}, which is in the future"
