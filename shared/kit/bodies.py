"""Commands as people and platforms write them: the facts of a command as a model without seals, and back.

Over HTTP the body of a command, over NATS the data of a submission. A registration has a form of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Self, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from shared.case.base import FILLED, PRIVATE, Code, Facts, PersonId, Region, UnitCode
from shared.case.content import phone_number, safe_file_name, shown_line
from shared.case.facts import Channel, Matter, Nature, Note, Parties, Party, Retention, Severity, Short, Text, Title


def _party(party: Party) -> Party:
    name, address = shown_line(party.name), shown_line(party.address)
    return _with(party, name=name, address=address, phone=phone_number(party.phone))


def _parties(parties: Parties) -> Parties:
    return _with(parties, parties=tuple(_party(party) for party in parties.parties))


def _matter(matter: Matter) -> Matter:
    title, address = shown_line(matter.title), shown_line(matter.address)
    return _with_file_names(_with(matter, title=title, address=address))


def _with_file_names(content: WithFiles) -> WithFiles:
    return _with(content, file_names=tuple(map(safe_file_name, content.file_names)))


def _with(model: M, **values: Any) -> M:
    """The model with these values. A field that was left out stays so: a sender leaves it out again."""
    changed = {name: value for name, value in values.items() if value != getattr(model, name)}
    return model.model_copy(update=changed) if changed else model


# Content as people write it. Content that is stored is not judged again.
M = TypeVar("M", bound=BaseModel)
WithFiles = TypeVar("WithFiles", Matter, Note)
Line = AfterValidator(shown_line)
StatedParty = Annotated[Party, AfterValidator(_party)]
_STATED: Mapping[type[BaseModel], Any] = {
    Parties: Annotated[Parties, AfterValidator(_parties)],
    Matter: Annotated[Matter, AfterValidator(_matter)],
    Note: Annotated[Note, AfterValidator(_with_file_names)],
}


class RegisterBody(BaseModel):
    """The registration form, as a desk, a page or a phone sends it (clause 5.1.3 a).

    `handed_by`: the region of the superior centre that hands the matter down and follows it (clause 5.1.1 i).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel
    region: Region
    nature: Nature
    title: Annotated[Title, Line]
    text: Text
    address: Annotated[Short, Line] = ""
    parties: Annotated[tuple[StatedParty, ...], Field(max_length=50)] = ()
    subject: Code | None = None
    severity: Severity = Severity.GENERAL
    retention: Retention = Retention.YEAR_1
    first_asked: PersonId | None = None
    first_asked_unit: UnitCode | None = None
    contact_time: AwareDatetime | None = None
    grid: Annotated[str, Field(pattern=r"^[0-9]{15}$")] | None = None
    complained_unit: UnitCode | None = None
    stand_aside: Annotated[tuple[PersonId, ...], Field(max_length=50)] = ()
    informant: bool = False
    people_count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    handed_by: Region | None = None
    answer: Text | None = None
    time: AwareDatetime | None = None

    @model_validator(mode="after")
    def _handed_down_by_a_superior(self) -> Self:
        if self.handed_by is not None and self.channel is not Channel.SUPERIOR:
            raise PydanticCustomError("handed_by", "handed_by is for what a superior hands down: channel superior")
        return self


@cache
def body_of(facts: type[Facts]) -> type[BaseModel]:
    """The body of a command: its facts as people write them (content open, never a seal), and when it happened.

    Facts that the service adds are left out.
    """
    fields: dict[str, Any] = {
        name: (_opened(field.rebuild_annotation()), ... if field.is_required() else field.default)
        for name, field in facts.model_fields.items()
        if FILLED not in field.metadata
    }
    fields["time"] = (AwareDatetime | None, None)
    return create_model(
        facts.__name__, __config__=ConfigDict(extra="forbid", frozen=True), __doc__=facts.__doc__, **fields
    )


def facts_of_body(body: BaseModel, facts: type[Facts]) -> Facts:
    """The facts that a body states; facts that it leaves out are added later, if at all."""
    names = body_of(facts).model_fields.keys() & facts.model_fields
    return facts.model_construct(**{name: getattr(body, name) for name in names})


def _opened(annotation: Any) -> Any:
    """The annotation without seals: over HTTP `Private[X]` is X."""
    if get_origin(annotation) is Annotated and PRIVATE in annotation.__metadata__:
        inner = get_args(annotation)[0]
        model = next(part for part in get_args(inner) if isinstance(part, type) and issubclass(part, BaseModel))
        return _STATED.get(model, model)
    if get_origin(annotation) in (Union, UnionType):
        parts = tuple(_opened(part) for part in get_args(annotation))
        return Union[parts]  # noqa: UP007
    return annotation
