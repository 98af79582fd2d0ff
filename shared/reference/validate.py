"""Whether documents fit together: every code that one names, another has. Each finding says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from shared.case.base import Level, level_of, parent
from shared.case.rights import Right
from shared.reference.calendars import CalendarRow
from shared.reference.library import ReferenceData
from shared.reference.models import (
    NATION,
    Document,
    GridRow,
    Kind,
    LimitRow,
    PersonRow,
    RegionRow,
    RuleRow,
    SubjectRow,
    UnitRow,
    inside,
)
from shared.reference.models_time import DOUBLE_REPORT, Act, LadderRow
from shared.reference.regions import RegionTree
from shared.reference.row import Mark, When

PLACES_SHOWN_MAX = 3
_ARTICLE = re.compile(r"第[0-9零一二三四五六七八九十百]+条")
_Places = Mapping[tuple[str, str], tuple[str, int]]


class Gravity(StrEnum):
    """An error keeps documents from being published; a warning is for a person to judge."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """What does not fit: the document, the key of its row, file and line when known, and what to do."""

    gravity: Gravity
    document: str
    key: str
    reason: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        return f"{self.gravity}: {place}{self.document} {self.key}: {self.reason}"


def validate(
    documents: Iterable[Document], places: _Places | None = None, regions: RegionTree | None = None
) -> list[Finding]:
    """Everything that is wrong between documents, in their order.

    Give all documents that are to be in force together; `regions` are those in force when the documents bring none of
    their own, `places` the files and lines from loading.
    """
    documents = list(documents)
    check = _Check(ReferenceData(documents), regions)
    found = [
        Finding(gravity, document.name, row.key, reason)
        for document in documents
        for row in document.rows
        for gravity, reason in check.row(document, row)
    ]
    return [_found(finding, places or {}) for finding in (*found, *_whole(documents))]


def _found(finding: Finding, places: _Places) -> Finding:
    file, line = places.get((finding.document, finding.key), ("", 0))
    return replace(finding, file=file, line=line)


_Said = Iterator[tuple[Gravity, str]]


class _Check:
    def __init__(self, library: ReferenceData, regions: RegionTree | None) -> None:
        self.library, self.outer = library, regions
        self.seen: dict[tuple[Kind, str], str] = {}
        self.centres: dict[Level, list[str]] = {level: [] for level in Level}
        for unit in self.library.units():
            if unit.slug == "centre":
                self.centres[level_of(unit.region)].append(unit.region)

    def row(self, document: Document, row: Any) -> _Said:
        yield from self._once(document, row)
        yield from self._placed(document, row)
        match row:
            case RegionRow():
                yield from self._region(row)
            case UnitRow():
                if row.slug == "centre" or row.slug.startswith("grid"):
                    yield Gravity.ERROR, "a centre or grid is a unit by itself; list it in centres or grids only"
            case PersonRow():
                yield from self._person(row)
            case GridRow():
                yield from self._grid(row)
            case SubjectRow():
                if row.parent and self.library.subject(row.parent) is None:
                    yield Gravity.ERROR, f"its parent {row.parent} is not in the tree; add it"
            case RuleRow():
                yield from self._rule(document, row)
            case LimitRow():
                yield from self._limit(row)
            case CalendarRow():
                yield from self._year(row)
            case LadderRow():
                yield from self._rung(row)

    def _year(self, row: CalendarRow) -> _Said:
        if row.published and not row.holidays:
            yield Gravity.WARNING, "no day of it is off; leave the year out until its notice is published"

    def _placed(self, document: Document, row: Any) -> _Said:
        if document.kind in _WITHOUT_REGION:
            if row is document.rows[0] and document.region != NATION and not self.known(document.region):
                yield Gravity.WARNING, f"region {document.region} is in no document of regions: no case asks for it"
            return
        place = row.code if isinstance(row, RegionRow) else row.region
        if not inside(document.region, place):
            yield Gravity.ERROR, f"lies outside {document.region}; move it to the document of its own region"
        if not self.known(place):
            yield Gravity.ERROR, f"region {place} is in no document of regions; correct the code or add the region"

    def known(self, region: str) -> bool:
        return region in self.library.regions or (self.outer is not None and region in self.outer)

    def _once(self, document: Document, row: Any) -> _Said:
        if document.kind in _CITED_WHOLE:
            return
        other = self.seen.setdefault((document.kind, row.key), document.name)
        if other != document.name:
            yield Gravity.ERROR, f"stands in {other} too; keep it in one of them"

    def _region(self, row: RegionRow) -> _Said:
        outer = parent(row.code)
        while outer is not None and not self.known(outer):
            outer = parent(outer)
        if outer is None and level_of(row.code) is not Level.PROVINCE:
            yield Gravity.ERROR, "no region above it is in the documents; add its province, city and county"
        for successor in row.successors:
            if not self.known(successor):
                yield Gravity.ERROR, f"its successor {successor} is in no document of regions; add it"

    def _person(self, row: PersonRow) -> _Said:
        unit, post = self.library.unit(row.unit), self.library.post(row.post)
        if unit is None:
            yield Gravity.ERROR, f"unit {row.unit} does not exist; add it to units or correct the code"
        elif row.active and not unit.active:
            yield Gravity.WARNING, f"unit {row.unit} is dissolved; hand the person's cases over and move the person"
        if not inside(row.unit[:12], row.region):
            yield Gravity.ERROR, f"region {row.region} lies outside {row.unit[:12]}, the region of the unit"
        if post is None:
            yield Gravity.ERROR, f"post {row.post} does not exist; add it to posts or correct the code"
        elif post.levels and level_of(row.unit[:12]) not in post.levels:
            yield Gravity.ERROR, f"post {row.post} does not exist at this level; choose another or widen its levels"
        yield from self._deputy(row)
        for other in row.stands_aside_from:
            if self.library.unit(other) is None and self.library.person(other) is None:
                yield Gravity.WARNING, f"stands aside from {other}, which is neither a unit nor a person"

    def _deputy(self, row: PersonRow) -> _Said:
        chain, at = [row.id], row.deputy
        while at is not None:
            if at in chain:
                if at == row.id:
                    yield Gravity.ERROR, f"deputies go round: {' → '.join([*chain, at])}; let one of them have none"
                return
            person = self.library.person(at)
            if person is None:
                if at == row.deputy:
                    yield Gravity.ERROR, f"deputy {at} is not a person of the documents; add them or name another"
                return
            if at == row.deputy and not person.active:
                yield Gravity.WARNING, f"deputy {at} is not active; name another"
            chain.append(at)
            at = person.deputy

    def _grid(self, row: GridRow) -> _Said:
        if level_of(row.region) is not Level.VILLAGE:
            yield Gravity.ERROR, f"{row.region} is not a village; a grid's code is its village's and three digits"
        for worker in row.workers:
            person = self.library.person(worker)
            if person is None:
                yield Gravity.ERROR, f"worker {worker} is not a person of the documents; add them"
            elif not person.active:
                yield Gravity.WARNING, f"worker {worker} is not active; name another (clause 11.7)"
        for warning in row.warnings():
            yield Gravity.WARNING, warning

    def _rule(self, document: Document, row: RuleRow) -> _Said:
        yield from self._when(row.when)
        if row.then.subject and self.library.subject(row.then.subject) is None:
            yield Gravity.ERROR, f"subject {row.then.subject} is not in the tree; add it or correct the code"
        for pattern in (row.then.unit, *row.then.co_units):
            place, _, slug = pattern.partition("-")
            if not place.startswith("{"):
                if not self.library.has_unit(pattern):
                    yield Gravity.ERROR, f"unit {pattern} does not exist or is dissolved; correct the code"
                continue
            level = Level[place[1:-1].upper()]
            centres = [region for region in self.centres[level] if _reaches(document, row, region)]
            missing = [region for region in centres if not self.library.has_unit(f"{region}-{slug}")]
            if len(missing) == len(centres):
                yield (
                    Gravity.ERROR,
                    f"{pattern} names no unit anywhere in {document.region}; correct it or add the unit",
                )
            elif missing:
                shown = ", ".join(sorted(missing)[:PLACES_SHOWN_MAX])
                yield Gravity.WARNING, f"{len(missing)} places lack {slug} ({shown} ...): there the rule takes no case"

    def _when(self, when: When) -> _Said:
        for subject in when.subject:
            if self.library.subject(subject) is None:
                yield Gravity.ERROR, f"subject {subject} is not in the tree; add it or correct the code"
        for prefix in when.region:
            if not self.known(prefix.ljust(12, "0")):
                yield Gravity.ERROR, f"region {prefix} is in no document of regions; correct it"

    def _limit(self, row: LimitRow) -> _Said:
        yield from self._when(row.when)
        if row.basis.mark is Mark.LAW and not _ARTICLE.search(row.basis.text):
            yield Gravity.WARNING, "is marked as law and names no article; write `某条例 第十四条`, or mark it C"
        post = self.library.post(row.extend_by) if row.extend_by else None
        if row.extend_by and (post is None or Right.EXTEND not in post.rights):
            yield (
                Gravity.ERROR,
                f"post {row.extend_by} does not exist or may not extend; name one with the right extend",
            )

    def _rung(self, row: LadderRow) -> _Said:
        yield from self._when(row.when)
        if row.act is Act.ESCALATE and (missing := DOUBLE_REPORT - set(row.informs)):
            yield Gravity.WARNING, f"goes up but does not inform {', '.join(sorted(missing))}; add them (clause 11.2)"


def _reaches(document: Document, rule: RuleRow, region: str) -> bool:
    prefixes = rule.when.region
    inner = not prefixes or any(region.startswith(one) or inside(region, one.ljust(12, "0")) for one in prefixes)
    return inner and (inside(document.region, region) or inside(region, document.region))


def _whole(documents: list[Document]) -> Iterator[Finding]:
    """What only all rows of a kind together can say."""
    held = {row.post for document in documents if document.kind is Kind.PEOPLE for row in document.rows if row.active}
    for document in documents:
        if document.kind is Kind.POSTS:
            for row in document.rows:
                if row.code not in held:
                    reason = "nobody holds this post; appoint at least one person (clause 12.1)"
                    yield Finding(Gravity.WARNING, document.name, row.code, reason)
        elif document.kind in _HIDES:
            yield from _hidden(document)
        if document.kind is Kind.LADDERS:
            for ladder in _ladders(document):
                yield from _climbed(document, ladder)


def _hidden(document: Document) -> Iterator[Finding]:
    """Rows that an earlier one leaves no case to."""
    hides, rows = _HIDES[document.kind], document.rows
    for at, row in enumerate(rows):
        first = next((other for other in rows[:at] if hides(other, row)), None)
        if first is not None:
            reason = (
                f"{first.key} stands before it and is for all that it is for: never used; put it first or remove it"
            )
            yield Finding(Gravity.WARNING, document.name, row.key, reason)


def _hides_limit(first: LimitRow, row: LimitRow) -> bool:
    """The law's own limit is asked even after a custom one, and its special one after its general one."""
    lawful, before = (one.basis.mark is Mark.LAW for one in (row, first))
    asked = lawful and (not before or first.when.general)
    return first.stage is row.stage and first.when.covers(row.when) and not asked


