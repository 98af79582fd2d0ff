"""Checks between documents: every code that one of them names must exist. Each finding contains a remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import time
from enum import StrEnum
from itertools import pairwise
from typing import Any

from shared.case.base import Level, level_of, parent
from shared.case.rights import Right, erasure_conflict, separation_conflict
from shared.reference.calendars import CalendarRow
from shared.reference.conditions import When
from shared.reference.documents import Document, DocumentKind
from shared.reference.ladders import DOUBLE_REPORT, Act, LadderRow
from shared.reference.limits import LimitRow
from shared.reference.people import PersonRow, PostRow
from shared.reference.reference_data import ReferenceData
from shared.reference.region_tree import RegionTree
from shared.reference.regions import NATION, RegionRow, lies_inside
from shared.reference.row import Mark
from shared.reference.rules import RuleRow
from shared.reference.subjects import SubjectRow
from shared.reference.units import GridRow, UnitRow

PLACES_SHOWN_MAX = 3
_ARTICLE = re.compile(r"第[0-9零一二三四五六七八九十百]+条")
_Lines = Mapping[tuple[str, str], tuple[str, int]]


class Gravity(StrEnum):
    """The weight of a finding. An error prevents publishing; a warning is for a person to judge."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class DocumentFinding:
    """A row that does not fit: its document and key, its file and line when known, a reason with a remedy."""

    gravity: Gravity
    document: str
    key: str
    reason: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        line = f"{self.file}:{self.line}: " if self.file else ""
        return f"{self.gravity}: {line}{self.document} {self.key}: {self.reason}"


def validate(
    documents: Iterable[Document], places: _Lines | None = None, regions: RegionTree | None = None
) -> list[DocumentFinding]:
    """All findings about documents that are to be in force together, in the order of the documents.

    `regions` are the regions in force, for documents that come without regions. `places` are the files and lines of
    rows, from loading.
    """
    documents = list(documents)
    check = _Check(ReferenceData(documents), regions)
    findings = [
        DocumentFinding(gravity, document.name, row.key, reason)
        for document in documents
        for row in document.rows
        for gravity, reason in check.row(document, row)
    ]
    return [_with_line(finding, places or {}) for finding in (*findings, *_whole(documents))]


def _with_line(finding: DocumentFinding, places: _Lines) -> DocumentFinding:
    file, line = places.get((finding.document, finding.key), ("", 0))
    return replace(finding, file=file, line=line)


_Reasons = Iterator[tuple[Gravity, str]]


