"""Intake over NATS: registrations and further commands of platforms in; receipts and the progress of cases out."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from services.intake.forms import registration_facts
from services.intake.policy import PublicStep, steps_in_the_open
from shared.case.base import Address, Meta, Recorded
from shared.case.catalogue import step_of
from shared.case.commands import Command
from shared.kit.access import Caller
from shared.kit.application import Application, Origin
from shared.kit.bodies import RegisterBody
from shared.kit.command_handler import command
from shared.kit.messaging import Router, announce_stream, submissions_router
from shared.kit.submission import ParsedSubmission, Progress, StepFacts
from shared.kit.submissions import PERSON_PREFIX, Creation
from shared.log import topology
from shared.log.port import LogConflict
from shared.log.topology import PROGRESS, PROGRESS_SUBJECTS


def registration(submission: ParsedSubmission, caller: Caller, meta: Meta) -> tuple[Command, Origin]:
    """The registration that a submission stands for; the form is the one that a desk fills in over HTTP."""
    body: RegisterBody = submission.body
    assert submission.id is not None, "a submission that is decided has an id"
    facts = registration_facts(body, caller.person, caller.unit, meta.time)
    facts = facts.model_copy(update={"source": submission.source, "source_id": submission.id})
    payload = body.model_dump_json(exclude={"time"}).encode()
    origin = Origin(f"submission.{submission.source}", submission.id, payload)
    return command(Address("case", body.region, ""), meta, "register", facts), origin


CREATIONS = {"register": Creation(RegisterBody, registration)}


def messages() -> Router:
    """The messages that intake hears and says, for one broker."""
    router = submissions_router("intake")
    announce_stream(router, PROGRESS_SUBJECTS, stream=PROGRESS)
    return router


class ProgressReporter:
    """Tells platforms every public step of their cases, once and in order: `progress.<source>.<number>`."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._streams, self._edge = application.data.streams, application.data.edge

    async def report(self, recorded: Recorded[Any]) -> None:
        """Bring the progress of an event's case up to the log; nothing for a case that no platform submitted."""
        if step_of(recorded.event) is None:
            return
        # however old: the source of a case never changes
        state = (await self._application.load_for_service(recorded.address, fresh=False)).state
        if state.source is not None and self._application.identity.person(f"{PERSON_PREFIX}{state.source}") is not None:
            await self._catch_up(recorded.address, state.source)

    async def _catch_up(self, address: Address, source: str) -> None:
        steps = steps_in_the_open((await self._application.history_for_service(address)).events)
        number = self._application.data.number(address, steps[0].state)
        subject = topology.progress(source, number)
        while True:
            last = await self._streams.last(PROGRESS, subject)
            sequence = last.sequence if last else 0
            version = from_json(last.data)["data"]["version"] if last else 0
            try:
                for step in steps:
                    if step.state.version > version:
                        data = to_json(_progress(number, step), exclude_none=True)
                        sequence = await self._edge.publish(PROGRESS, subject, data, expected=sequence)
                return
            except LogConflict:  # another event of the case is being reported at the same time
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
