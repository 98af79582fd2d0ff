"""The messages of platforms as CloudEvents 1.0: submissions, receipts and progress; and the parsing of a submission.

Pure. Rights and the law are checked later, by the application layer (`submissions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import Message
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticCustomError, from_json

from shared.case.base import Owner, contains, derived_id
from shared.case.commands import COMMANDS, CommandSpec
from shared.kit import access
from shared.kit.application import Answer
from shared.kit.bodies import body_of
from shared.kit.preconditions import IF_MATCH_CHARS_MAX
from shared.kit.problems import FieldError, Forbidden, Problem, ProblemError, Unprocessable, describe
from shared.log.consumers import RawMessage

Form = type[BaseModel]
PREFIX = "command."
PARKED_CODE = "submission.parked"
ID_CHARS_MAX = 128
_ID = re.compile(rf"[\x21-\x7e]{{1,{ID_CHARS_MAX}}}")
_OURS = re.compile(r"seq-[0-9]+")
_SOURCE = re.compile(r"[A-Za-z0-9_=-]{1,128}")


def is_submission_id(value: Any) -> TypeGuard[str]:
    """Whether a receipt can stand under this id; `seq-<n>` is ours."""
    return isinstance(value, str) and bool(_ID.fullmatch(value)) and not _OURS.fullmatch(value)


def is_source(value: str) -> bool:
    """Whether a text is the name of a source: one token of a subject."""
    return bool(_SOURCE.fullmatch(value))


def _not_ours(value: str) -> str:
    if _OURS.fullmatch(value):
        raise PydanticCustomError("id_reserved", "Ids of the form seq-<number> are given by us; use another")
    return value


def _media_type(value: object) -> object:
    """A media type without its parameters, in lower case (RFC 9110, 8.3.1). JSON in another character set stays."""
    if not isinstance(value, str):
        return value
    message = Message()
    message["content-type"] = value
    return message.get_content_type() if message.get_content_charset("utf-8") in ("utf-8", "us-ascii") else value


class CloudEvent(BaseModel):
    """CloudEvents 1.0, structured JSON; extension attributes that nobody here knows are tolerated."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    specversion: Literal["1.0"] = "1.0"
    datacontenttype: Annotated[Literal["application/json"], BeforeValidator(_media_type)] = "application/json"


class Envelope(CloudEvent):
    """A submission. `id` is unique within the source; `time` is when it happened; `subject` names the case by number or
    id, for a command on a case that is there; `data` are the facts of the command. `ifmatch`: the version of the case
    that the decision rests on, as an entity tag; in another version it is refused."""

    specversion: Literal["1.0"]
    id: Annotated[
        str,
        StringConstraints(pattern=r"^[\x21-\x7e]+$", min_length=1, max_length=ID_CHARS_MAX),
        AfterValidator(_not_ours),
    ]
    source: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]{1,128}$")]
    type: Annotated[str, StringConstraints(pattern=r"^command\.[a-z-]{1,40}$")]
    subject: Annotated[str, StringConstraints(min_length=1, max_length=80)] | None = None
    time: AwareDatetime | None = None
    traceparent: Annotated[str, StringConstraints(max_length=64)] | None = None
    ifmatch: Annotated[str, StringConstraints(max_length=IF_MATCH_CHARS_MAX)] | None = None
    data: dict[str, Any]


class Receipt(CloudEvent):
    """The one answer to a submission.

    `subject`: its id, or seq-<sequence>. `sequence`: its sequence in SUBMISSIONS.
    """

    id: str
    source: str
    type: Literal["submission.accepted", "submission.refused"]
    subject: str
    time: AwareDatetime
    sequence: int
    command: str | None = None
    data: Answer | Problem

    @classmethod
    def of(
        cls,
        owner: Owner,
        source: str,
        subject: str,
        sequence: int,
        command: str | None,
        now: datetime,
        outcome: Answer | Problem,
    ) -> Receipt:
        """The receipt of a submission of `source`. `subject`: the id of the submission, or seq-<sequence>."""
        refused = isinstance(outcome, Problem)
        return cls(
            id=derived_id("receipt", source, subject, ""),
            source=f"/{owner}",
            type="submission.refused" if refused else "submission.accepted",
            subject=subject,
            time=now,
            sequence=sequence,
            command=command,
            data=outcome,
        )

    def may_repeat(self, command: str) -> bool:
        """Whether the id may come with this command again: it was accepted with it, or set aside without a decision."""
        if isinstance(self.data, Problem):
            return self.data.code == PARKED_CODE
        return self.command == command

    def answers(self, other: Receipt) -> bool:
        """Whether this receipt answers the other submission too: both are of one message, or of one decision."""
        if self.sequence == other.sequence:
            return True
        mine, theirs = self.data, other.data
        same = isinstance(mine, Answer) and isinstance(theirs, Answer) and mine.id == theirs.id
        return same and self.command == other.command


class StepFacts(BaseModel):
    """A public step of a case: what happened and where the case stands after it; never content, never a person."""

    model_config = ConfigDict(frozen=True)

    id: str
    number: str
    step: str
    status: str
    unit: str | None = None
    version: int
    position: str


