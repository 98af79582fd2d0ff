"""Enrichers: facts of routing's commands that the service knows and the sender does not state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shared.case.commands import Command
from shared.case.state import standing
from shared.kit.access import Caller
from shared.kit.application import Application, Enricher


async def standing_before_merge(application: Application, caller: Caller, command: Command) -> Command:
    """Add to the undoing of a merge where the case stood before it, from the log. Raises Unavailable."""
    history = await application.history_for_service(command.address)
    if command.meta.command_id in history.state.applied:
        return command
    return replace(command, facts=command.facts.model_copy(update=standing(history.events)))


ENRICHERS: Mapping[str, Enricher] = {"unmerge": standing_before_merge}
