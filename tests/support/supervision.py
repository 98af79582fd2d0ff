"""Cases with the fields and clocks that the read model of supervision reads."""

from __future__ import annotations

from typing import Any

from shared.case.base import Address, Position, new_id
from shared.case.clocks import RunningDeadline
from shared.case.facts import Nature
from shared.case.lifecycle import Status
from shared.case.state import CaseState
from shared.kit.effects import AggregateChange, state_json
from tests.support.clock import START
from tests.support.law import TOWNSHIP

STREAM = "LOG_5101"
UNIT = f"{TOWNSHIP}-housing"


def watched(name: str, sequence: int, *clocks: RunningDeadline, **more: Any) -> AggregateChange:
    """A case with these clocks, in handling unless `more` says otherwise, its last event at `sequence`."""
    address = Address("case", TOWNSHIP, new_id(TOWNSHIP, name))
    state = CaseState(
        version=sequence, registration_sequence=1, region=TOWNSHIP, in_charge=TOWNSHIP, nature=Nature.HELP,
        unit=UNIT, registered_at=START, last_at=START, clocks=clocks, **({"status": Status.HANDLING} | more),
    )  # fmt: skip
    return AggregateChange(address, state, Position(STREAM, sequence), (), state_json("case", state))