class Progress(CloudEvent):
    """One step of a platform's case: `id` is that of the event on the log, `subject` the case number."""

    id: str
    source: Literal["/intake"] = "/intake"
    type: Literal["case.progress"] = "case.progress"
    subject: str
    time: AwareDatetime
    data: StepFacts


@dataclass(frozen=True, slots=True)
class ParsedSubmission:
    """A message, as far as it can be read. `problem`: the reason of its refusal; `body` may be missing then."""

    source: str
    sequence: int
    id: str | None = None
    name: str | None = None
    region: str = ""
    envelope: Envelope | None = None
    body: Any = None
    problem: Problem | None = None

    @property
    def spec(self) -> CommandSpec | None:
        """The command of the submission; None when there is no such command, or nobody may send it."""
        return COMMANDS[self.name] if self.name and self.name in COMMANDS and access.offered(self.name) else None

    @property
    def owner(self) -> Owner:
        """The service that answers: the owner of the command, else intake."""
        return self.spec.owner if self.spec else Owner.INTAKE

    @property
    def lane(self) -> str:
        """The key of submissions that are answered one after the other: those of one platform about one case."""
        about = self.envelope.subject if self.envelope else None
        return f"{self.source} {about or self.id or self.sequence}"

    @property
    def by_sequence(self) -> str:
        """The subject of the receipt when the submission has no id, or another receipt has its id."""
        return f"seq-{self.sequence}"


def read(message: RawMessage, forms: Mapping[str, Form], owner: Owner | None = None) -> ParsedSubmission:
    """Read and check a message; never raises. `forms`: bodies other than the facts of the command.

    With an `owner`, a submission for another owner is returned unchecked.
    """
    parts = message.subject.split(".")
    parsed = ParsedSubmission(parts[1], message.sequence)
    try:
        body = from_json(message.data)
    except ValueError:
        problem = Unprocessable("This is not JSON in UTF-8.", code="submission.not_json", advice="Publish JSON.")
        return replace(parsed, problem=problem.problem)
    if not isinstance(body, dict):
        problem = Unprocessable("This is no CloudEvent: a JSON object is due.", code="submission.not_cloudevent")
        return replace(parsed, problem=problem.problem)
    id, type_ = body.get("id"), body.get("type")
    name = type_.removeprefix(PREFIX) if isinstance(type_, str) and type_.startswith(PREFIX) else None
    parsed = replace(parsed, id=id if is_submission_id(id) else None, name=name)
    if owner is not None and parsed.owner is not owner:
        return parsed
    try:
        return _checked(parsed, body, parts, forms)
    except ProblemError as error:
        return replace(parsed, problem=error.problem)


def _checked(
    parsed: ParsedSubmission, body: dict[str, Any], parts: Sequence[str], forms: Mapping[str, Form]
) -> ParsedSubmission:
    if [len(part) for part in parts[2:]] != [2, 2, 2, 3, 3] or not all(p.isascii() and p.isdigit() for p in parts[2:]):
        raise Unprocessable("The subject is not submit.<source>.<pp>.<cc>.<xx>.<ttt>.<vvv>.", code="subject.malformed")
    try:
        envelope = Envelope.model_validate(body)
    except ValidationError as error:
        fields = describe(error.errors())
        raise Unprocessable(
            "This is no CloudEvent that can be used.", code="submission.not_cloudevent", fields=fields
        ) from None
    if envelope.source != parsed.source:
        raise Forbidden("`source` is not the name that this was published under.", code="source.differs")
    spec = parsed.spec
    if spec is None:
        known = parsed.name in COMMANDS
        raise (
            Forbidden("Only a service itself decides this.", code="command.internal")
            if known
            else Unprocessable(
                "There is no such command.",
                code="command.unknown",
                advice="See shared/contract/EVENTS.md for those there are.",
            )
        )
    if "time" in envelope.data:
        raise _wrong("data.time", "extra_forbidden", "The time stands in the envelope")
    if envelope.subject is None and not access.is_creation(spec.name):
        raise _wrong("subject", "missing", "Name the case by its number or id")
    form = forms.get(spec.name) or body_of(spec.facts)
    try:
        facts = form.model_validate(envelope.data)
    except ValidationError as error:
        errors = ({**fault, "loc": ("data", *fault["loc"])} for fault in error.errors())
        raise Unprocessable("The data have fields that cannot be used.", fields=describe(errors)) from None
    return replace(parsed, region="".join(parts[2:]), envelope=envelope, body=facts)


def _wrong(field: str, code: str, message: str) -> Unprocessable:
    return Unprocessable(
        "The submission has fields that cannot be used.", fields=[FieldError(field=field, code=code, message=message)]
    )


def within(parsed: ParsedSubmission, region: str) -> None:
    """Raise Forbidden when a region lies outside the region of the subject that the submission was published on."""
    if not contains(parsed.region, region):
        raise Forbidden("The case's region lies outside the subject that this was published on.", code="region.outside")
