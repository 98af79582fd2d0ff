"""The types common to all events and commands: regions, ids, actor, metadata, addresses, sealed fields.

The module is pure: it uses the standard library and pydantic only. A region code has the twelve digits 2+2+2+3+3 of
clause 4 of GB/T 33200-2016 (province, city, county, township, village). The levels below the region's own are zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from shared.case._fast import constructed, replaced_by, uuid5_in

EVENT_BYTES_MAX = 60 * 1024
SEAL_PREFIX = "seal1."
_NAMESPACE = UUID("6ac9a3b6-4d4e-5b8f-9e52-332002016332")

Region = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]
UnitCode = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}-[a-z0-9-]{1,32}$")]
PersonId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,47}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
CaseId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Reference = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,24}(:[0-9]{12})?@[0-9]{1,12}$")]
Sealed = Annotated[str, StringConstraints(pattern=r"^seal1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$")]


class Owner(StrEnum):
    """The four services. Every event and every command has exactly one owner, and only the owner appends the event."""

    INTAKE = "intake"
    ROUTING = "routing"
    SUPERVISION = "supervision"
    REPORTING = "reporting"


class Level(IntEnum):
    """The five levels of clause 4, counted from the top."""

    PROVINCE = 1
    CITY = 2
    COUNTY = 3
    TOWNSHIP = 4
    VILLAGE = 5


_CUTS = {Level.PROVINCE: 2, Level.CITY: 4, Level.COUNTY: 6, Level.TOWNSHIP: 9, Level.VILLAGE: 12}


def level_of(region: str) -> Level:
    """The level of a twelve-digit region code: the lowest level whose digits are not all zero."""
    for level, cut in _CUTS.items():
        if not region[cut:].strip("0"):
            return level
    raise AssertionError("unreachable")  # the cut at 12 leaves the empty string


def region_at(region: str, level: Level) -> str:
    """The region at `level` that contains `region`: its code with zeros for the lower levels."""
    return region[: _CUTS[level]].ljust(12, "0")


def region_prefix(region: str) -> str:
    """The significant digits of a region code: the prefix of every region inside it."""
    return region[: _CUTS[level_of(region)]]


def contains(outer: str, inner: str) -> bool:
    """Whether region `inner` is `outer` or lies in it (clause 4: one tree)."""
    return inner.startswith(region_prefix(outer))


def parent(region: str) -> str | None:
    """The region one level up, None above a province (clause 11.2: the centre above)."""
    level = level_of(region)
    return None if level is Level.PROVINCE else region_at(region, Level(level - 1))


class Frozen(BaseModel):
    """An immutable value. Unknown fields are refused on write."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_timedelta="float")


_Model = TypeVar("_Model", bound=BaseModel)


@replaced_by(constructed)
def trusted(cls: type[_Model], values: dict[str, Any]) -> _Model:
    """A model made of values of all its fields. The values were validated before and are not validated again."""
    model: _Model = cls.model_construct(**values)
    return model


class Actor(Frozen):
    """The person who acts, with the post, the unit, the centre and the region of the act (clause 7).

    `acting_for`: the absent person as whose deputy the person acts; post, unit and region are then those of the absent
    person.
    """

    person: PersonId
    post: Code
    unit: UnitCode
    centre: Region
    region: Region
    acting_for: PersonId | None = Field(default=None, exclude_if=lambda person: person is None)


class Meta(Frozen):
    """The metadata of a decision: the command id, two times, the actor and the cause.

    `time` is the moment of the act, `recorded_at` the moment of its receipt. Deadlines are judged by `time`.
    `references` name the reference documents in force, as `kind@sequence` or `kind:region@sequence`.
    """

    command_id: str
    time: AwareDatetime
    recorded_at: AwareDatetime
    actor: Actor
    causation_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    references: tuple[Reference, ...] = ()


class Facts(Frozen):
    """The fields that an event and its command have in common."""


