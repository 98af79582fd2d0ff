"""Routing rules, and the choice of the rule that takes a case. Pure and deterministic.

A rule without points is firm: it takes a case as soon as its conditions hold, and the first one wins. The nearest
document comes first: a county's own rules before those of its city, its province and the nation.

Rules with points compete for what no firm rule takes. The words of the case give points; the best rule takes the case
when it leads every rule of another unit by the margin, else the triage desk decides. All documents compete together,
and a nearer rule stands in for an outer one of the same id.

A complaint never goes to the unit that it is about. The same department one centre higher takes it; where there is
none, the case waits at the triage desk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_serializer

from shared.case.base import Code, Level, parent, region_at
from shared.case.facts import (
    CO_UNITS_MAX,
    Severity,
)
from shared.reference.conditions import RoutingFacts, When, unmet
from shared.reference.row import BasisRow, CitedDocument, ReferenceRow, SubjectCode
from shared.reference.scoring import Points, WordPoints, by_points, matcher_of

MARGIN_DEFAULT = 20
POINT_WORDS_SHOWN_MAX = 8

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
    """One routing rule (clause 5.1.3 a: triage): firm, where the first wins, or with points, where the best wins."""

    id: Code
    when: RuleWhen = RuleWhen()
    points: Annotated[Points, Field(exclude_if=lambda points: not points)] = ()  # a firm rule is stored as ever
    then: RuleThen
    basis: BasisRow

    @field_serializer("points")
    def _points_as_written(self, points: Points) -> dict[str, list[str]]:
        return by_points(points)


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


class RulesDocument(CitedDocument, Protocol):
    """The part of a document of rules that the choice reads. `margin` in points; None when the document states none."""

    @property
    def margin(self) -> int | None: ...


@dataclass(frozen=True)
class RuleScore:
    """The points of one weighted rule for a case: the words that gave them, the weightiest first.

    `unit` is the unit that the rule names for the case. Rules of the same unit do not compete.
    """

    result: RuleResult
    unit: str
    subject: str | None
    words: tuple[WordPoints, ...]

    @property
    def points(self) -> int:
        return sum(word.total for word in self.words)


@dataclass(frozen=True)
class Ranking:
    """The weighted rules for a case, best first, and the margin in points by which the best must lead."""

    scores: tuple[RuleScore, ...]
    margin: int

    @property
    def lead(self) -> int:
        """The points by which the best rule leads those of other units; without a rival, its own points."""
        if not self.scores:
            return 0
        best = self.scores[0]
        rival = next((score.points for score in self.scores if score.unit != best.unit), 0)
        return best.points - max(rival, 0)

    @property
    def chosen(self) -> RuleScore | None:
        """The best rule when it leads by the margin; None when the triage desk decides."""
        return self.scores[0] if self.scores and self.lead >= self.margin else None


def route(rules: Iterable[RulesDocument], facts: RoutingFacts, exists: Callable[[str], bool]) -> RuleHit | None:
    """The rule that takes the case; None when the case waits at the triage desk.

    `rules` are documents of kind `rules`, nearest first; `exists` says whether a unit is there and active.
    """
    documents = tuple(rules)
    firm = next((result for result in _firm_results(documents, facts, exists) if result.hit or result.stops), None)
    if firm is not None:
        return firm.hit
    chosen = rank(documents, facts, exists).chosen
    return chosen.result.hit if chosen else None


def examine_rules(
    rules: Iterable[RulesDocument], facts: RoutingFacts, exists: Callable[[str], bool]
) -> Iterator[RuleResult]:
    """The result of every rule for a case: firm ones in order, then those with points, best first.

    At most one rule with points has a hit: the one that takes the case when no firm rule does.
    """
    documents = tuple(rules)
    yield from _firm_results(documents, facts, exists)
    ranking = rank(documents, facts, exists)
    for score in ranking.scores:
        result = replace(score.result, reason=explain(score, ranking))
        yield result if score is ranking.chosen else replace(result, hit=None, stops=False)
    scored = {score.result.rule for score in ranking.scores}
    for document, rule in _weighted(documents):
        if rule.id not in scored:
            yield _no_hit(document, rule, _unmet(rule.when, facts) or "none of its words stands in the text")


def rank(rules: Iterable[RulesDocument], facts: RoutingFacts, exists: Callable[[str], bool]) -> Ranking:
    """The weighted rules that have a word in the case and whose conditions hold, best first.

    The text of `facts` has the title on its first line.
    """
    documents = tuple(rules)
    title, _, text = facts.text.partition("\n")
    margin = next((document.margin for document in documents if document.margin is not None), MARGIN_DEFAULT)
    words_of = {id(document): matcher_of(document.rows).points(title, text) for document in documents}
    scores = []
    for document, rule in _weighted(documents):
        words = words_of[id(document)].get(rule.id)
        if words and _unmet(rule.when, facts) is None:
            result = _verdict(document, rule, facts, exists)
            scores.append(RuleScore(result, _resolve(rule.then.unit, facts.region), rule.then.subject, words))
    scores.sort(key=lambda score: (-score.points, score.unit, score.result.rule))
    return Ranking(tuple(scores), margin)


def _weighted(documents: Iterable[RulesDocument]) -> Iterator[tuple[RulesDocument, RuleRow]]:
    """The rules with points of all documents; the nearest of each id."""
    seen = set[str]()
    for document in documents:
        for rule in cast("tuple[RuleRow, ...]", document.rows):
            if rule.points and rule.id not in seen:
                seen.add(rule.id)
                yield document, rule


def explain(score: RuleScore, ranking: Ranking) -> str:
    """The points of a weighted rule, where it stands among the others, and the words that gave the points."""
    shown = ", ".join(str(word) for word in score.words[:POINT_WORDS_SHOWN_MAX])
    if len(score.words) > POINT_WORDS_SHOWN_MAX:
        shown += f" and {len(score.words) - POINT_WORDS_SHOWN_MAX} more"
    best = ranking.scores[0]
    if score is not best:
        standing = f"{best.points - score.points} behind {best.result.rule}"
    else:
        standing = f"leads by {ranking.lead}, margin {ranking.margin}"
        if ranking.chosen is None:
            standing += ": the triage desk decides"
    return f"{score.points} points, {standing} ({shown}); {score.result.reason}"


def _firm_results(
    documents: Iterable[RulesDocument], facts: RoutingFacts, exists: Callable[[str], bool]
) -> Iterator[RuleResult]:
    for document in documents:
        for rule in cast("tuple[RuleRow, ...]", document.rows):
            if not rule.points:
                reason = _unmet(rule.when, facts)
                yield _verdict(document, rule, facts, exists) if reason is None else _no_hit(document, rule, reason)


def _unmet(when: RuleWhen, facts: RoutingFacts) -> str | None:
    """The first condition of a rule that a case does not meet, in words; None when it meets all."""
    reason = unmet(when, facts)
    if reason is None and when.words:
        text = facts.text.lower()
        if not any(word in text for word in when.words):
            return "none of its words stands in the text"
    return reason


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
