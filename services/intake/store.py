"""What intake keeps beside the log: claims, so that every registration happens exactly once by (source, id).

Registration is: claim and case key in one transaction, attachments, the event, the answer. A redelivery repeats the
steps and the first answer stands; an orphan key or object is harmless and swept after a day.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from shared.case.base import Address, Level, Meta, new_id, region_at
from shared.case.facts import Attachment, Registration
from shared.case.reasons import Rejected
from shared.case.state import NEW
from shared.kit.clock import Clock
from shared.kit.command_handler import DECIDERS, CommandHandler, Committed, command
from shared.kit.failpoints import failpoint
from shared.kit.problems import Unavailable, Unprocessable
from shared.kit.seal import seal_bytes
from shared.kit.sql import Database, Statements
from shared.kit.vault import Vault

CLAIMS_PER_BATCH_MAX = 64
STATEMENTS = Statements.load(Path(__file__).with_name("queries.sql"))


class IdempotencyConflict(Unprocessable):
    """The same id was used for another registration."""

    code = "idempotency.key_reused"
    advice = "Use a new id (a new Idempotency-Key) for a new registration."


@dataclass(frozen=True, slots=True)
class Claim:
    """One registration that is about to happen: by whom under which id, with which body, for which case."""

    source: str
    source_id: str
    digest: bytes
    address: Address


class Claims:
    """Claims with the case keys. What arrives while a transaction runs goes into the next one together.

    A commit waits for the disk; sharing it among the callers that wait anyway is what makes it cheap.
    """

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database, self._vault, self._clock = database, vault, clock
        self._waiting: list[tuple[Claim, asyncio.Future[Address]]] = []
        self._drain: asyncio.Task[None] | None = None

    async def claim(self, claim: Claim) -> Address:
        """The case that this registration is, now or since its first time; its key is there.

        Raises OtherBody, Unavailable.
        """
        future: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, future))
        if self._drain is None or self._drain.done():
            # a task of its own: a caller who hangs up takes nobody else's registration along
            self._drain = asyncio.create_task(self._commit_all(), name="intake.claims")
        return await future

    async def _commit_all(self) -> None:
        while self._waiting:
            batch = self._waiting[:CLAIMS_PER_BATCH_MAX]
            del self._waiting[:CLAIMS_PER_BATCH_MAX]
            await self._commit(batch)

    async def _commit(self, batch: Sequence[tuple[Claim, asyncio.Future[Address]]]) -> None:
        try:
            standing = await self._write([claim for claim, _ in batch])
        except Exception as error:  # each caller hears of it; none is left waiting
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for one in batch:  # one bad registration spoils nobody else's
                    await self._commit([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for claim, future in batch:
            digest, subject = standing[(claim.source, claim.source_id)]
            if future.done():
                continue
            if digest != claim.digest:
                future.set_exception(IdempotencyConflict("This id was used for another registration."))
            else:
                future.set_result(Address.parse(subject))

    async def _write(self, claims: Sequence[Claim]) -> dict[tuple[str, str], tuple[bytes, str]]:
        first: dict[tuple[str, str], Claim] = {}
        for claim in claims:
            first.setdefault((claim.source, claim.source_id), claim)
        sources = [claim.source for claim in first.values()]
        ids = [claim.source_id for claim in first.values()]
        now = self._clock.now()
        async with self._database.transaction() as session:
            digests = [claim.digest for claim in first.values()]
            subjects = [claim.address.subject for claim in first.values()]
            await session.execute("claim", sources, ids, digests, subjects, [now] * len(first))
            rows = await session.fetch("read_claims", sources, ids)
            addresses = [Address.parse(row["subject"]) for row in rows]
            keys = await self._vault.new_keys(session, [(a.id, a.region) for a in addresses])
        self._vault.remember(keys)
        return {(row["source"], row["source_id"]): (row["digest"], row["subject"]) for row in rows}


class Registrar:
    """The steps of a registration, each harmless to repeat: claim and key, attachments, event."""

    def __init__(self, claims: Claims, handler: CommandHandler, vault: Vault, streams: Objects, clock: Clock) -> None:
        self._claims, self._handler, self._vault = claims, handler, vault
        self._streams, self._clock = streams, clock

    async def register(
        self,
        meta: Meta,
        facts: Registration,
        source: str,
        source_id: str,
        told: bytes,
        files: Sequence[UploadedFile] = (),
        id: str | None = None,
    ) -> tuple[Address, Committed | Rejected]:
        """Register once by (source, source_id), however often it is asked; the first answer stands.

        `told` is the body as it came in: the same id with another body is refused. What the law rejects claims
        nothing. Raises OtherBody, Unavailable, EventTooLarge.
        """
        born = Address("case", facts.region, id or new_id(facts.region, meta.command_id))
        digest = await self._digest(facts.region, told, files)
        facts = facts.model_copy(update={"attachments": tuple(file.attachment(born.id) for file in files)})
        verdict = DECIDERS["case"].decide(command(born, meta, "register", facts), NEW)
        if isinstance(verdict, Rejected):
            return born, verdict
        address = await self._claims.claim(Claim(source, source_id, digest, born))
        await failpoint("intake.register.claimed")
        for file in files:
            await self.keep(address.id, file)
        if files:
            await failpoint("intake.register.attached")
        outcome = await self._handler.handle(command(address, meta, "register", facts))
        await failpoint("intake.register.recorded")
        return address, outcome

    async def _digest(self, region: str, told: bytes, files: Sequence[UploadedFile]) -> bytes:
        # keyed, since a short body whose only unknown is a phone number could be guessed from a bare digest
        whole = hmac.new(await self._vault.county_key(region_at(region, Level.COUNTY)), told, sha256)
        for file in files:
            whole.update(sha256(file.data).digest())
        return whole.digest()

    async def keep(self, case_id: str, file: UploadedFile) -> Attachment:
        """Seal a file with the case's key and keep it; doing it again replaces it by the same."""
        attachment = file.attachment(case_id)
        key = await self._vault.key(case_id)
        sealed = seal_bytes(file.data, key, case_id, "attachment", attachment.object, self._clock)
        await self._streams.put(attachment.object, sealed)
        return attachment


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file as it came in; its name is private and goes into the sealed matter."""

    name: str
    media_type: str
    data: bytes

    def attachment(self, case_id: str) -> Attachment:
        """Where the file will lie: a name that follows from case and bytes, so keeping it twice keeps it once."""
        digest = sha256(self.data).hexdigest()
        object_name = f"{case_id}.{digest[:24]}"
        return Attachment(object=object_name, digest=digest, size_bytes=len(self.data), media_type=self.media_type)


class Objects(Protocol):
    """Where sealed attachments lie: `shared.log.streams.Streams`."""

    async def put(self, name: str, sealed: bytes) -> None: ...
