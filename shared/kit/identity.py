"""Which service this is, and who its callers are: tokens, people of the documents in force, residents with a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from shared.case.base import Actor, Address, Owner
from shared.case.rights import joined_powers, separation_conflict
from shared.case.state import CaseState
from shared.kit import telemetry
from shared.kit.access import Caller, takes_no_part
from shared.kit.settings import BadSettings, Settings
from shared.reference.people import nobody_barred
from shared.reference.reference_data import ReferenceData

RESIDENT = "resident"
DEMO_TOKEN_PREFIX = "demo-"
SERVICE_ACTORS_COUNT_MAX = 4096


class Tokens(Protocol):
    """Tokens by their digests."""

    def get(self, digest: str, /) -> str | None: ...


NO_TOKENS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One service with its settings and the reference documents by which it knows people.

    `tokens` leads from the SHA-256 of a bearer token in hex to a person: a mapping, or a TokenFile.
    """

    owner: Owner
    settings: Settings
    reference_data: ReferenceData
    tokens: Tokens = field(default_factory=lambda: NO_TOKENS)

    def caller(self, token: str) -> Caller | None:
        """The person of a bearer token, None for an unknown one; demo tokens count only in the embedded mode."""
        person = self.tokens.get(sha256(token.encode()).hexdigest())
        if person is None and self.settings.demo and token.startswith(DEMO_TOKEN_PREFIX):
            person = token.removeprefix(DEMO_TOKEN_PREFIX)
        return None if person is None else self.person(person)

    def person(self, id: str) -> Caller | None:
        """A person of the documents in force with the rights of their post, None when there is no active one."""
        row = self.reference_data.person(id)
        post = self.reference_data.post(row.post) if row is not None and row.active else None
        if row is None or post is None:
            return None
        return Caller(row.id, row.post, row.unit, row.region, frozenset(post.rights))

    def as_deputy(self, caller: Caller, at: datetime, state: Any) -> Iterator[Caller]:
        """The caller as the deputy of each absent person for whom they stand in, in a case, in an order or in neither.

        The rights are those of the absent person's post. Powers that are kept apart stay apart (clause 9.5 b), also
        where they are those of two absent people: the deputy has none of them.
        """
        barred = takes_no_part(state) if isinstance(state, CaseState) else nobody_barred
        rows = self.reference_data.absent_before(caller.person, at, barred)
        posts = [(row, frozenset(post.rights)) for row in rows if (post := self.reference_data.post(row.post))]
        joined = joined_powers(caller.rights.union(*(rights for _, rights in posts)))
        for row, all_rights in posts:
            rights = all_rights - joined
            if not rights or separation_conflict(caller.rights | rights):
                continue
            yield Caller(
                caller.person,
                row.post,
                row.unit,
                row.region,
                rights,
                acting_for=row.id,
                own_unit=caller.unit,
            )

    def resident(self, address: Address) -> Caller:
        """A resident who proved by the look-up secret that this case is theirs."""
        region = address.region
        return Caller(RESIDENT, RESIDENT, f"{region}-centre", region, frozenset(), own_case=address.id)

    def service_actor(self, address: Address) -> Actor:
        """The service itself, as it reacts to an event or a moment."""
        return _service_actor(self.owner, address.region)

    def references(self, region: str) -> tuple[str, ...]:
        """The reference documents in force that a decision in this region cites."""
        return self.reference_data.references(region, self.owner)


@lru_cache(SERVICE_ACTORS_COUNT_MAX)
def _service_actor(owner: Owner, region: str) -> Actor:
    return Actor(person=f"service-{owner}", post="service", unit=f"{region}-centre", centre=region, region=region)


class TokenFile:
    """The tokens of a file, read again when it changes, so that a new token counts and a revoked one ends at once.

    A file that becomes unreadable leaves the tokens as they are, with an error in the log.
    """

    def __init__(self, path: Path) -> None:
        """Raises BadSettings that names the line."""
        self._path, self._stamp = path, _stamp(path)
        self._tokens = read_tokens(path)

    def get(self, digest: str, /) -> str | None:
        """The person of a token, by its digest."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._tokens = read_tokens(self._path)
            except (BadSettings, OSError, UnicodeDecodeError) as failure:
                telemetry.error("the tokens cannot be read, those before stay in force", failure)
            else:
                telemetry.info("the tokens were read again", count=len(self._tokens))
        return self._tokens.get(digest)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def read_tokens(path: Path) -> dict[str, str]:
    """The tokens of a file with lines `<sha256 of the token in hex> <person>`; none without a file.

    Raises BadSettings that names the line.
    """
    if not path.exists():
        return {}
    tokens = {}
    for line_number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        digest, _, person = line.partition(" ")
        if len(digest) != 64 or not person.strip():
            raise BadSettings(
                f"{path}:{line_number}: expected the SHA-256 of a token in hex, a space and the person's id"
            )
        tokens[digest.lower()] = person.strip()
    return tokens
