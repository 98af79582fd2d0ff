"""Enrichers: facts of intake's commands that the service knows and the sender does not state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shared.case import decide as law
from shared.case.commands import Command, facts
from shared.case.events.intake import AttachmentFacts
from shared.case.reasons import Reason, Rejected
from shared.kit.access import Caller
from shared.kit.application import Application, Enricher, rejected
from shared.kit.command_handler import command as command_of


async def merged_facts(application: Application, caller: Caller, command: Command) -> Command:
    """Add the facts of the merged case to an attachment, from that case itself; a repetition adds the same facts.

    The surviving case is from then on withheld from everyone from whom the merged case is withheld. Raises NotFound,
    Forbidden, and ProblemError with the law's reason where that case cannot be merged.
    """
    stated = command.facts
    assert isinstance(stated, AttachmentFacts)
    if stated.merged_from is None:
        return command
    address = await application.locate(stated.merged_from)
    other = (await application.load(caller, address)).state
    merge = command_of(address, command.meta, "merge", facts("merge", into=command.address.id))
    verdict = law.decide(merge, other)
    if isinstance(verdict, Rejected):
        state = (await application.load_for_service(command.address)).state
        if command.meta.command_id not in state.applied:
            raise rejected(verdict)
    if len({stated.complained_unit, other.complained_unit} - {None}) > 1:
        raise rejected(Rejected(Reason.COMPLAINS_OF_ANOTHER))
    added = {
        "merged_registered_at": other.registered_at,
        "merged_repeats": other.repeats or None,
        "complained_unit": other.complained_unit or stated.complained_unit,
        "stand_aside": tuple(dict.fromkeys((*stated.stand_aside, *other.stand_aside))),
        "informant": stated.informant or other.informant,
    }
    return replace(command, facts=stated.model_copy(update=added))


async def forwarded(application: Application, caller: Caller, command: Command) -> Command:
    """Add to the words on a merged case the case in which it goes on, which must be open to them.

    Raises Forbidden where that case is kept from the caller; ProblemError with the law's reason where it refuses them.
    """
    state = (await application.load_for_service(command.address)).state
    if state.merged_into is None or command.meta.command_id in state.applied:
        return command
    address, survivor = await application.survivor(command.address, caller)
    verdict = law.decide(replace(command, address=address), survivor)
    if isinstance(verdict, Rejected):
        raise rejected(Rejected(verdict.reason, f"it goes on in another case, of status {survivor.status}"))
    return replace(command, facts=command.facts.model_copy(update={"forwarded_to": address.id}))


ENRICHERS: Mapping[str, Enricher] = {"attach": merged_facts, "supplement": forwarded, "rate": forwarded}
