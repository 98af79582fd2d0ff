"""What policies and projections say, and what they are told: values only, so that they can stay pure.

A policy's `Reaction` looks at what was `Seen` and answers with what should come `Next`; a projection turns a `Change`
into rows. Who carries it out is in `reactions.py` and `projections.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.case.base import Address, Facts, Position, Recorded
from shared.case.orders import ORDER_STATE
from shared.case.reasons import Rejected
from shared.case.state import STATE

ADAPTERS: dict[str, Any] = {"case": STATE, "order": ORDER_STATE}
TEXTS_KEPT_MAX = 512
# By what a state is and not by what it says, which would have to be compared; it is kept, so nothing else gets its id.
_texts: dict[int, tuple[Any, str]] = {}  # the read models of one process write down the same states


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
    """One aggregate in one batch: its state after the batch, where its last event lies, and its new events."""

    address: Address
    state: Any
    position: Position
    events: Sequence[Recorded[Any]]


def state_json(kind: str, state: Any) -> str:
    """A folded state as text for a `state` column; `ADAPTERS[kind]` reads it back."""
    if id(state) not in _texts:
        if len(_texts) >= TEXTS_KEPT_MAX:
            del _texts[next(iter(_texts))]
        _texts[id(state)] = state, ADAPTERS[kind].dump_json(state, exclude_defaults=True, by_alias=True).decode()
    return _texts[id(state)][1]
