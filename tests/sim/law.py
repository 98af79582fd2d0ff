"""The law as it is when this file is read: what judges a world, also one whose services were sabotaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.case.base import Recorded
from shared.kit.handle import LAWS as _LAWS

LAWS = dict(_LAWS)


def fold(kind: str, events: Sequence[Recorded[Any]]) -> Any:
    """The aggregate after these events."""
    law = LAWS[kind]
    state = law.unborn
    for recorded in events:
        state = law.evolve(state, recorded)
    return state
