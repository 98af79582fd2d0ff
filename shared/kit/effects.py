"""The values that policies and projections take and give, so that they can stay pure.

A reaction takes an event with its case and gives the commands that should follow; a timer policy does the same for a
moment; a projection turns an `AggregateChange` into rows. They are run by `reactions.py`, by the ticker of supervision
and by `projections.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from inspect import signature
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from shared.case.base import Address, Event, Facts, Position, Recorded
from shared.case.catalogue import COMMAND_OF
from shared.case.orders import ORDER_STATE, OrderState
from shared.case.reasons import Rejected
from shared.case.state import STATE, CaseState

ADAPTERS: dict[str, Any] = {"case": STATE, "order": ORDER_STATE}
STATE_TEXTS_COUNT_MAX = 512


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A command that a reaction wants decided; `what` tells apart several that follow from one cause.

    With `to_survivor`, a case that was merged meanwhile passes it on to the case in which it goes on.
    """

    address: Address
    name: str
    facts: Facts
    what: str = ""
    to_survivor: bool = False


# (the event, its case or order as it is now, the reference documents in force) -> the commands that should follow
ReactionFunction = Callable[[Recorded[Any], Any, Any], Sequence[CommandRequest]]
# (the event, a command that followed from it, why the law refused it) -> the commands that should follow from that
RefusalFunction = Callable[[Recorded[Any], CommandRequest, Rejected], Sequence[CommandRequest]]


@dataclass(frozen=True, slots=True)
class Reaction:
    """A reaction of a service to events; made by `reaction`, which reads `events` from the function's annotation.

    The ids of the commands that follow derive from `name`: it is a storage format and never changes. With `unseals` the
    content of the event is opened for `decide`. `refused` hears which of the commands the law refused.
    """

    name: str
    events: frozenset[type[Event]]
    decide: ReactionFunction
    unseals: bool = False
    refused: RefusalFunction | None = None


@dataclass(frozen=True, slots=True)
class OneOf:
    """A mark on an annotation: the event is one of a derived list, as in `Annotated[Event, OneOf(STAGE_CHANGES)]`."""

    events: frozenset[type[Event]]


class BadReaction(TypeError):
    """A function is no reaction; the text says what its annotations must be."""


def reaction(
    name: str, decide: ReactionFunction, *, unseals: bool = False, refused: RefusalFunction | None = None
) -> Reaction:
    """A reaction by its function: a pure function of an event, its case or order, and the documents in force.

    The function hears the events that its first annotation names: `Recorded[Registered]`, or several with `|`. Its
    second one is CaseState or OrderState, as the events are. Raises BadReaction when the annotations say otherwise.
    """
    return Reaction(name, _events_of(decide), decide, unseals, refused)


def _events_of(decide: ReactionFunction) -> frozenset[type[Event]]:
    def bad(problem: str) -> BadReaction:
        shape = "(Recorded[<event> | ...], CaseState | OrderState, <documents in force>) -> Sequence[CommandRequest]"
        return BadReaction(f"{decide.__module__}.{decide.__qualname__} {problem}; a reaction is annotated {shape}")

    parameters = list(signature(decide).parameters)
    try:
        hints = get_type_hints(decide, include_extras=True)
    except (NameError, AttributeError, TypeError) as error:
        raise bad(f"has an annotation that cannot be read ({error})") from error
    if len(parameters) != len(_PARAMETERS) or not hints.keys() >= {*parameters, "return"}:
        raise bad(f"must annotate its result and {len(_PARAMETERS)} parameters: {', '.join(_PARAMETERS)}")
    recorded, state, _ = (hints[parameter] for parameter in parameters)
    if get_origin(recorded) is not Recorded:
        raise bad(f"hears {recorded} in its first parameter, which is no Recorded[...]")
    events = frozenset(_listed(*get_args(recorded)))
    if not events or not all(event in COMMAND_OF for event in events):
        raise bad(f"hears {recorded}, which names something that is no event of the catalogue")
    if {_STATES[COMMAND_OF[event].kind] for event in events} != {state}:
        raise bad(f"hears {recorded}, whose state is not {state}")
    if hints["return"] != Sequence[CommandRequest]:
        raise bad(f"answers with {hints['return']}")
    return events


def _listed(annotation: Any) -> Iterable[Any]:
    """The events that an annotation names: one, a union of them, or those of a derived list."""
    if get_origin(annotation) is Annotated:
        marks = [mark for mark in annotation.__metadata__ if isinstance(mark, OneOf)]
        return marks[0].events if marks else ()
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


_PARAMETERS = ("event", "state", "documents")
_STATES: dict[str, type[Any]] = {"case": CaseState, "order": OrderState}


@dataclass(frozen=True, slots=True)
class Timer:
    """One moment at which something must be asked of a case or an order: what, and by which event it was set."""

    at: datetime
    subject: str
    what: str
    stage: str = ""
    unit: str = ""
    cause: str = ""

    @property
    def key(self) -> tuple[datetime, str, str, str, str]:
        """Its place in the order of what is due."""
        return self.at, self.subject, self.what, self.stage, self.unit


# (address, state, due, now) -> what must be asked because a moment has come
TimerPolicy = Callable[[Address, Any, Timer, datetime], Sequence[CommandRequest]]


@dataclass(frozen=True, slots=True)
class AggregateChange:
    """One aggregate in one batch: its state after the batch, where its last event lies, and its new events.

    `state_text` is the state as a `state` column holds it.
    """

    address: Address
    state: Any
    position: Position
    events: Sequence[Recorded[Any]]
    state_text: str = ""


class StateTexts:
    """Folded states as the text of a `state` column: several read models of one process write down the same state.

    A text is remembered by the identity of its state, since comparing two states costs more than writing one down. The
    state is kept beside its text, so that no other object gets its identity.
    """

    def __init__(self) -> None:
        self._texts: OrderedDict[int, tuple[Any, str]] = OrderedDict()

    def text(self, kind: str, state: Any) -> str:
        """The state as text; `ADAPTERS[kind]` reads it back."""
        entry = self._texts.get(id(state))
        if entry is None:
            if len(self._texts) >= STATE_TEXTS_COUNT_MAX:
                self._texts.popitem(last=False)
            entry = self._texts[id(state)] = state, state_json(kind, state)
        return entry[1]


def state_json(kind: str, state: Any) -> str:
    """A folded state as text for a `state` column; `ADAPTERS[kind]` reads it back."""
    text: bytes = ADAPTERS[kind].dump_json(state, exclude_defaults=True, by_alias=True)
    return text.decode()
