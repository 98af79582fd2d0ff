"""Enrichers: facts of routing's commands that the service knows and the sender does not state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.case import clocks
from shared.case import events as e
from shared.case.base import Recorded
from shared.case.commands import Command
from shared.case.lifecycle import Status
from shared.case.state import NEW, evolve
from shared.kit.access import Caller
from shared.kit.application import Application, Enricher


async def standing_before_merge(application: Application, caller: Caller, command: Command) -> Command:
    """Add to the undoing of a merge where the case stood before it, from the log. Raises Unavailable."""
    history = await application.history_for_service(command.address)
    if command.meta.command_id in history.state.applied:
        return command
    return replace(command, facts=command.facts.model_copy(update=standing(history.events)))


def standing(events: Sequence[Recorded[Any]]) -> dict[str, Any]:
    """Where a case stood right before the merge that stands, as facts of an undoing: status, stage and clocks.

    Of a case that is not merged, where it stands; the law refuses to undo its merge.
    """
    state, before = NEW, None
    for recorded in events:
        if isinstance(recorded.event, e.Merged):
            before = state
        state = evolve(state, recorded)
    merged = before if state.status is Status.MERGED else None
    stood = (merged.status, merged.since, merged.clocks) if merged else (Status.AWAITING_TRIAGE, state.since, ())
    status, since, running = stood
    stored = clocks.STORED.dump_json(running, exclude_defaults=True).decode()
    return {"merged_at": state.since, "status": status.value, "since": since, "clocks": stored}


ENRICHERS: Mapping[str, Enricher] = {"unmerge": standing_before_merge}