def _hides_ladder(first: LadderRow, row: LadderRow) -> bool:
    stages = not first.stages or (bool(row.stages) and set(row.stages) <= set(first.stages))
    return stages and first.when.covers(row.when) and first.conditions != row.conditions


_HIDES: dict[Kind, Callable[[Any, Any], bool]] = {
    Kind.RULES: lambda first, row: first.when == row.when,
    Kind.LIMITS: _hides_limit,
    Kind.LADDERS: _hides_ladder,
}


def _ladders(document: Document) -> Iterable[list[LadderRow]]:
    ladders: dict[Any, list[LadderRow]] = {}
    for row in document.rows:
        ladders.setdefault(row.conditions, []).append(row)
    return ladders.values()


def _climbed(document: Document, ladder: list[LadderRow]) -> Iterator[Finding]:
    """Whether one rung comes after the other, and something after the last."""
    for lower, row in pairwise(ladder):
        if row.base is not lower.base:
            reason = f"counts in {row.base}, {lower.key} before it in {lower.base}; one ladder has one base"
            yield Finding(Gravity.ERROR, document.name, row.key, reason)
        elif row.after <= lower.after:
            reason = f"after {row.after} is not more than the {lower.after} of {lower.key}; each rung comes later"
            yield Finding(Gravity.ERROR, document.name, row.key, reason)
        if lower.every:
            reason = f"repeats for ever, so {row.key} is never reached; only the last rung may have `every`"
            yield Finding(Gravity.ERROR, document.name, lower.key, reason)
    if not ladder[-1].every:
        reason = "is the last rung and does not repeat: what stays late after it is late in silence; give it `every`"
        yield Finding(Gravity.WARNING, document.name, ladder[-1].key, reason)


# Their rows are cited together with their document, so each document may have the same ones.
_CITED_WHOLE = frozenset({Kind.RULES, Kind.LIMITS, Kind.LADDERS, Kind.PROPOSALS, Kind.CALENDARS})
_WITHOUT_REGION = frozenset({Kind.POSTS, Kind.SUBJECTS}) | _CITED_WHOLE