class Event(Facts):
    """A change of one aggregate. Subclasses give `type` (the name on the wire) and `owner`."""

    TYPE: ClassVar[str]
    VERSION: ClassVar[int]
    OWNER: ClassVar[Owner]
    PRIVATE: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(
        cls, *, type: str | None = None, version: int = 1, owner: Owner | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if type is not None and owner is not None:
            cls.TYPE, cls.VERSION, cls.OWNER = type, version, owner

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.PRIVATE = tuple(
            name for name, field in cls.model_fields.items() if PRIVATE in field.metadata or _marked(field.annotation)
        )


PRIVATE = "private"
FILLED = "filled"


def _marked(annotation: Any) -> bool:
    """Whether an annotation has the mark of a private field at any depth, as in `Private[Note] | None`."""
    return PRIVATE in getattr(annotation, "__metadata__", ()) or any(_marked(part) for part in get_args(annotation))


T = TypeVar("T", bound=Frozen)
V = TypeVar("V")
# A field whose value the owner of the command fills in: the caller cannot send it.
Filled = Annotated[V, FILLED]
# A field that is sealed before it reaches the log. It is a model in a command and in memory, a token everywhere else.
Private = Annotated[T | Sealed, PRIVATE]


@dataclass(frozen=True)
class Address:
    """The address of an aggregate: its kind, the region of its creation (which never changes) and its id.

    `kind.pp.cc.xx.ttt.vvv.id` is its exact subject on the log. The region serves as an address only.
    """

    kind: str
    region: str
    id: str

    @cached_property
    def subject(self) -> str:
        region = self.region
        return f"{self.kind}.{region[:2]}.{region[2:4]}.{region[4:6]}.{region[6:9]}.{region[9:12]}.{self.id}"

    @classmethod
    def parse(cls, subject: str) -> Address:
        """The address that a subject states. Raises ValueError when the text is no subject of an aggregate."""
        parts = subject.split(".")
        if len(parts) != 7 or [len(p) for p in parts[1:6]] != [2, 2, 2, 3, 3]:
            raise ValueError(f"not the subject of an aggregate: {subject!r}; expected kind.pp.cc.xx.ttt.vvv.id")
        return cls(parts[0], "".join(parts[1:6]), parts[6])

    @classmethod
    def of(cls, kind: str, id: str) -> Address:
        """The address of an aggregate by its id alone: the id contains the region of its creation.

        Raises ValueError when the text is not an id that `new_id` made.
        """
        try:
            number = UUID(id)
        except ValueError:
            raise ValueError(f"not an id: {id[:64]!r}; expected 36 characters like 76c40c8a-...") from None
        region = number.int >> 88
        if number.version != 8 or region >= 10**12:
            raise ValueError(f"not an id of a {kind}: {id[:64]!r}; it carries no region")
        return cls(kind, f"{region:012d}", str(number))


@dataclass(frozen=True, slots=True)
class Position:
    """A position on the log: stream and sequence, written `LOG_5101:17`. Used for `?after=` and checkpoints."""

    stream: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.stream}:{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position in its text form. Raises ValueError that names the expected form."""
        stream, _, sequence = text.partition(":")
        if not stream or not sequence.isascii() or not sequence.isdigit() or len(sequence) > 18:
            raise ValueError("not a position; expected stream:sequence, for example LOG_5101:17")
        return cls(stream, int(sequence))


def utc_time(text: str) -> datetime:
    """The time that a text in ISO 8601 states, in UTC. Raises ValueError for one without an offset, OverflowError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without an offset")
    return time.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event of a type or version newer than this program: projections skip it, deciders refuse to write after it."""

    type: str
    version: int
    data: dict[str, Any]


E = TypeVar("E", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True)
class Recorded(Generic[E]):
    """One event on the log. `position` is None until the log has accepted it."""

    id: str
    address: Address
    meta: Meta
    event: E | Unknown
    position: Position | None = None

    @property
    def known(self) -> E:
        """The event, for callers that have excluded `Unknown` before."""
        assert not isinstance(self.event, Unknown), "an event of a newer version was not excluded"
        return self.event

    @property
    def type(self) -> str:
        return self.event.type if isinstance(self.event, Unknown) else self.event.TYPE

    @property
    def time(self) -> datetime:
        return self.meta.time


def derived_id(policy: str, cause: str, subject: str, what: str) -> str:
    """The id of a consequence of an event: uuid5 over policy, cause, subject and `what` (RFC 9562, 5.5)."""
    return _named_id("\x1f".join((policy, cause, subject, what)))


@replaced_by(uuid5_in(_NAMESPACE))
def _named_id(name: str) -> str:
    return str(uuid5(_NAMESPACE, name))


def new_id(region: str, command_id: str) -> str:
    """The id of the aggregate that a command creates: a UUID version 8 (RFC 9562, 5.8).

    Its first 40 bits are the region of the creation: the stream of the aggregate follows from the id alone. The other
    82 free bits follow from the command: the same command always creates the same aggregate.
    """
    rest = UUID(derived_id("birth", command_id, region, "")).int & ((1 << 88) - 1)
    raw = (int(region) << 88) | rest
    raw = raw & ~(0xF << 76) | (8 << 76)
    raw = raw & ~(0x3 << 62) | (2 << 62)
    return str(UUID(int=raw))


def event_id(command_id: str, subject: str) -> str:
    """The id of the one event that a command appends to one aggregate. Every repetition of the command has the same."""
    return derived_id("event", command_id, subject, "")
