"""Submissions: commands that platforms publish as CloudEvents, each answered by exactly one receipt.

A platform publishes a command of the catalogue on `submit.<source>.<pp>.<cc>.<xx>.<ttt>.<vvv>`; the server lets it do
so only under its own name and areas. Each deciding service has a durable of its own and answers its own commands;
intake refuses the messages that name no command. The receipt goes to `receipt.<source>.<id>`, and the first one stays.
A receipt without an id, or whose id is taken, goes to `receipt.<source>.seq-<n>`; n is the sequence of the submission,
which the platform got with the acknowledgement of its publish. So every submission is answered, and none twice.

The order of steps is decide, receipt, wipe, acknowledge: after a kill between any two, the repeated steps change
nothing. A submission holds content in the open (encrypted on disk), so it is overwritten once its receipt is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from pydantic_core import to_json

from shared.case.base import Meta, derived_id
from shared.case.commands import Command
from shared.kit import access, telemetry
from shared.kit.access import Caller
from shared.kit.application import Answer, Application, Origin
from shared.kit.bodies import facts_of_body
from shared.kit.command_handler import command
from shared.kit.lanes import Lanes
from shared.kit.preconditions import UNCHECKED, read_if_match
from shared.kit.problems import Forbidden, Problem, ProblemError, Unavailable, Unprocessable
from shared.kit.retry import ATTEMPTS_COUNT_MAX, DELAY_S_MAX, DELAY_S_MIN, delay_s
from shared.kit.submission import PARKED_CODE, Form, ParsedSubmission, Receipt, is_source, read, within
from shared.kit.translations import TRANSLATIONS, translated
from shared.log import topology
from shared.log.consumers import RawMessage
from shared.log.port import LogConflict, LogUnavailable
from shared.log.topology import RECEIPTS, SUBMISSIONS

CHANNEL = "platform"  # whose allowance says how far back a submission's time may lie
PERSON_PREFIX = "platform-"
BEHIND_S_MAX = 2 * DELAY_S_MAX
AT_ONCE_COUNT_MAX = 256
COUNTED = telemetry.counter("caseflow_submissions_total", "Submissions answered", "service", "outcome")


class OtherSubmission(Unprocessable):
    """The id was used for another submission, whose answer stands."""

    code = "idempotency.key_reused"
    advice = "Use a new id for a new submission; the answer to the first one stands under its id."


@dataclass(frozen=True, slots=True)
class Creation:
    """A command by which a platform creates an aggregate: its form, and the command that a submission stands for."""

    form: Form
    command: Callable[[ParsedSubmission, Caller, Meta], tuple[Command, Origin]]


NO_CREATIONS: Mapping[str, Creation] = MappingProxyType({})


class SubmissionDelivery(Protocol):
    """A submission handed out by a durable, not settled yet: from FastStream, or from the simulation."""

    @property
    def message(self) -> RawMessage: ...
    @property
    def attempts(self) -> int: ...
    @property
    def stored_at(self) -> datetime: ...
    async def ack(self) -> None: ...
    async def nack(self, delay_s: float) -> None: ...


class Submissions:
    """Answers the submissions of one service. `creations`: the commands that may create an aggregate."""

    def __init__(self, application: Application, creations: Mapping[str, Creation] = NO_CREATIONS) -> None:
        self._application, self._creations = application, creations
        self._owner, self._streams = application.identity.owner, application.data.streams
        self._edge = application.data.edge
        self._clock, self._runtime = application.runtime.clock, application.runtime
        self._dead_letters = application.dead_letters
        self._forms = {name: creation.form for name, creation in creations.items()}
        self._lanes = Lanes(self._clock)
        # lane -> the sequence that must be redelivered before later ones, and until when; another process may answer it
        self._behind: dict[str, tuple[int, float]] = {}

    async def take(self, delivery: SubmissionDelivery) -> None:
        """Settle one submission: answer it, have it redelivered, or park it. Those of one lane follow one another.

        Raises LogUnavailable; the submission is redelivered then.
        """
        submission = read(delivery.message, self._forms, self._owner)
        if submission.owner is not self._owner:
            await delivery.ack()
            return
        async with self._lanes.turn(submission.lane, submission.sequence):
            with self._runtime.telemetry.span(f"submissions.{self._owner}", sequence=submission.sequence):
                await self._take_in_turn(submission, delivery)

    async def _take_in_turn(self, submission: ParsedSubmission, delivery: SubmissionDelivery) -> None:
        first, until = self._behind.get(submission.lane, (submission.sequence, 0.0))
        if first < submission.sequence and self._clock.monotonic() < until:
            await delivery.nack(DELAY_S_MIN)
        elif await self._settle(submission, delivery):
            self._behind.pop(submission.lane, None)
        else:
            self._behind[submission.lane] = submission.sequence, self._clock.monotonic() + BEHIND_S_MAX

    async def _settle(self, submission: ParsedSubmission, delivery: SubmissionDelivery) -> bool:
        """Answer one submission and acknowledge it; False: it is redelivered."""
        try:
            with self._runtime.telemetry.continued(
                submission.envelope.traceparent if submission.envelope else None, self._clock
            ):
                await self._answer(submission, delivery)
        except Exception as error:  # any failure: it is redelivered, or parked with a receipt
            patient = isinstance(error, LogUnavailable | Unavailable)
            if not patient and delivery.attempts >= ATTEMPTS_COUNT_MAX:
                try:
                    await self._park(submission, delivery, type(error).__name__)  # never its text: it may quote content
                    return True
                except LogUnavailable:
                    pass
            await delivery.nack(delay_s(delivery.attempts))
            return False
        return True

    async def _answer(self, submission: ParsedSubmission, delivery: SubmissionDelivery) -> None:
        """Decide and publish the receipt. Raises Unavailable, and problems of status 500 and above."""
        outcome: Answer | Problem
        standing = await self._standing(submission.source, submission.id) if submission.id else None
        if standing is not None and standing.sequence == submission.sequence:
            await self._finish(submission, delivery)
            return
        subject_ids = [submission.id] if submission.id else []
        try:
            outcome = await self._decide(submission, standing, delivery.stored_at)
        except tuple(TRANSLATIONS) as error:
            translation = translated(error)
            assert translation is not None, "the except clause names the same errors"
            outcome = translation.problem
        except ProblemError as error:
            outcome = Problem(**{name: getattr(error.problem, name) for name in Problem.model_fields})
            if outcome.code == OtherSubmission.code:  # the receipt of the first one has the id, or will have it
                outcome, subject_ids = OtherSubmission("This id was used for another submission.").problem, []
        if isinstance(outcome, Problem) and outcome.status >= 500:
            kind = Unavailable if outcome.status == Unavailable.status else ProblemError
            raise kind(outcome.detail, code=outcome.code)
        await self._publish_receipt(submission, outcome, subject_ids)
        await self._runtime.failpoints.hit("intake.receipt.published")
        await self._finish(submission, delivery)

    async def _finish(self, submission: ParsedSubmission, delivery: SubmissionDelivery) -> None:
        await self._streams.wipe(SUBMISSIONS, submission.sequence)
        await delivery.ack()

    async def _standing(self, source: str, id: str) -> Receipt | None:
        if not is_source(source):
            return None
        message = await self._streams.last(RECEIPTS, topology.receipt(source, id))
        return None if message is None else Receipt.model_validate_json(message.data)

    async def _decide(
        self, submission: ParsedSubmission, standing: Receipt | None, stored_at: datetime
    ) -> Answer | Problem:
        """Execute the command; the answer, or the problem. Raises ProblemError and the errors in TRANSLATIONS."""
        spec, envelope = submission.spec, submission.envelope
        if submission.problem is not None or envelope is None or spec is None:
            assert submission.problem is not None, "what has no command or envelope says why"
            return submission.problem
        person = self._application.identity.person(f"{PERSON_PREFIX}{submission.source}")
        if person is None:
            raise Forbidden(
                "No platform of this name is known here.", code="platform.unknown",
                advice=f"Ask the administrator for a person {PERSON_PREFIX}<source> among the reference documents.",
            )  # fmt: skip
        if standing is not None and not standing.may_repeat(spec.name):
            raise OtherSubmission("")
        caller = replace(person, source=submission.source)
        command_id = derived_id("submission", submission.source, envelope.id, "")
        meta = self._application.meta(  # compared with `stored_at`: it does not get too old while the services are down
            caller, command_id, submission.region, envelope.time, CHANNEL, stored_at, telemetry.traceparent()
        )
        if access.is_creation(spec.name):
            if spec.name not in self._creations:
                raise Forbidden("Platforms do not send this command.", code="command.not_for_platforms")
            within(submission, submission.body.region)
            created, origin = self._creations[spec.name].command(submission, caller, meta)
            return await self._application.execute(caller, created, origin)
        address = await self._application.locate(envelope.subject or "", spec.kind)
        within(submission, address.region)
        if standing is not None and isinstance(standing.data, Answer) and standing.data.id != address.id:
            raise OtherSubmission("")
        precondition = UNCHECKED if envelope.ifmatch is None else read_if_match([envelope.ifmatch])
        facts = facts_of_body(submission.body, spec.facts)
        if "source" in spec.facts.model_fields:
            facts = facts.model_copy(update={"source": submission.source, "source_id": envelope.id})
        sent = command(address, meta, spec.name, facts)
        return await self._application.execute(caller, sent, precondition=precondition)

    async def _publish_receipt(
        self, submission: ParsedSubmission, outcome: Answer | Problem, subject_ids: Sequence[str]
    ) -> None:
        """Publish the one receipt, under the id or, when another receipt has it, under the sequence."""
        refused = isinstance(outcome, Problem)
        self._runtime.telemetry.add(COUNTED, self._owner, "refused" if refused else "accepted")
        if not is_source(submission.source):  # no platform can publish there, and none could read the receipt
            await self._note_for_operator(submission, "no source")
            return
        now, name = self._clock.now(), submission.name
        for subject_id in (*subject_ids, submission.by_sequence):
            receipt = Receipt.of(self._owner, submission.source, subject_id, submission.sequence, name, now, outcome)
            subject, data = topology.receipt(submission.source, subject_id), to_json(receipt, exclude_none=True)
            try:
                await self._edge.publish(RECEIPTS, subject, data, expected=0)
                return
            except LogConflict:
                standing = await self._standing(submission.source, subject_id)
                if standing is not None and standing.answers(receipt):
                    return

    async def _park(self, submission: ParsedSubmission, delivery: SubmissionDelivery, reason: str) -> None:
        """Park a submission that fails again and again: a dead letter for the operator, a receipt for the platform."""
        telemetry.warn("parked", service=self._owner, sequence=submission.sequence, reason=reason)
        await self._note_for_operator(submission, reason)
        await self._runtime.failpoints.hit("react.parked")
        problem = ProblemError(
            "This could not be processed and was set aside for the operator.", code=PARKED_CODE,
            advice="Ask the operator, naming source and sequence; when it is repaired, send the same again, same id.",
        )  # fmt: skip
        await self._publish_receipt(submission, problem.problem, [submission.id] if submission.id else [])
        await self._finish(submission, delivery)

    async def _note_for_operator(self, submission: ParsedSubmission, reason: str) -> None:
        await self._dead_letters.park_submission(submission.source, submission.sequence, submission.name, reason)