class _Check:
    def __init__(self, reference_data: ReferenceData, regions: RegionTree | None) -> None:
        self.reference_data, self.outer = reference_data, regions
        self.seen: dict[tuple[DocumentKind, str], str] = {}
        self.centres: dict[Level, list[str]] = {level: [] for level in Level}
        for unit in self.reference_data.units():
            if unit.slug == "centre":
                self.centres[level_of(unit.region)].append(unit.region)

    def row(self, document: Document, row: Any) -> _Reasons:
        yield from self._once(document, row)
        yield from self._in_its_region(document, row)
        match row:
            case RegionRow():
                yield from self._region(row)
            case UnitRow():
                yield from self._unit(row)
            case PersonRow():
                yield from self._person(row)
            case PostRow():
                yield from self._post(row)
            case GridRow():
                yield from self._grid(row)
            case SubjectRow():
                if row.parent and self.reference_data.subject(row.parent) is None:
                    yield Gravity.ERROR, f"its parent {row.parent} is not in the tree; add it"
            case RuleRow():
                yield from self._rule(document, row)
            case LimitRow():
                yield from self._limit(row)
            case CalendarRow():
                yield from self._year(row)
            case LadderRow():
                yield from self._rung(row)

    def _year(self, row: CalendarRow) -> _Reasons:
        if row.published and not row.holidays:
            yield Gravity.WARNING, "no day of it is off; leave the year out until its notice is published"
        for hours in (row.hours, *row.opening.by_season.values()):
            for opens, closes in hours:
                if time.min < closes < opens:
                    text = f"the office opens at {opens:%H:%M} and closes over midnight, at {closes:%H:%M}"
                    yield Gravity.WARNING, f"{text} of the next day; correct the hours if that is not meant"

    def _in_its_region(self, document: Document, row: Any) -> _Reasons:
        if document.kind in _WITHOUT_REGION:
            if row is document.rows[0] and document.region != NATION and not self.known(document.region):
                yield Gravity.WARNING, f"region {document.region} is in no document of regions: no case asks for it"
            return
        region = row.code if isinstance(row, RegionRow) else row.region
        if not lies_inside(document.region, region):
            yield Gravity.ERROR, f"lies outside {document.region}; move it to the document of its own region"
        if not self.known(region):
            yield Gravity.ERROR, f"region {region} is in no document of regions; correct the code or add the region"

    def known(self, region: str) -> bool:
        return region in self.reference_data.regions or (self.outer is not None and region in self.outer)

    def _once(self, document: Document, row: Any) -> _Reasons:
        if document.kind in _CITED_WHOLE:
            return
        other = self.seen.setdefault((document.kind, row.key), document.name)
        if other != document.name:
            yield Gravity.ERROR, f"stands in {other} too; keep it in one of them"

    def _region(self, row: RegionRow) -> _Reasons:
        outer = parent(row.code)
        while outer is not None and not self.known(outer):
            outer = parent(outer)
        if outer is None and level_of(row.code) is not Level.PROVINCE:
            yield Gravity.ERROR, "no region above it is in the documents; add its province, city and county"
        for successor in row.successors:
            if not self.known(successor):
                yield Gravity.ERROR, f"its successor {successor} is in no document of regions; add it"

    def _unit(self, row: UnitRow) -> _Reasons:
        if row.slug == "centre" or row.slug.startswith("grid"):
            yield Gravity.ERROR, "a centre or grid is a unit by itself; list it in centres or grids only"

    def _post(self, row: PostRow) -> _Reasons:
        """A post that was published before this rule is read all the same, but erases nothing (kit/access.py)."""
        if reason := erasure_conflict(frozenset(row.rights)):
            yield Gravity.ERROR, reason

    def _person(self, row: PersonRow) -> _Reasons:
        unit, post = self.reference_data.unit(row.unit), self.reference_data.post(row.post)
        if unit is None:
            yield Gravity.ERROR, f"unit {row.unit} does not exist; add it to units or correct the code"
        elif row.active and not unit.active:
            yield Gravity.WARNING, f"unit {row.unit} is dissolved; hand the person's cases over and move the person"
        if not lies_inside(row.unit[:12], row.region):
            yield Gravity.ERROR, f"region {row.region} lies outside {row.unit[:12]}, the region of the unit"
        if post is None:
            yield Gravity.ERROR, f"post {row.post} does not exist; add it to posts or correct the code"
        elif post.levels and level_of(row.unit[:12]) not in post.levels:
            yield Gravity.ERROR, f"post {row.post} does not exist at this level; choose another or widen its levels"
        yield from self._deputy(row)
        for other in row.stands_aside_from:
            if self.reference_data.unit(other) is None and self.reference_data.person(other) is None:
                yield Gravity.WARNING, f"stands aside from {other}, which is neither a unit nor a person"

    def _deputy(self, row: PersonRow) -> _Reasons:
        chain, deputy = [row.id], row.deputy
        while deputy is not None:
            if deputy in chain:
                if deputy == row.id:
                    circle = " → ".join([*chain, deputy])
                    yield Gravity.ERROR, f"deputies go round: {circle}; let one of them have none"
                return
            person = self.reference_data.person(deputy)
            if person is None:
                if deputy == row.deputy:
                    yield Gravity.ERROR, f"deputy {deputy} is not a person of the documents; add them or name another"
                return
            if deputy == row.deputy and self._kept_apart(row, person):
                reason = f"deputy {deputy} has powers that are kept apart from those of {row.post} (clause 9.5 b)"
                yield Gravity.WARNING, f"{reason} and does not stand in; name another"
            if deputy == row.deputy and not person.active:
                yield Gravity.WARNING, f"deputy {deputy} is not active; name another"
            chain.append(deputy)
            deputy = person.deputy

    def _kept_apart(self, row: PersonRow, deputy: PersonRow) -> bool:
        posts = self.reference_data.post(row.post), self.reference_data.post(deputy.post)
        rights = frozenset(right for post in posts if post for right in post.rights)
        return (separation_conflict(rights) or erasure_conflict(rights)) is not None

    def _grid(self, row: GridRow) -> _Reasons:
        if level_of(row.region) is not Level.VILLAGE:
            yield Gravity.ERROR, f"{row.region} is not a village; a grid's code is its village's and three digits"
        for worker in row.workers:
            person = self.reference_data.person(worker)
            if person is None:
                yield Gravity.ERROR, f"worker {worker} is not a person of the documents; add them"
            elif not person.active:
                yield Gravity.WARNING, f"worker {worker} is not active; name another (clause 11.7)"
        for warning in row.warnings():
            yield Gravity.WARNING, warning

    def _rule(self, document: Document, row: RuleRow) -> _Reasons:
        yield from self._when(row.when)
        if row.then.subject and self.reference_data.subject(row.then.subject) is None:
            yield Gravity.ERROR, f"subject {row.then.subject} is not in the tree; add it or correct the code"
        for pattern in (row.then.unit, *row.then.co_units):
            code, _, slug = pattern.partition("-")
            if not code.startswith("{"):
                if not self.reference_data.has_unit(pattern):
                    yield Gravity.ERROR, f"unit {pattern} does not exist or is dissolved; correct the code"
                continue
            level = Level[code[1:-1].upper()]
            centres = [region for region in self.centres[level] if _reaches(document, row, region)]
            missing = [region for region in centres if not self.reference_data.has_unit(f"{region}-{slug}")]
            if len(missing) == len(centres):
                yield (
                    Gravity.ERROR,
                    f"{pattern} names no unit anywhere in {document.region}; correct it or add the unit",
                )
            elif missing:
                shown = ", ".join(sorted(missing)[:PLACES_SHOWN_MAX])
                yield Gravity.WARNING, f"{len(missing)} places lack {slug} ({shown} ...): there the rule takes no case"

    def _when(self, when: When) -> _Reasons:
        for subject in when.subject:
            if self.reference_data.subject(subject) is None:
                yield Gravity.ERROR, f"subject {subject} is not in the tree; add it or correct the code"
        for prefix in when.region:
            if not self.known(prefix.ljust(12, "0")):
                yield Gravity.ERROR, f"region {prefix} is in no document of regions; correct it"

    def _limit(self, row: LimitRow) -> _Reasons:
        yield from self._when(row.when)
        if row.basis.mark is Mark.LAW and not _ARTICLE.search(row.basis.text):
            yield Gravity.WARNING, "is marked as law and names no article; write `某条例 第十四条`, or mark it C"
        post = self.reference_data.post(row.extend_by) if row.extend_by else None
        if row.extend_by and (post is None or Right.EXTEND not in post.rights):
            yield (
                Gravity.ERROR,
                f"post {row.extend_by} does not exist or may not extend; name one with the right extend",
            )

    def _rung(self, row: LadderRow) -> _Reasons:
        yield from self._when(row.when)
        if row.act is Act.ESCALATE and (missing := DOUBLE_REPORT - set(row.informs)):
            yield Gravity.WARNING, f"goes up but does not inform {', '.join(sorted(missing))}; add them (clause 11.2)"


