"""What a person looks at before documents are published: rows that they take away, and rights that they change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from shared.case.rights import Right
from shared.reference.documents import Document
from shared.reference.people import PersonRow
from shared.reference.reference_data import ReferenceData

APPROVING = frozenset({Right.ADMIN, Right.AUDIT})


def removed_rows(in_force: Document | None, document: Document) -> list[str]:
    """The keys of the rows that a document takes out of force, in the order of the document in force."""
    return [] if in_force is None else [key for key in in_force.by_key if key not in document.by_key]


def with_admin(reference_data: ReferenceData) -> bool:
    """Whether an active person has the right `admin`: from then on a document has a publisher."""
    return any(person.active and Right.ADMIN in _rights(reference_data, person) for person in reference_data.people())


def changed_powers(before: Iterable[Document], after: Iterable[Document], person: str) -> list[str]:
    """The changes of what a person may do, in words: of the own row and post, and of those whom the person may come to
    stand in for. An own absence takes nothing and is left out.
    """
    old, new = _powers(ReferenceData(before), person), _powers(ReferenceData(after), person)
    return [
        f"{id}: {name} {old.get(id, {}).get(name, '-')} → {new.get(id, {}).get(name, '-')}"
        for id in dict.fromkeys((*old, *new))
        for name in dict.fromkeys((*old.get(id, {}), *new.get(id, {})))
        if old.get(id, {}).get(name) != new.get(id, {}).get(name)
    ]


def _powers(reference_data: ReferenceData, person: str) -> Mapping[str, Mapping[str, str]]:
    """What a person may do, by the person whose power it is: the own, then those of the line of deputies."""
    own = reference_data.person(person)
    powers = {} if own is None else {own.id: dict(_power(reference_data, own))}
    for absent in reference_data.people_before(person):
        away = f"{absent.away_from or ''}/{absent.away_until or ''}"
        powers[absent.id] = {"deputy": absent.deputy or "", "away": away} | dict(_power(reference_data, absent))
    return powers


def _power(reference_data: ReferenceData, row: PersonRow) -> Iterator[tuple[str, str]]:
    yield "post", row.post
    yield "rights", " ".join(sorted(_rights(reference_data, row)))
    yield "unit", row.unit
    yield "region", row.region
    yield "active", str(row.active).lower()
    yield "stands_aside_from", " ".join(sorted(row.stands_aside_from))


def _rights(reference_data: ReferenceData, row: PersonRow) -> frozenset[Right]:
    post = reference_data.post(row.post)
    return frozenset(post.rights) if post is not None else frozenset()
