"""The retention of the content of a case: how long it is kept after the case ended (clause 9.4 b). Pure.

The periods are those that clause 9.4 b names. They are counted as the Civil Code counts months: the last day is the day
of the month on which the case ended, or the last day of a shorter month (article 202), and it counts until 24:00
(article 203). A case that was reopened is kept anew from its next end on.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shared.case.calendar import ZONE
from shared.case.facts import Retention

# The months of each class of clause 9.4 b; the permanent class has no end.
RETENTION_MONTHS: dict[Retention, int] = {Retention.MONTHS_3: 3, Retention.MONTHS_6: 6, Retention.YEAR_1: 12}
_TZ = ZoneInfo(ZONE)


def erasable_from(retention: Retention, ended_at: datetime) -> datetime | None:
    """The first moment, in UTC, at which content may be erased; None for content that is kept for ever."""
    months = RETENTION_MONTHS.get(retention)
    if months is None:
        return None
    ended = ended_at.astimezone(_TZ).date()
    years, month = divmod(ended.month - 1 + months, 12)
    year, month = ended.year + years, month + 1
    last = ended.replace(year=year, month=month, day=min(ended.day, monthrange(year, month)[1]))
    return datetime.combine(last + timedelta(days=1), time(), _TZ).astimezone(UTC)


def erasable_text(retention: Retention, ended_at: datetime | None) -> str:
    """From when the content may be erased, in words; `ended_at` is None for a case that has not ended."""
    months = RETENTION_MONTHS.get(retention)
    if months is None:
        return "its content is kept for ever"
    moment = None if ended_at is None else erasable_from(retention, ended_at)
    if moment is None:
        return f"erasure is possible {months} months after the case ends"
    return f"erasure is possible from {moment.astimezone(_TZ).isoformat(timespec='minutes')}"
