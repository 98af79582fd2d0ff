"""Registration: every demand becomes a case exactly once by (source, id).

The steps are: claim and case key in one transaction, attachments, the event, the answer. A redelivery repeats the steps
and gets the first answer. A key or an attachment without an event does no harm; it is swept after a day.

The key of a registration over HTTP belongs to the demand, within a centre: a draft that one person made offline and
another sends is one case. The key of a platform is the platform's own: programs count their keys.

| key | body | caller | answer |
|---|---|---|---|
| new | any | any | a new case |
| used | the same | the same, or one of the same centre who may see the case | the first answer |
| used | the same | one of the same centre who may not see the case | refused as for another body |
| used | another | any of the same centre | refused |
| used | any | of another centre | a new case: each centre has keys of its own |
| used | any | another platform | a new case |
| none | sent by the same caller in the last ten minutes | the same | the case of the first one, and a notice |
| none | the same, and its case was declined or withdrawn since | the same | a new case |
| none | any other | any | a new case |
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from services.intake.queries import Claim, ClaimQueries
from shared.case.base import Address, Level, derived_id, new_id, region_at
from shared.case.commands import Command
from shared.case.facts import Attachment, Registration
from shared.case.reasons import Rejected
from shared.case.state import NEW
from shared.kit.access import Caller
from shared.kit.application import Origin, UploadedFile, http_command_id
from shared.kit.clock import Clock
from shared.kit.command_handler import DECIDERS
from shared.kit.data import Data
from shared.kit.picture_metadata import RECORD_FIELD, record_name
from shared.kit.problems import Unavailable, Unprocessable
from shared.kit.runtime import Runtime
from shared.kit.seal import seal_bytes
from shared.kit.sql import Database
from shared.kit.submissions import PERSON_PREFIX
from shared.kit.vault import Vault

CLAIMS_PER_BATCH_MAX = 64


class IdempotencyConflict(Unprocessable):
    """The same id was used for another registration."""

    code = "idempotency.key_reused"
    advice = "Use a new id (a new Idempotency-Key) for a new registration."


NOT_THE_SAME = "This id was used for another registration."


class Claims:
    """Claims and case keys, written in shared transactions.

    All claims that arrive while a transaction runs go into the next one together. A commit waits for the disk, so
    sharing it among callers makes each claim cheap.
    """

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database, self._vault, self._clock = database, vault, clock
        self._waiting: list[tuple[Claim, asyncio.Future[Address]]] = []
        self._drain: asyncio.Task[None] | None = None

    async def claim(self, claim: Claim) -> Address:
        """The address of the case that is claimed for this registration, now or at its first delivery; its key exists.

        Raises IdempotencyConflict, Unavailable.
        """
        future: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, future))
        if self._drain is None or self._drain.done():
            # a task of its own, so that a caller who disconnects does not cancel the claims of others
            self._drain = asyncio.create_task(self._commit_all(), name="intake.claims")
        return await future

    async def stands(self, source: str, id: str) -> bool:
        """Whether a registration was claimed under this id. Raises Unavailable."""
        async with self._database.session() as session:
            return bool(await ClaimQueries(session).standing([(source, id)]))

    async def id_of_body(self, digest: bytes, new_id: str, ended_id: str | None) -> str:
        """The id of a registration without a key: the one of the same body before it, or `new_id`.

        The same body counts no more where `ended_id` is the id that it had. Raises Unavailable.
        """
        async with self._database.transaction() as session:
            queries = ClaimQueries(session)
            if ended_id is not None:
                await queries.forget_body(digest, ended_id)
            return await queries.id_of_body(digest, new_id, at=self._clock.now())

    async def _commit_all(self) -> None:
        while self._waiting:
            batch = self._waiting[:CLAIMS_PER_BATCH_MAX]
            del self._waiting[:CLAIMS_PER_BATCH_MAX]
            await self._commit(batch)

    async def _commit(self, batch: Sequence[tuple[Claim, asyncio.Future[Address]]]) -> None:
        try:
            standing = await self._write([claim for claim, _ in batch])
        except Exception as error:  # every caller gets the error; none waits for ever
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for entry in batch:  # alone, so that one bad claim fails by itself
                    await self._commit([entry])
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
                future.set_exception(IdempotencyConflict(NOT_THE_SAME))
            else:
                future.set_result(Address.parse(subject))

    async def _write(self, claims: Sequence[Claim]) -> dict[tuple[str, str], tuple[bytes, str]]:
        first: dict[tuple[str, str], Claim] = {}
        for claim in claims:
            first.setdefault((claim.source, claim.source_id), claim)
        async with self._database.transaction() as session:
            queries = ClaimQueries(session)
            await queries.claim(list(first.values()), at=self._clock.now())
            standing = await queries.standing(list(first))
            addresses = [Address.parse(subject) for _, subject in standing.values()]
            keys = await self._vault.new_keys(session, [(address.id, address.region) for address in addresses])
        self._vault.remember(keys)
        return standing


class Registrar:
    """The steps of a registration before its event, each repeatable: claim and key, then attachments."""

    def __init__(self, *, data: Data, runtime: Runtime) -> None:
        self._claims = Claims(data.database, data.vault, runtime.clock)
        self._vault, self._streams = data.vault, data.streams
        self._clock, self._failpoints = runtime.clock, runtime.failpoints

    async def requested(
        self,
        caller: Caller,
        region: str,
        key: str | None,
        payload: bytes,
        files: Sequence[UploadedFile],
        ended_id: str | None = None,
    ) -> tuple[str, str]:
        """The source and the id of a registration over HTTP, by its key, else by its body (table above).

        `ended_id` is the id that the same body had for a case that was declined or withdrawn. Raises Unavailable.
        """
        of_caller = f"http.{caller.person}"
        if key is None:
            digest = await self._digest(region, f"{of_caller}\n".encode() + payload, files)
            return of_caller, await self._claims.id_of_body(digest, self._clock.new_id(), ended_id)
        former = http_command_id(caller, "register", key)  # a key was the caller's own before, and is still good
        if caller.person.startswith(PERSON_PREFIX) or await self._claims.stands(of_caller, former):
            return of_caller, former
        return f"centre.{caller.region}", derived_id("http", f"centre {caller.region}", "register", key)

    async def create(self, command: Command, origin: Origin | None) -> Command | Rejected:
        """Claim a case for a registration and store its files; the command, at the address of the claimed case.

        The same source and id give the same case for ever. The address of the given command may have an empty id. A
        registration that the law rejects claims nothing. Raises IdempotencyConflict, KeyErased, Unavailable,
        LogUnavailable.
        """
        assert origin is not None, "a registration has an origin"
        facts, meta, files = command.facts, command.meta, origin.files
        assert isinstance(facts, Registration), "the catalogue gives a registration these facts"
        case = Address("case", facts.region, command.address.id or new_id(facts.region, meta.command_id))
        digest = await self._digest(facts.region, origin.payload, files)
        verdict = DECIDERS["case"].decide(replace(command, address=case, facts=_with_files(facts, case, files)), NEW)
        if isinstance(verdict, Rejected):
            return verdict
        address = await self._claims.claim(Claim(origin.source, origin.id, digest, case))
        await self._failpoints.hit("intake.register.claimed")
        for file in files:
            await self.store(address.id, file, informant=facts.informant)
        if files:
            await self._failpoints.hit("intake.register.attached")
        return replace(command, address=address, facts=_with_files(facts, address, files))

    async def _digest(self, region: str, payload: bytes, files: Sequence[UploadedFile]) -> bytes:
        # keyed: a phone number could be guessed from the plain digest of a short body that is known otherwise
        digest = hmac.new(await self._vault.county_key(region_at(region, Level.COUNTY)), payload, sha256)
        for file in files:
            digest.update(file.received_digest)
        return digest.digest()

    async def store(self, case_id: str, file: UploadedFile, informant: bool) -> Attachment:
        """Seal a file with the case's key and store it; a repetition replaces the same object. Raises KeyErased.

        What was taken out of a picture is sealed beside it; of an informant's it is not stored at all.
        """
        attachment = file.attachment(case_id)
        key = await self._vault.key(case_id)
        if file.metadata and not informant:
            name = record_name(attachment.object)
            await self._streams.put(name, seal_bytes(file.metadata, key, case_id, RECORD_FIELD, name, self._clock))
        sealed = seal_bytes(file.data, key, case_id, "attachment", attachment.object, self._clock)
        await self._streams.put(attachment.object, sealed)
        return attachment


def _with_files(facts: Registration, case: Address, files: Sequence[UploadedFile]) -> Registration:
    return facts.model_copy(update={"attachments": tuple(file.attachment(case.id) for file in files)})
