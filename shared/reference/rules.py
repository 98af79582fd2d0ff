"""Routing rules, and the choice of the rule that takes a case. Pure and deterministic; the first match wins.

The nearest document comes first: a county's own rules before those of its city, its province and the nation. A
complaint never goes to the unit that it is about. The same department one centre higher takes it; where there is none,
the case waits at the triage desk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.case.base import Code, Level, parent, region_at
from shared.case.facts import (
    CO_UNITS_MAX,
    Severity,
)
from shared.reference.conditions import RoutingFacts, When, unmet
from shared.reference.row import BasisRow, CitedDocument, ReferenceRow, SubjectCode

Word = Annotated[str, StringConstraints(min_length=1, max_length=40, to_lower=True)]
UnitPattern = Annotated[
    str, StringConstraints(pattern=r"^([0-9]{12}|\{(province|city|county|township|village)\})-[a-z0-9-]{1,32}$")
]


class RuleWhen(When):
    """The conditions of a rule. One of `words` must stand in title or text, in upper or lower case."""

    words: Annotated[tuple[Word, ...], Field(max_length=200)] = ()


class RuleThen(BaseModel):
    """The unit that gets the case. `{county}-housing` is the housing department of the case's county."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: UnitPattern
    co_units: Annotated[tuple[UnitPattern, ...], Field(max_length=CO_UNITS_MAX)] = ()
    subject: SubjectCode | None = None
    severity: Severity | None = None


class RuleRow(ReferenceRow):
    """One routing rule. Rules are read in order and the first that matches wins (clause 5.1.3 a: triage)."""

    id: Code
    when: RuleWhen = RuleWhen()
    then: RuleThen
    basis: BasisRow


@dataclass(frozen=True)
class RuleHit:
    """The rule that takes a case, the document that it stands in, and its decision."""

    rule: str
    reference: str
    unit: str
    co_units: tuple[str, ...]
    subject: str | None
    severity: Severity | None
    basis: str


@dataclass(frozen=True)
class RuleResult:
    """The result of one rule for a case: its hit, or the reason why it does not take the case.

    `stops`: the rule matches, but every unit that it could give the case to is complained of; a person must decide.
    """

    rule: str
    reference: str
    hit: RuleHit | None
    reason: str
    stops: bool = False


def route(rules: Iterable[CitedDocument], facts: RoutingFacts, exists: Callable[[str], bool]) -> RuleHit | None:
    """The first rule that takes the case; None when the case waits at the triage desk.

    `rules` are documents of kind `rules`, nearest first; `exists` says whether a unit is there and active.
    """
    return next((verdict.hit for verdict in examine_rules(rules, facts, exists) if verdict.hit or verdict.stops), None)


def examine_rules(
    rules: Iterable[CitedDocument], facts: RoutingFacts, exists: Callable[[str], bool]
) -> Iterator[RuleResult]:
    """The result of every rule for a case, in order: for the triage desk and for the authors of rules."""
    text = facts.text.lower()
    for document in rules:
        for rule in cast("tuple[RuleRow, ...]", document.rows):
            reason = unmet(rule.when, facts)
            if reason is None and rule.when.words and not any(word in text for word in rule.when.words):
                reason = "none of its words stands in the text"
            yield _verdict(document, rule, facts, exists) if reason is None else _no_hit(document, rule, reason)


def _resolve(pattern: str, region: str) -> str:
    """The unit of a pattern, on the level of the pattern; on that of the case when the case began above it."""
    code, _, slug = pattern.partition("-")
    return f"{region_at(region, Level[code[1:-1].upper()]) if code.startswith('{') else code}-{slug}"


def _no_hit(document: CitedDocument, rule: RuleRow, reason: str, stops: bool = False) -> RuleResult:
    return RuleResult(rule.id, document.reference, None, reason, stops)


def _verdict(document: CitedDocument, rule: RuleRow, facts: RoutingFacts, exists: Callable[[str], bool]) -> RuleResult:
    """The result of a rule whose conditions hold."""
    barred = facts.stand_aside | ({facts.complained_unit} if facts.complained_unit else set())
    first = _resolve(rule.then.unit, facts.region)
    unit: str | None = first
    while unit is not None and unit in barred:
        above, slug = parent(unit[:12]), unit[13:]
        unit = f"{above}-{slug}" if above else None
    if unit is None or not exists(unit):
        if first in barred:
            return _no_hit(
                document, rule, f"{first} must stand aside and nobody above it can take the case", stops=True
            )
        return _no_hit(document, rule, f"{first} does not exist or is dissolved")
    resolved = dict.fromkeys(_resolve(pattern, facts.region) for pattern in rule.then.co_units)
    co_units = tuple(co_unit for co_unit in resolved if co_unit not in {unit, *barred} and exists(co_unit))
    then, basis = rule.then, str(rule.basis)
    hit = RuleHit(rule.id, document.reference, unit, co_units, then.subject, then.severity, basis)
    return RuleResult(rule.id, document.reference, hit, f"takes it: {basis}")
