"""Routing rules, and which rule takes a case: pure, deterministic, the first match wins.

The documents are asked nearest first: a county's own rules before its city's, its province's and the nation's. A
complaint never goes to the unit it complains of: the same department one centre higher takes it, or nobody by rule.
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
    """`words`: one of them stands in title or text, whatever its case."""

    words: Annotated[tuple[Word, ...], Field(max_length=200)] = ()


class RuleThen(BaseModel):
    """Who gets it: `{county}-housing` is the housing department of the case's county."""

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
    """The rule that took the case, the document it stands in, and what it says."""

    rule: str
    reference: str
    unit: str
    co_units: tuple[str, ...]
    subject: str | None
    severity: Severity | None
    basis: str


@dataclass(frozen=True)
class RuleVerdict:
    """What one rule said to a case: its hit, or why it does not match.

    `stops`: the rule would take the case, but only those complained of could have it; a person must look.
    """

    rule: str
    reference: str
    hit: RuleHit | None
    reason: str
    stops: bool = False


def route(rules: Iterable[CitedDocument], facts: RoutingFacts, exists: Callable[[str], bool]) -> RuleHit | None:
    """The first rule that takes the case, None when it waits at the triage desk.

    `rules` are documents of kind `rules`, nearest first; `exists` says whether a unit is there and active.
    """
    return next((verdict.hit for verdict in examine_rules(rules, facts, exists) if verdict.hit or verdict.stops), None)


def examine_rules(
    rules: Iterable[CitedDocument], facts: RoutingFacts, exists: Callable[[str], bool]
) -> Iterator[RuleVerdict]:
    """What every rule says to the case, in order: for the triage desk and for whoever writes rules."""
    text = facts.text.lower()
    for document in rules:
        for rule in cast("tuple[RuleRow, ...]", document.rows):
            reason = unmet(rule.when, facts)
            if reason is None and rule.when.words and not any(word in text for word in rule.when.words):
                reason = "none of its words stands in the text"
            yield _verdict(document, rule, facts, exists) if reason is None else _no(document, rule, reason)


def _resolve(pattern: str, region: str) -> str:
    """The unit of a pattern: a case that began above the pattern's level goes to its own level's department."""
    place, _, slug = pattern.partition("-")
    return f"{region_at(region, Level[place[1:-1].upper()]) if place.startswith('{') else place}-{slug}"


def _no(document: CitedDocument, rule: RuleRow, reason: str, stops: bool = False) -> RuleVerdict:
    return RuleVerdict(rule.id, document.reference, None, reason, stops)


def _verdict(document: CitedDocument, rule: RuleRow, facts: RoutingFacts, exists: Callable[[str], bool]) -> RuleVerdict:
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
    return RuleVerdict(rule.id, document.reference, hit, f"takes it: {basis}")
