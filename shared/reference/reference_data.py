"""The documents in force: read from the REFERENCE stream, kept current by following it, asked by code or by region."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from contextlib import aclosing
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
from shared.reference.people import PersonRow, PostRow
from shared.reference.reference_stream import ReferenceMessage, ReferenceStream
from shared.reference.region_tree import RegionTree
from shared.reference.regions import NATION, enclosing_regions
from shared.reference.subjects import SubjectRow
from shared.reference.units import CentreRow, GridRow, UnitKind, UnitRow

# The kinds whose document in force stands on every event: who may, who is there, what rules and limits say. A deadline
# cites its calendar itself. Ladders say what becomes of lateness, which supervision decides: no other event has them.
CITED = (DocumentKind.POSTS, DocumentKind.PEOPLE, DocumentKind.UNITS, DocumentKind.RULES, DocumentKind.LIMITS)
CITED_BY: dict[Owner | None, tuple[DocumentKind, ...]] = {Owner.SUPERVISION: (*CITED, DocumentKind.LADDERS)}
VERSIONS_KEPT_MAX = 64  # of old versions that were asked for
LIMITS_KEPT_MAX = 4096  # of choices, one for each sort of case; every document that is put in force begins anew
_CITATION = re.compile(r"([a-z]+):([0-9]{12})@([0-9]{1,18})")

_log = logging.getLogger(__name__)


class NoDocument(LookupError):
    """No document of that kind is in force for the region."""


class ReferenceData:
    """What is in force. Look-ups are synchronous and cheap; only `load` and `follow` wait."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self.regions = RegionTree()
        self.sequence = 0
        self.refused: dict[str, str] = {}  # document -> why its newest version is not in force
        self._documents: dict[tuple[DocumentKind, str], Document] = {}
        self._rows: dict[DocumentKind, dict[str, Any]] = {kind: {} for kind in DocumentKind}
        self._units: dict[str, UnitRow] = {}
        self._people_of: dict[str, list[PersonRow]] = {}
        self._references: dict[tuple[str, Owner | None], tuple[str, ...]] = {}
        self._limits: dict[tuple[Stage, RoutingFacts], LimitChoice | None] = {}
        self.calendar_version = 0  # the newest calendars document: another number when one of them changes
        self._calendars: dict[str, Calendar] = {}
        self._versions: dict[str, Document] = {}
        for document in documents:
            self.put(document)

    async def load(self, stream: ReferenceStream) -> None:
        """Read up to the end of the stream as it now is. Raises LogUnavailable."""
        end = await stream.end(topology.REFERENCE)
        if self.sequence < end:
            async with aclosing(stream.follow_raw(topology.REFERENCE, ">", self.sequence)) as batches:
                async for batch in batches:
                    self._take(batch)
                    if self.sequence >= end:
                        return

    async def follow(self, stream: ReferenceStream) -> None:
        """Keep current; never returns. Raises LogUnavailable."""
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
                name = f"{kind}:{region}@{message.sequence}"
                self.refused[f"{kind}:{region}"] = str(error)
                _log.error("reference document %s is refused, the one before stays in force", name)
            self.sequence = message.sequence

    def put(self, document: Document) -> None:
        """Put a document in force in place of the one of the same kind and region."""
        if document.kind is DocumentKind.REGIONS:
            self._put_regions(document.model_copy(update={"rows": ()}), document.encode())
            return
        place = (document.kind, document.region)
        self.refused.pop(document.name, None)
        self._references.clear()
        self._limits.clear()
        if document.kind is DocumentKind.CALENDARS:
            self._calendars.clear()
            self.calendar_version = max(self.calendar_version, document.sequence)
        before = self._documents.get(place)
        self._documents[place] = document
        rows = self._rows[document.kind]
        for key, row in (before.by_key if before else {}).items():
            if rows.get(key) is row:
                del rows[key]
        rows.update(document.by_key)
        if document.kind in (DocumentKind.UNITS, DocumentKind.CENTRES, DocumentKind.GRIDS):
            self._index_units()
        elif document.kind is DocumentKind.PEOPLE:
            self._people_of = {}
            for person in self._rows[DocumentKind.PEOPLE].values():
                self._people_of.setdefault(person.unit, []).append(person)

    def _put_regions(self, head: Document, data: bytes) -> None:
        """The rows of regions live in the tree, compressed; here stays only what is needed to cite them."""
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
        found = (self._documents.get((kind, place)) for place in enclosing_regions(region))
        return tuple(document for document in found if document is not None)

    def document(self, kind: DocumentKind, region: str) -> Document | None:
        """The nearest document of a kind for a region."""
        return next(iter(self.chain(kind, region)), None)

    def documents(self) -> list[Document]:
        """All documents in force, those of regions without their rows."""
        return list(self._documents.values())

    def reference(self, kind: DocumentKind | str, region: str) -> str:
        """How to cite the nearest document: `rules:510104000000@17`. Raises NoDocument."""
        document = self.document(DocumentKind(kind), region)
        if document is None:
            raise NoDocument(f"no {kind} are in force for {region} or above; publish them with `caseflow reference`")
        return document.reference

    def references(self, region: str, owner: Owner | None = None) -> tuple[str, ...]:
        """The documents in force that a decision in this region, of this service, cites."""
        place = (region, owner)
        if place not in self._references:
            nearest = (self.document(kind, region) for kind in CITED_BY.get(owner, CITED))
            self._references[place] = tuple(document.reference for document in nearest if document)
        return self._references[place]

    def rules(self, region: str) -> tuple[Document, ...]:
        """The routing rules for a region, nearest document first."""
        return self.chain(DocumentKind.RULES, region)

    def limits(self, region: str) -> tuple[Document, ...]:
        """The time limits for a region, nearest document first."""
        return self.chain(DocumentKind.LIMITS, region)

    def limit(self, stage: Stage, facts: RoutingFacts) -> LimitChoice | None:
        """The time limit of a stage of such a case, None when none is set."""
        asked = (stage, facts)
        if asked not in self._limits:
            if len(self._limits) >= LIMITS_KEPT_MAX:
                self._limits.clear()
            self._limits[asked] = choose_limit(self.limits(facts.region), stage, facts)
        return self._limits[asked]

    def ladders(self, region: str) -> tuple[Document, ...]:
        """The ladders for a region, nearest document first."""
        return self.chain(DocumentKind.LADDERS, region)

    def proposals(self, region: str) -> dict[str, int]:
        """From which number on an order is proposed, by `Proposal`; of two documents the nearer one holds."""
        documents = reversed(self.chain(DocumentKind.PROPOSALS, region))
        return {row.id: row.at_least for document in documents for row in document.rows}

    def calendar(self, region: str) -> Calendar:
        """The days off and office hours for a region; a year in no document is provisional (see `calendar_of`)."""
        if region not in self._calendars:
            nearest = self.document(DocumentKind.CALENDARS, region)
            place = nearest.region if nearest else NATION  # where none has its own, all share one
            if place not in self._calendars:
                self._calendars[place] = calendar_of(self.chain(DocumentKind.CALENDARS, place))
            self._calendars[region] = self._calendars[place]
        return self._calendars[region]

    async def version(self, stream: ReferenceStream, reference: str) -> Document:
        """The document that an event cites, `limits:510100000000@17`, also when it is no longer in force.

        Raises NoDocument when there was none, LogUnavailable.
        """
        if reference not in self._versions:
            document = await _read(stream, reference)
            if len(self._versions) >= VERSIONS_KEPT_MAX:
                self._versions.pop(next(iter(self._versions)))
            self._versions[reference] = document
        return self._versions[reference]

    def person(self, id: str) -> PersonRow | None:
        """Somebody who works here, active or not."""
        return self._rows[DocumentKind.PEOPLE].get(id)

    def people_of(self, unit: str) -> list[PersonRow]:
        """The active people of a unit."""
        return [person for person in self._people_of.get(unit, ()) if person.active]

    def stand_in(self, id: str) -> PersonRow | None:
        """The person if active, else the nearest active deputy, None when there is none."""
        person, seen = self.person(id), set[str]()
        while person is not None and not person.active and person.id not in seen:
            seen.add(person.id)
            person = self.person(person.deputy) if person.deputy else None
        return person if person is not None and person.active else None

    def post(self, code: str) -> PostRow | None:
        """A post and its rights."""
        return self._rows[DocumentKind.POSTS].get(code)

    def unit(self, code: str) -> UnitRow | None:
        """A unit; a centre and a grid are units too."""
        return self._units.get(code)

    def units(self) -> Iterable[UnitRow]:
        """All units, in no order."""
        return self._units.values()

    def has_unit(self, code: str) -> bool:
        """Whether the unit is there and active: what `route` asks."""
        unit = self._units.get(code)
        return unit is not None and unit.active

    def centre(self, region: str) -> CentreRow | None:
        """The centre of exactly this region."""
        return self._rows[DocumentKind.CENTRES].get(region)

    def centre_of(self, region: str) -> CentreRow | None:
        """The centre of the region or the nearest above it."""
        return next(filter(None, map(self.centre, enclosing_regions(region))), None)

    def grid(self, code: str) -> GridRow | None:
        """A grid and its workers."""
        return self._rows[DocumentKind.GRIDS].get(code)

    def subject(self, code: str) -> SubjectRow | None:
        """A subject of the tree."""
        return self._rows[DocumentKind.SUBJECTS].get(code)

    def subject_path(self, code: str) -> str:
        """A subject in words from the top: `城乡建设/住房保障与房地产`."""
        codes = [code[:end] for end in range(2, len(code) + 1, 2)]
        rows = [self.subject(one) for one in codes]
        return "/".join(row.name if row else one for row, one in zip(rows, codes, strict=True))


async def _read(stream: ReferenceStream, reference: str) -> Document:
    """One version from the stream, which keeps them all."""
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
