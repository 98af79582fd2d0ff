"""Intake's streams: registrations that platforms submit, and the progress of their cases back to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

from services.intake.policy import PublicStep, RegisterBody, registration, step_of, steps_in_the_open
from services.intake.store import Registrar
from shared.case.base import Address, Meta, Recorded
from shared.case.reasons import Rejected
from shared.kit import http as kit_http
from shared.kit.access import Caller
from shared.kit.command_handler import CommandHandler, command
from shared.kit.http import Answer, Enricher
from shared.kit.service import Kit
from shared.kit.submission import ParsedSubmission, Progress, StepFacts
from shared.kit.submissions import PERSON_PREFIX, Submissions
from shared.log import topology
from shared.log.port import LogConflict
from shared.log.topology import PROGRESS


def submissions(kit: Kit, registrar: Registrar, fills: Mapping[str, Enricher]) -> Submissions:
    """What platforms ask of intake; a registration takes the form that a desk fills in over HTTP."""

    async def register(told: ParsedSubmission, caller: Caller, meta: Meta) -> Answer:
        body: RegisterBody = told.body
        assert told.id is not None, "what is decided has an id"
        said = registration(body, caller.person, caller.unit, meta.time)
        said = said.model_copy(update={"source": told.source, "source_id": told.id})
        asked = command(Address("case", body.region, ""), meta, "register", said)
        await kit_http.permit(kit, caller, asked)
        await kit_http.check_named(kit, asked)
        heard = body.model_dump_json(exclude={"time"}).encode()
        address, outcome = await registrar.register(meta, said, f"submission.{told.source}", told.id, heard)
        if isinstance(outcome, Rejected):
            raise kit_http.rejected(outcome)
        return kit_http.answer(address, outcome)

    return Submissions(kit, {"register": (RegisterBody, register)}, fills)


class Follower:
    """Tells platforms every public step of their cases, once and in order: `progress.<source>.<number>`."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def follow(self, recorded: Recorded[Any], handler: CommandHandler) -> None:
        """Bring the progress of an event's case up to the log; does nothing for cases of nobody's platform."""
        if step_of(recorded.type) is None:
            return
        state = (await handler.state(recorded.address)).state  # however old: the source never changes
        if state.source is not None and self._kit.person(f"{PERSON_PREFIX}{state.source}") is not None:
            await self._catch_up(recorded.address, state.source)

    async def _catch_up(self, address: Address, source: str) -> None:
        steps = steps_in_the_open(await self._kit.log.load(address))
        number = self._kit.number(address, steps[0].state)
        subject = topology.progress(source, number)
        while True:
            last = await self._kit.streams.last(PROGRESS, subject)
            sequence = last.sequence if last else 0
            version = from_json(last.data)["data"]["version"] if last else 0
            try:
                for step in steps:
                    if step.state.version > version:
                        data = to_json(_progress(number, step), exclude_none=True)
                        ack = await self._kit.streams.publish(subject, data, expected=sequence)
                        sequence = ack.sequence
                return
            except LogConflict:  # another event of the case is being told at the same time
                continue


def _progress(number: str, step: PublicStep) -> Progress:
    recorded, state = step.recorded, step.state
    return Progress(
        id=recorded.id,
        subject=number,
        time=recorded.meta.time,
        data=StepFacts(
            id=recorded.address.id,
            number=number,
            step=step.step,
            status=state.status.value,
            unit=getattr(recorded.event, "unit", None),
            version=state.version,
            position=str(recorded.position),
        ),
    )
