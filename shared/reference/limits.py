"""Time limits of stages (clause 5.1.3 a), and which of them holds for a case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self, cast

from pydantic import Field, model_validator

from shared.case.base import Code
from shared.case.facts import (
    SHORT_CHARS_MAX,
    Ends,
    PauseCause,
    Stage,
    TimeBase,
)
from shared.reference.conditions import RoutingFacts, When, unmet
from shared.reference.row import BasisRow, CitedDocument, Mark, ReferenceRow

AMOUNT_MAX = 10_000


class LimitRow(ReferenceRow):
    """How long a stage may take (clause 5.1.3 a). Limits are read in order; the first that matches wins.

    `amount`, `warn` (how long before it is due to warn) and `extend_max` are in units of `base`; `ends` says when the
    last day is over. It runs from the beginning of the stage or from the registration. An extension is granted from
    `extend_by`, the post of the person who approves; `pauses` are what may stop this clock, 0 as a maximum bounds none.
    """

    id: Code
    stage: Stage
    when: When = When()
    amount: Annotated[int, Field(gt=0, le=AMOUNT_MAX)]
    base: TimeBase
    ends: Ends = Ends.DAY
    counts_from: Literal["stage", "registered"] = "stage"
    warn: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    basis: BasisRow
    extend_max: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    extend_by: Code | None = None
    extend_times_max: Annotated[int, Field(ge=1, le=100)] = 1
    pauses: Annotated[tuple[PauseCause, ...], Field(max_length=len(PauseCause))] = ()
    pause_times_max: Annotated[int, Field(ge=0, le=100)] = 0
    pause_days_max: Annotated[int, Field(ge=0, le=3_660)] = 0

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.warn >= self.amount:
            raise ValueError(f"warn {self.warn} is not less than amount {self.amount}: it would warn at the start")
        if bool(self.extend_max) != bool(self.extend_by):
            raise ValueError("extend_max and extend_by go together: by how much, and which post approves it")
        if "extend_times_max" in self.model_fields_set and not self.extend_by:
            raise ValueError("extend_times_max is for a limit that may be extended; give extend_max and extend_by")
        if (self.pause_times_max or self.pause_days_max) and not self.pauses:
            raise ValueError("pause_times_max and pause_days_max bound what is in pauses; name the causes there")
        if self.base is TimeBase.HOURS and self.ends is Ends.CLOCK:
            raise ValueError("a limit in hours ends after its hours; `ends: clock` is for days, remove it")
        return self


@dataclass(frozen=True)
class LimitChoice:
    """The time limit of a stage, the document it stands in, and why this one in a sentence that fits a deadline.

    With a `ceiling`, a law's own limit and its document, the one that is due earlier holds.
    """

    row: LimitRow
    reference: str
    ceiling: tuple[LimitRow, str] | None
    why: str


def choose_limit(limits: Iterable[CitedDocument], stage: Stage, facts: RoutingFacts) -> LimitChoice | None:
    """The time limit of a stage, None when no limit is set. `limits` are documents of kind `limits`, nearest first.

    The first that matches holds, but the law's own limit for a matter prevails over a general one (Jinan 12345,
    article 24), and stays the ceiling of a custom one for that matter: a promise may be stricter, never laxer.
    """
    found = [
        (row, document.reference)
        for document in limits
        for row in cast("tuple[LimitRow, ...]", document.rows)
        if row.stage is stage and unmet(row.when, facts) is None
    ]
    if not found:
        return None
    first, lawful = found[0], [one for one in found if one[0].basis.mark is Mark.LAW]
    law = next((one for one in lawful if not one[0].when.general), next(iter(lawful), None))
    if law is None:
        return LimitChoice(*first, None, _why(f"自定时限 {_said(first, facts)}：最先符合条件，法律未另行规定。"))
    if law is first:
        return LimitChoice(*first, None, _why(f"法定时限 {_said(first, facts)}：最先符合条件。"))
    if first[0].when.general:
        return LimitChoice(*law, None, _why(f"法定时限 {_said(law, facts)}：优先于一般时限 {_said(first, facts)}。"))
    why = f"自定时限 {_said(first, facts)}与法定时限 {_said(law, facts)}以先到期者为准：可严于法律，不得宽于法律。"
    return LimitChoice(*first, law, _why(why))


def _said(found: tuple[LimitRow, str], facts: RoutingFacts) -> str:
    row, reference = found
    met = {"nature": facts.nature, "subject": facts.subject, "severity": facts.severity}
    conditions = "、".join(f"{name} {value}" for name, value in met.items() if getattr(row.when, name))
    return f"{reference} {row.id}" + (f"（{conditions}）" if conditions else "")


def _why(text: str) -> str:
    return text[:SHORT_CHARS_MAX]  # only ids of 40 characters and more get so far