def _reaches(document: Document, rule: RuleRow, region: str) -> bool:
    prefixes = rule.when.region
    within = not prefixes or any(
        region.startswith(prefix) or lies_inside(region, prefix.ljust(12, "0")) for prefix in prefixes
    )
    return within and (lies_inside(document.region, region) or lies_inside(region, document.region))


def _whole(documents: list[Document]) -> Iterator[DocumentFinding]:
    """The findings that need all rows of a kind together."""
    held_posts = {
        row.post
        for document in documents
        if document.kind is DocumentKind.PEOPLE
        for row in document.rows
        if row.active
    }
    for document in documents:
        if document.kind is DocumentKind.POSTS:
            for row in document.rows:
                if row.code not in held_posts:
                    reason = "nobody holds this post; appoint at least one person (clause 12.1)"
                    yield DocumentFinding(Gravity.WARNING, document.name, row.code, reason)
        elif document.kind in _HIDES:
            yield from _hidden(document)
        if document.kind is DocumentKind.LADDERS:
            for ladder in _ladders(document):
                yield from _rungs_in_order(document, ladder)


def _hidden(document: Document) -> Iterator[DocumentFinding]:
    """Rows that never apply, because an earlier row takes all of their cases."""
    hides, rows = _HIDES[document.kind], document.rows
    for index, row in enumerate(rows):
        first = next((other for other in rows[:index] if hides(other, row)), None)
        if first is not None:
            reason = f"{first.key} stands before it and covers all of its cases; put it first or remove it"
            yield DocumentFinding(Gravity.WARNING, document.name, row.key, reason)


