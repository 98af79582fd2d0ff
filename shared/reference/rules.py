"""Which rule takes a case, which time limit holds, which ladder is climbed: pure, deterministic, first match wins.

The documents are asked nearest first: a county's own rules before its city's, its province's and the nation's. A
complaint never goes to the unit it complains of: the same department one centre higher takes it, or nobody by rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from shared.case.base import Level, parent, region_at
from shared.case.facts import SHORT_CHARS_MAX, Nature, Severity, Stage
from shared.reference.models import Document, LimitRow, RuleRow
from shared.reference.models_time import LadderRow
from shared.reference.row import Mark, When


@dataclass(frozen=True)
class RoutingFacts:
    """What rules look at. `text` is title and text together; `stand_aside` are units that must not have the case."""

    nature: Nature
    region: str
    subject: str | None = None
    severity: Severity = Severity.GENERAL
    text: str = ""
    complained_unit: str | None = None
    stand_aside: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RuleHit:
    """The rule that took the case, the document it stands in, and what it says."""

    rule: str
    reference: str
    unit: str
    co_units: tuple[str, ...]
    subject: str | None
    severity: Severity | None
    basis: str


@dataclass(frozen=True)
class Verdict:
    """What one rule said to a case: its hit, or why it does not match.

    `stops`: the rule would take the case, but only those complained of could have it; a person must look.
    """

    rule: str
    reference: str
    hit: RuleHit | None
    reason: str
    stops: bool = False


def route(rules: Iterable[Document], facts: RoutingFacts, exists: Callable[[str], bool]) -> RuleHit | None:
    """The first rule that takes the case, None when it waits at the triage desk.

    `rules` are documents of kind `rules`, nearest first; `exists` says whether a unit is there and active.
    """
    return next((verdict.hit for verdict in examine(rules, facts, exists) if verdict.hit or verdict.stops), None)


def examine(rules: Iterable[Document], facts: RoutingFacts, exists: Callable[[str], bool]) -> Iterator[Verdict]:
    """What every rule says to the case, in order: for the triage desk and for whoever writes rules."""
    text = facts.text.lower()
    for document in rules:
        for rule in cast("tuple[RuleRow, ...]", document.rows):
            reason = _unmet(rule.when, facts)
            if reason is None and rule.when.words and not any(word in text for word in rule.when.words):
                reason = "none of its words stands in the text"
            yield _verdict(document, rule, facts, exists) if reason is None else _no(document, rule, reason)


@dataclass(frozen=True)
class Choice:
    """The time limit of a stage, the document it stands in, and why this one in a sentence that fits a deadline.

    With a `ceiling`, a law's own limit and its document, the one that is due earlier holds.
    """

    row: LimitRow
    reference: str
    ceiling: tuple[LimitRow, str] | None
    why: str


def choose_limit(limits: Iterable[Document], stage: Stage, facts: RoutingFacts) -> Choice | None:
    """The time limit of a stage, None when no limit is set. `limits` are documents of kind `limits`, nearest first.

    The first that matches holds, but the law's own limit for a matter prevails over a general one (Jinan 12345,
    article 24), and stays the ceiling of a custom one for that matter: a promise may be stricter, never laxer.
    """
    found = [
        (row, document.reference)
        for document in limits
        for row in cast("tuple[LimitRow, ...]", document.rows)
        if row.stage is stage and _unmet(row.when, facts) is None
    ]
    if not found:
        return None
    first, lawful = found[0], [one for one in found if one[0].basis.mark is Mark.LAW]
    law = next((one for one in lawful if not one[0].when.general), next(iter(lawful), None))
    if law is None:
        return Choice(*first, None, _why(f"自定时限 {_said(first, facts)}：最先符合条件，法律未另行规定。"))
    if law is first:
        return Choice(*first, None, _why(f"法定时限 {_said(first, facts)}：最先符合条件。"))
    if first[0].when.general:
        return Choice(*law, None, _why(f"法定时限 {_said(law, facts)}：优先于一般时限 {_said(first, facts)}。"))
    why = f"自定时限 {_said(first, facts)}与法定时限 {_said(law, facts)}以先到期者为准：可严于法律，不得宽于法律。"
    return Choice(*first, law, _why(why))


def _said(found: tuple[LimitRow, str], facts: RoutingFacts) -> str:
    row, reference = found
    met = {"nature": facts.nature, "subject": facts.subject, "severity": facts.severity}
    conditions = "、".join(f"{name} {value}" for name, value in met.items() if getattr(row.when, name))
    return f"{reference} {row.id}" + (f"（{conditions}）" if conditions else "")


def _why(text: str) -> str:
    return text[:SHORT_CHARS_MAX]  # only ids of 40 characters and more get so far


def ladder_for(ladders: Iterable[Document], stage: Stage, facts: RoutingFacts) -> tuple[LadderRow, ...]:
    """The ladder of a late stage in order of its rungs, empty when there is none.

    It is the nearest document's first row that matches, and the rows that have the same conditions.
    """
    for document in ladders:
        rows = cast("tuple[LadderRow, ...]", document.rows)
        for row in rows:
            if (not row.stages or stage in row.stages) and _unmet(row.when, facts) is None:
                return tuple(one for one in rows if one.conditions == row.conditions)
    return ()


def rung(ladder: Sequence[LadderRow], number: int) -> tuple[LadderRow, int] | None:
    """The rung with a number from 0, and how long after the due moment it is taken; the last may repeat for ever."""
    if number < len(ladder):
        return ladder[number], ladder[number].after
    if not ladder or not ladder[-1].every:
        return None
    last = ladder[-1]
    return last, last.after + (number - len(ladder) + 1) * last.every


def _unmet(when: When, facts: RoutingFacts) -> str | None:
    if when.nature and facts.nature not in when.nature:
        return f"is for {', '.join(when.nature)}, not for {facts.nature}"
    if when.subject and not (facts.subject and facts.subject.startswith(when.subject)):
        return f"is for subjects {', '.join(when.subject)}, not for {facts.subject or 'a case without one'}"
    if when.region and not facts.region.startswith(when.region):
        return f"is for regions {', '.join(when.region)}, not for {facts.region}"
    if when.severity and facts.severity not in when.severity:
        return f"is for {', '.join(when.severity)}, not for {facts.severity}"
    return None


def _resolve(pattern: str, region: str) -> str:
    """The unit of a pattern: a case that began above the pattern's level goes to its own level's department."""
    place, _, slug = pattern.partition("-")
    return f"{region_at(region, Level[place[1:-1].upper()]) if place.startswith('{') else place}-{slug}"


def _no(document: Document, rule: RuleRow, reason: str, stops: bool = False) -> Verdict:
    return Verdict(rule.id, document.reference, None, reason, stops)


def _verdict(document: Document, rule: RuleRow, facts: RoutingFacts, exists: Callable[[str], bool]) -> Verdict:
    """What a rule whose conditions hold makes of the case."""
    barred = facts.stand_aside | ({facts.complained_unit} if facts.complained_unit else set())
    first = _resolve(rule.then.unit, facts.region)
    unit: str | None = first
    while unit is not None and unit in barred:
        place, slug = parent(unit[:12]), unit[13:]
        unit = f"{place}-{slug}" if place else None
    if unit is None or not exists(unit):
        if first in barred:
            return _no(document, rule, f"{first} must stand aside and nobody above it can take the case", stops=True)
        return _no(document, rule, f"{first} does not exist or is dissolved")
    resolved = dict.fromkeys(_resolve(pattern, facts.region) for pattern in rule.then.co_units)
    co_units = tuple(one for one in resolved if one != unit and one not in barred and exists(one))
    then, basis = rule.then, str(rule.basis)
    hit = RuleHit(rule.id, document.reference, unit, co_units, then.subject, then.severity, basis)
    return Verdict(rule.id, document.reference, hit, f"takes it: {basis}")
