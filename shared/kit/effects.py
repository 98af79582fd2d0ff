"""What policies and projections say, and what they are told: values only, so that they can stay pure.

A policy's `Reaction` looks at what was `Seen` and answers with what should come `Next`; a projection turns a `Change`
into rows. Who carries it out is in `reactions.py` and `projections.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.case.base import Address, Facts, Position, Recorded
from shared.case.orders import ORDER_STATE
from shared.case.reasons import Rejected
from shared.case.state import STATE

ADAPTERS: dict[str, Any] = {"case": STATE, "order": ORDER_STATE}
STATE_TEXTS_COUNT_MAX = 512


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A command that a reaction wants decided; `what` tells apart several that follow from one cause."""

    address: Address
    name: str
    facts: Facts
    what: str = ""


@dataclass(frozen=True, slots=True)
class ReactionContext:
    """What a reaction may look at: the event, the case as it now is, the documents in force."""

    recorded: Recorded[Any]
    state: Any
    library: Any


@dataclass(frozen=True, slots=True)
class Reaction:
    """`decide` is pure. `opens`: the event's content is unsealed for it. `refused` hears what the law did not allow."""

    name: str
    on: frozenset[str]
    decide: Callable[[ReactionContext], Sequence[CommandRequest]]
    opens: bool = False
    refused: Callable[[ReactionContext, CommandRequest, Rejected], Sequence[CommandRequest]] | None = None


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
