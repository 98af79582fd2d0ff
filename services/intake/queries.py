"""Every read and write of intake's tables: the claims by which a registration happens once, and recent bodies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from shared.case.base import Address
from shared.kit.sql import Session, Statements

STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"))


SAME_BODY_S_MAX = 600.0
FORGOTTEN_ROWS_MAX = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a registration: its source and id, the digest of its body, and the address of its case."""

    source: str
    source_id: str
    digest: bytes
    address: Address


class ClaimQueries:
    """The table `claims`, in the caller's transaction. All methods raise Unavailable."""

    def __init__(self, session: Session) -> None:
        self._session = session.using(STATEMENTS)

    async def claim(self, claims: Sequence[Claim], *, at: datetime) -> None:
        """Insert claims; one that stands already under its source and id is not changed."""
        await self._session.execute(
            "claim",
            [claim.source for claim in claims],
            [claim.source_id for claim in claims],
            [claim.digest for claim in claims],
            [claim.address.subject for claim in claims],
            [at] * len(claims),
        )

    async def standing(self, ids: Collection[tuple[str, str]]) -> dict[tuple[str, str], tuple[bytes, str]]:
        """The digest and the subject of the claims that stand, by source and id."""
        sources, source_ids = [source for source, _ in ids], [id for _, id in ids]
        rows = await self._session.fetch("read_claims", sources, source_ids)
        return {(row["source"], row["source_id"]): (row["digest"], row["subject"]) for row in rows}

    async def forget_body(self, digest: bytes, id: str) -> None:
        """Drop the id of a body."""
        await self._session.execute("forget_body", digest, id)

    async def id_of_body(self, digest: bytes, new_id: str, *, at: datetime) -> str:
        """The id of the registration with this body: the one that it was given in the last SAME_BODY_S_MAX seconds,
        else `new_id`.
        """
        window = timedelta(seconds=SAME_BODY_S_MAX)
        await self._session.execute("forget_bodies", at - window, FORGOTTEN_ROWS_MAX)
        await self._session.execute("claim_body", digest, new_id, at, at - window, at + window)
        standing: str = await self._session.fetch_value("read_body", digest)
        return standing
