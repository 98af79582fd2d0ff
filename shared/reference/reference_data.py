"""The documents in force, read from the REFERENCE stream and kept current, with look-ups by code and by region."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from shared.case.base import Owner
from shared.case.calendar import Calendar
from shared.case.facts import Stage
from shared.log import topology
from shared.reference.calendars import calendar_of
from shared.reference.codec import decode_document, decode_head
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document, DocumentKind
from shared.reference.limits import LimitChoice, choose_limit
from shared.reference.people import Barred, PersonRow, PostRow, nobody_barred
from shared.reference.proposals import Consequence, Proposal, ProposalRow
from shared.reference.reference_stream import ReferenceMessage, ReferenceStream
from shared.reference.region_tree import RegionTree
from shared.reference.regions import NATION, enclosing_regions
from shared.reference.subjects import SubjectRow
from shared.reference.units import CentreRow, GridRow, UnitKind, UnitRow

# Each event cites the documents of these kinds that are in force: rights, people, units, rules and limits. A deadline
# cites its calendar by itself. Only events of supervision cite ladders, since supervision alone decides by them.
CITED = (DocumentKind.POSTS, DocumentKind.PEOPLE, DocumentKind.UNITS, DocumentKind.RULES, DocumentKind.LIMITS)
CITED_BY: dict[Owner | None, tuple[DocumentKind, ...]] = {Owner.SUPERVISION: (*CITED, DocumentKind.LADDERS)}
VERSIONS_CACHED_COUNT_MAX = 64  # old versions that somebody has looked up
LIMITS_CACHED_COUNT_MAX = 4096  # choices by stage and facts; each document that comes into force empties them
_CITATION = re.compile(r"([a-z]+):([0-9]{12})@([0-9]{1,18})")

_log = logging.getLogger(__name__)


class NoDocument(LookupError):
    """No document of that kind is in force for the region."""


class ReferenceData:
    """The documents in force. Look-ups are synchronous and cheap; `load`, `follow`, `version` wait for the stream."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self.regions = RegionTree()
        self.sequence = 0
        self.refused: dict[str, str] = {}  # document name -> fault of its newest version
        self._documents: dict[tuple[DocumentKind, str], Document] = {}
        self._rows: dict[DocumentKind, dict[str, Any]] = {kind: {} for kind in DocumentKind}
        self._units: dict[str, UnitRow] = {}
        self._people_of: dict[str, list[PersonRow]] = {}
        self._people_with: dict[str, list[PersonRow]] = {}  # by deputy
        self._references: dict[tuple[str, Owner | None], tuple[str, ...]] = {}
        self._limits: dict[tuple[Stage, RoutingFacts], LimitChoice | None] = {}
        self.calendar_version = 0  # sequence of the newest document of calendars; grows when one changes
        self._calendars: dict[str, Calendar] = {}
        self._versions: dict[str, Document] = {}
        for document in documents:
            self.put(document)

    async def load(self, stream: ReferenceStream) -> None:
        """Read the stream up to its present end. Raises LogUnavailable."""
        end = await stream.end(topology.REFERENCE)
        if self.sequence < end:
            async with aclosing(stream.follow_raw(topology.REFERENCE, ">", self.sequence)) as batches:
                async for batch in batches:
                    self._take(batch)
                    if self.sequence >= end:
                        return

    async def follow(self, stream: ReferenceStream) -> None:
        """Read documents as they are published; never returns. Raises LogUnavailable."""
        async with aclosing(stream.follow_raw(topology.REFERENCE, ">", self.sequence)) as batches:
            async for batch in batches:
                self._take(batch)

    def _take(self, batch: Iterable[ReferenceMessage]) -> None:
        for message in batch:
            _, kind, region = message.subject.split(".", 2)
            try:
                if kind not in set(DocumentKind):
                    raise ValueError(f"kind {kind!r} is newer than this program; update it")
                regions = kind == DocumentKind.REGIONS
                document = (decode_head if regions else decode_document)(message.data, message.sequence)
                if document.name != f"{kind}:{region}":
                    raise ValueError(f"it says that it is {document.name}")
                if regions:
                    self._put_regions(document, message.data)
                else:
                    self.put(document)
            except ValueError as error:
                self.refused[f"{kind}:{region}"] = str(error)
                facts = {"document": f"{kind}:{region}@{message.sequence}"}
                _log.error("a document is refused, the one before stays in force", extra={"attributes": facts})
            self.sequence = message.sequence

    def put(self, document: Document) -> None:
        """Put a document in force, in place of the one with the same kind and region."""
        if document.kind is DocumentKind.REGIONS:
            self._put_regions(document.model_copy(update={"rows": ()}), document.encode())
            return
        key = (document.kind, document.region)
        self.refused.pop(document.name, None)
        self._references.clear()
        self._limits.clear()
        if document.kind is DocumentKind.CALENDARS:
            self._calendars.clear()
            self.calendar_version = max(self.calendar_version, document.sequence)
        replaced = self._documents.get(key)
        self._documents[key] = document
        rows = self._rows[document.kind]
        for row_key, row in (replaced.by_key if replaced else {}).items():
            if rows.get(row_key) is row:
                del rows[row_key]
        rows.update(document.by_key)
        if document.kind in (DocumentKind.UNITS, DocumentKind.CENTRES, DocumentKind.GRIDS):
            self._index_units()
        elif document.kind is DocumentKind.PEOPLE:
            self._people_of, self._people_with = {}, {}
            for person in self._rows[DocumentKind.PEOPLE].values():
                self._people_of.setdefault(person.unit, []).append(person)
                if person.deputy is not None:
                    self._people_with.setdefault(person.deputy, []).append(person)

    def _put_regions(self, head: Document, data: bytes) -> None:
        """The tree keeps the rows of regions, compressed; the document is kept without them, for citations."""
        self.regions.put_encoded(head.region, data)
        self._documents[head.kind, head.region] = head
        self.refused.pop(head.name, None)

    def _index_units(self) -> None:
        self._units = dict(self._rows[DocumentKind.UNITS])
        for row in self._rows[DocumentKind.CENTRES].values():
            self._units[row.unit] = UnitRow(code=row.unit, name=row.name, kind=UnitKind.CENTRE)
        for row in self._rows[DocumentKind.GRIDS].values():
            self._units[row.unit] = UnitRow(code=row.unit, name=row.name, kind=UnitKind.GRID)

    def chain(self, kind: DocumentKind, region: str) -> tuple[Document, ...]:
        """The documents of a kind that hold for a region, nearest first: county, city, province, nation."""
        documents = (self._documents.get((kind, code)) for code in enclosing_regions(region))
        return tuple(document for document in documents if document is not None)

    def document(self, kind: DocumentKind, region: str) -> Document | None:
        """The nearest document of a kind for a region."""
        return next(iter(self.chain(kind, region)), None)

    def documents(self) -> list[Document]:
        """All documents in force; those of regions come without rows."""
        return list(self._documents.values())

    def reference(self, kind: DocumentKind | str, region: str) -> str:
        """The citation of the nearest document, as `rules:510104000000@17`. Raises NoDocument."""
        document = self.document(DocumentKind(kind), region)
        if document is None:
            raise NoDocument(f"no {kind} are in force for {region} or above; publish them with `caseflow reference`")
        return document.reference

    def references(self, region: str, owner: Owner | None = None) -> tuple[str, ...]:
        """The citations that stand on each event of this service in this region."""
        key = (region, owner)
        if key not in self._references:
            nearest = (self.document(kind, region) for kind in CITED_BY.get(owner, CITED))
            self._references[key] = tuple(document.reference for document in nearest if document)
        return self._references[key]

    def rules(self, region: str) -> tuple[Document, ...]:
        """The routing rules for a region, nearest document first."""
        return self.chain(DocumentKind.RULES, region)

    def limits(self, region: str) -> tuple[Document, ...]:
        """The time limits for a region, nearest document first."""
        return self.chain(DocumentKind.LIMITS, region)

    def limit(self, stage: Stage, facts: RoutingFacts) -> LimitChoice | None:
        """The time limit of a stage of a case with these facts, None when none is set."""
        key = (stage, facts)
        if key not in self._limits:
            if len(self._limits) >= LIMITS_CACHED_COUNT_MAX:
                self._limits.clear()
            self._limits[key] = choose_limit(self.limits(facts.region), stage, facts)
        return self._limits[key]

    def ladders(self, region: str) -> tuple[Document, ...]:
        """The ladders for a region, nearest document first."""
        return self.chain(DocumentKind.LADDERS, region)

    def proposals(self, region: str) -> dict[str, int]:
        """The least counts from which on an order is proposed, by `Proposal`; the nearer document holds."""
        rows = self._proposal_rows(region).values()
        return {row.id: row.at_least for row in rows if row.at_least is not None}

    def when_dissatisfied(self, region: str) -> Consequence:
        """The consequence of dissatisfaction with a closed case; a proposal where no document says otherwise."""
        row = self._proposal_rows(region).get(Proposal.DISSATISFIED)
        return row.then if row is not None and row.then is not None else Consequence.PROPOSE

    def _proposal_rows(self, region: str) -> dict[Proposal, ProposalRow]:
        documents = reversed(self.chain(DocumentKind.PROPOSALS, region))
        return {row.id: row for document in documents for row in document.rows}

    def calendar(self, region: str) -> Calendar:
        """The days off and office hours of a region. A year that is in no document is provisional."""
        if region not in self._calendars:
            nearest = self.document(DocumentKind.CALENDARS, region)
            owner = nearest.region if nearest else NATION  # regions without a document of their own share a calendar
            if owner not in self._calendars:
                self._calendars[owner] = calendar_of(self.chain(DocumentKind.CALENDARS, owner))
            self._calendars[region] = self._calendars[owner]
        return self._calendars[region]

    async def version(self, stream: ReferenceStream, reference: str) -> Document:
        """The version that an event cites, as `limits:510100000000@17`, also when it is no longer in force.

        Raises NoDocument for a version that was never published, LogUnavailable.
        """
        if reference not in self._versions:
            document = await _read(stream, reference)
            if len(self._versions) >= VERSIONS_CACHED_COUNT_MAX:
                self._versions.pop(next(iter(self._versions)))
            self._versions[reference] = document
        return self._versions[reference]

    def person(self, id: str) -> PersonRow | None:
        """A person, active or not."""
        return self._rows[DocumentKind.PEOPLE].get(id)

    def people(self) -> Iterable[PersonRow]:
        """All people, active or not, in no order."""
        return self._rows[DocumentKind.PEOPLE].values()

    def people_of(self, unit: str) -> list[PersonRow]:
        """The active people of a unit."""
        return [person for person in self._people_of.get(unit, ()) if person.active]

    def present(self, person: PersonRow, at: datetime) -> bool:
        """Whether a person is active and not away at a moment, by the local day of the person's region."""
        return person.present(self.calendar(person.region).local(at).date())

    def stand_in(self, id: str, at: datetime, barred: Barred = nobody_barred) -> PersonRow | None:
        """The person if present, else the first deputy in line who is; None when there is none, as in a circle.

        A deputy who is barred from the case in question is passed over. For a person who is barred from it nobody
        stands in: the person has nothing in that case to act on.
        """
        person, seen = self.person(id), set[str]()
        if person is None or barred(person):
            return None
        while person is not None and person.id not in seen:
            if self.present(person, at) and not barred(person):
                return person
            seen.add(person.id)
            person = self.person(person.deputy) if person.deputy else None
        return None

    def absent_before(self, id: str, at: datetime, barred: Barred = nobody_barred) -> Iterator[PersonRow]:
        """The absent people for whom this person stands in at a moment, in the order of the line of deputies."""
        for person in self.people_before(id):
            holder = None if self.present(person, at) else self.stand_in(person.id, at, barred)
            if holder is not None and holder.id == id:
                yield person

    def people_before(self, id: str) -> Iterator[PersonRow]:
        """The people whose line of deputies passes through this person, nearest first."""
        seen, line = {id}, [id]
        for deputy in line:
            for person in self._people_with.get(deputy, ()):
                if person.id not in seen:
                    seen.add(person.id)
                    line.append(person.id)
                    yield person

    def post(self, code: str) -> PostRow | None:
        """A post and its rights."""
        return self._rows[DocumentKind.POSTS].get(code)

    def unit(self, code: str) -> UnitRow | None:
        """A unit, which may be a centre or a grid."""
        return self._units.get(code)

    def units(self) -> Iterable[UnitRow]:
        """All units, in no order."""
        return self._units.values()

    def has_unit(self, code: str) -> bool:
        """Whether the unit exists and is active."""
        unit = self._units.get(code)
        return unit is not None and unit.active

    def centre(self, region: str) -> CentreRow | None:
        """The centre of this region itself."""
        return self._rows[DocumentKind.CENTRES].get(region)

    def centre_of(self, region: str) -> CentreRow | None:
        """The centre of the region or of the nearest region above it."""
        return next(filter(None, map(self.centre, enclosing_regions(region))), None)

    def grid(self, code: str) -> GridRow | None:
        """A grid and its workers."""
        return self._rows[DocumentKind.GRIDS].get(code)

    def subject(self, code: str) -> SubjectRow | None:
        """A subject of the tree."""
        return self._rows[DocumentKind.SUBJECTS].get(code)


async def _read(stream: ReferenceStream, reference: str) -> Document:
    """A version of a document from the stream, which keeps all versions."""
    cited = _CITATION.fullmatch(reference)
    if cited is None or cited[1] not in set(DocumentKind):
        raise NoDocument(f"{reference!r} cites no document; it is written as limits:510100000000@17")
    subject, sequence = topology.reference(DocumentKind(cited[1]), cited[2]), int(cited[3])
    last = await stream.last(topology.REFERENCE, subject)
    if last is not None and last.sequence >= sequence > 0:
        async with aclosing(stream.follow_raw(topology.REFERENCE, subject, sequence - 1)) as batches:
            async for batch in batches:
                if batch[0].sequence == sequence and batch[0].subject == subject:
                    return decode_document(batch[0].data, sequence)
                break
    raise NoDocument(f"{reference} was never published; see `caseflow reference list`")
