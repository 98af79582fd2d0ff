"""The events of a supervision order, an aggregate of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from shared.case.base import Code, Event, Facts, Owner, Region, UnitCode
from shared.case.events.intake import SupplementFacts
from shared.case.events.supervision import RungFacts
from shared.case.facts import (
    CASES_PER_ORDER_MAX,
    Explained,
    OrderKind,
)


class IssueFacts(Explained, RungFacts):
    """The kind of order, the unit, its cases (their subjects on the log) and the due moment.

    An order that follows from a ladder states the rung of its one case.
    """

    kind: OrderKind
    region: Region
    unit: UnitCode
    cases: Annotated[tuple[Code, ...], Field(min_length=1, max_length=CASES_PER_ORDER_MAX)]
    due: AwareDatetime


class OrderIssued(IssueFacts, Event, type="order.issued", owner=Owner.SUPERVISION):
    """A supervision order was issued (Weifang 12345, article 26)."""


class OrderAnswered(SupplementFacts, Event, type="order.answered", owner=Owner.SUPERVISION):
    """The unit answered the order."""


class OrderAccepted(Explained, Event, type="order.accepted", owner=Owner.SUPERVISION):
    """The answer was accepted: the order is complete."""


class OrderRefused(Explained, Event, type="order.refused", owner=Owner.SUPERVISION):
    """The answer was refused: the unit must answer again."""


class OrderFiringFacts(Facts):
    """The due moment of the order, and the moment when the overdue was seen."""

    due: AwareDatetime
    seen_at: AwareDatetime


class OrderOverdue(OrderFiringFacts, Event, type="order.overdue", owner=Owner.SUPERVISION):
    """The order was not answered in time."""


class OrderWithdrawn(Explained, Event, type="order.withdrawn", owner=Owner.SUPERVISION):
    """The centre took the order back."""


class CaseRefusalFacts(Facts):
    """The case that refused the order, and the code of the reason."""

    case: Code
    reason: Code


class OrderCaseRefused(CaseRefusalFacts, Event, type="order.case_refused", owner=Owner.SUPERVISION):
    """One of the order's cases refused it (the case was closed, merged or withdrawn meanwhile)."""
