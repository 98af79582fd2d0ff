"""A feed item: one thing that happened, told to one centre, as a CloudEvent on `feed.>` (docs/feeds.md).

Supervision writes the items; subscribers, listeners and webhooks read them. Facts in the open only, never content.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.case.facts import Nature, OrderKind, Outcome, PauseCause, Satisfaction, Severity, Stage
from shared.kit.submission import CloudEvent
from shared.log import topology

SOURCE = "/supervision"
TYPE_PREFIX = "feed."


class FeedData(BaseModel):
    """The facts in the open: which item for which centre, of which case or order, where it stands right after.

    `event` is the event's type, `position` its place on the log; `previous` the centre that was in charge before a
    change of hands. `stage`, `due` and `seen_at` name the deadline, `seen_late` that it was seen more than a
    minute after its moment, because caseflow was out or the case was recorded late; `rung`, `moment`, `next_at`, `acts`
    and `informs` the rung of the ladder; `template` the text of a notice, which number, unit, due and legal_path fill.
    A notice with `repeat` is for the reporter of that attached repeat, counted from 1.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    level: int
    region: str
    number: str
    event: str
    position: str
    version: int
    status: str
    in_charge: str
    case: str | None = None
    order: str | None = None
    order_kind: OrderKind | None = None
    cases_count: int | None = None
    inner: str | None = None
    template: str | None = None
    repeat: int | None = None
    previous: str | None = None
    nature: Nature | None = None
    subject: str | None = None
    severity: Severity | None = None
    people_count: int | None = None
    outcome: Outcome | None = None
    satisfaction: Satisfaction | None = None
    unit: str | None = None
    person: str | None = None
    stage: Stage | None = None
    due: AwareDatetime | None = None
    seen_at: AwareDatetime | None = None
    seen_late: bool | None = None
    until: AwareDatetime | None = None
    cause: PauseCause | None = None
    rung: int | None = None
    moment: AwareDatetime | None = None
    next_at: AwareDatetime | None = None
    acts: str | None = None
    informs: tuple[str, ...] | None = None
    legal_path: str | None = None


class FeedItem(CloudEvent):
    """One item: CloudEvents 1.0. `subject` is the id of the case, or of the order; `time` that of the event."""

    id: str
    source: str = SOURCE
    type: str
    subject: str
    time: datetime
    data: FeedData

    @property
    def nats_subject(self) -> str:
        """Where the item goes."""
        return topology.feed(self.data.kind, self.data.level, self.data.region, self.subject)