def _hides_limit(first: LimitRow, row: LimitRow) -> bool:
    """A limit of the law applies even after a custom one, and a special one after a general one."""
    row_is_law, first_is_law = (limit.basis.mark is Mark.LAW for limit in (row, first))
    applies = row_is_law and (not first_is_law or first.when.general)
    return first.stage is row.stage and first.when.covers(row.when) and not applies


def _hides_ladder(first: LadderRow, row: LadderRow) -> bool:
    stages = not first.stages or (bool(row.stages) and set(row.stages) <= set(first.stages))
    return stages and first.when.covers(row.when) and first.conditions != row.conditions


_HIDES: dict[DocumentKind, Callable[[Any, Any], bool]] = {
    DocumentKind.RULES: lambda first, row: first.when == row.when and not (first.points or row.points),
    DocumentKind.LIMITS: _hides_limit,
    DocumentKind.LADDERS: _hides_ladder,
}


def _ladders(document: Document) -> Iterable[list[LadderRow]]:
    ladders: dict[Any, list[LadderRow]] = {}
    for row in document.rows:
        ladders.setdefault(row.conditions, []).append(row)
    return ladders.values()


def _rungs_in_order(document: Document, ladder: list[LadderRow]) -> Iterator[DocumentFinding]:
    """Findings about the order of rungs, and about a last rung that does not repeat."""
    for lower, row in pairwise(ladder):
        if row.base is not lower.base:
            reason = f"counts in {row.base}, {lower.key} before it in {lower.base}; one ladder has one base"
            yield DocumentFinding(Gravity.ERROR, document.name, row.key, reason)
        elif row.after <= lower.after:
            reason = f"after {row.after} is not more than the {lower.after} of {lower.key}; each rung comes later"
            yield DocumentFinding(Gravity.ERROR, document.name, row.key, reason)
        if lower.every:
            reason = f"repeats without end, so {row.key} is never reached; only the last rung may have `every`"
            yield DocumentFinding(Gravity.ERROR, document.name, lower.key, reason)
    if not ladder[-1].every:
        reason = "is the last rung and does not repeat, so nothing follows for a stage that stays late; give it `every`"
        yield DocumentFinding(Gravity.WARNING, document.name, ladder[-1].key, reason)


# Kinds whose rows are cited with their document, so that several documents may have rows of the same key.
_CITED_WHOLE = frozenset(
    {DocumentKind.RULES, DocumentKind.LIMITS, DocumentKind.LADDERS, DocumentKind.PROPOSALS, DocumentKind.CALENDARS}
)
_WITHOUT_REGION = frozenset({DocumentKind.POSTS, DocumentKind.SUBJECTS}) | _CITED_WHOLE
