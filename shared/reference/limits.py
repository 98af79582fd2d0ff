"""Time limits of stages (clause 5.1.3 a), and the choice of the limit that holds for a case."""

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
    """The longest time that a stage may take (clause 5.1.3 a). Limits are read in order and the first match holds.

    `amount`, `warn` (the time between the warning and the due moment) and `extend_max` are in units of `base`; `ends`
    states when the last day is over. The time counts from the beginning of the stage or from the registration.
    `extend_by` is the post that approves an extension. `pauses` are the causes that may stop the clock; a maximum of 0
    sets no bound.
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
            raise ValueError("pause_times_max and pause_days_max bound the causes in pauses; name the causes there")
        if self.base is TimeBase.HOURS and self.ends is Ends.CLOCK:
            raise ValueError("a limit in hours ends after its hours; `ends: clock` is for days, remove it")
        return self


@dataclass(frozen=True)
class LimitChoice:
    """The time limit of a stage with its document, and the reason for it in one sentence that a deadline can hold.

    `ceiling` is a limit of the law with its document. Where there is one, the limit that is due earlier holds.
    """

    row: LimitRow
    reference: str
    ceiling: tuple[LimitRow, str] | None
    why: str


def choose_limit(limits: Iterable[CitedDocument], stage: Stage, facts: RoutingFacts) -> LimitChoice | None:
    """The time limit of a stage, None when no limit is set. `limits` are documents of kind `limits`, nearest first.

    The first match holds, with two exceptions. A limit of the law for a matter prevails over a general one (Jinan
    12345, article 24). It is also the ceiling of a custom limit for that matter, which may be stricter but not laxer.
    """
    matches = [
        (row, document.reference)
        for document in limits
        for row in cast("tuple[LimitRow, ...]", document.rows)
        if row.stage is stage and unmet(row.when, facts) is None
    ]
    if not matches:
        return None
    first, lawful = matches[0], [match for match in matches if match[0].basis.mark is Mark.LAW]
    law = next((match for match in lawful if not match[0].when.general), next(iter(lawful), None))
    cited = _citation(first, facts)
    if law is None:
        return LimitChoice(*first, None, _reason(f"自定时限 {cited}：最先符合条件，法律未另行规定。"))
    if law is first:
        return LimitChoice(*first, None, _reason(f"法定时限 {cited}：最先符合条件。"))
    cited_law = _citation(law, facts)
    if first[0].when.general:
        return LimitChoice(*law, None, _reason(f"法定时限 {cited_law}：优先于一般时限 {cited}。"))
    reason = f"自定时限 {cited}与法定时限 {cited_law}以先到期者为准：可严于法律，不得宽于法律。"
    return LimitChoice(*first, law, _reason(reason))


def _citation(match: tuple[LimitRow, str], facts: RoutingFacts) -> str:
    row, reference = match
    met = {"nature": facts.nature, "subject": facts.subject, "severity": facts.severity}
    conditions = "、".join(f"{name} {value}" for name, value in met.items() if getattr(row.when, name))
    return f"{reference} {row.id}" + (f"（{conditions}）" if conditions else "")


def _reason(text: str) -> str:
    return text[:SHORT_CHARS_MAX]  # only ids of 40 characters and more get so far
