"""The policy of intake: the parts of a split case become cases, the words on a merged case go on. Also the public steps
of a case. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.case import events as e
from shared.case.announcements import StepName
from shared.case.base import Address, Event, Recorded, contains, new_id
from shared.case.catalogue import COMMAND_OF, step_of
from shared.case.commands import facts
from shared.case.facts import Channel, Matter, Note, Parties, PartMatters, Registration
from shared.case.reasons import Rejected
from shared.case.state import NEW, CaseState, evolve
from shared.kit.effects import CommandRequest, Reaction, reaction


def register_parts(recorded: Recorded[e.Split], case: CaseState, _: object) -> Sequence[CommandRequest]:
    """Register each part of a split case, with the first-asked person of the whole (clause 11.1: for ever)."""
    event, requests = recorded.known, []
    assert isinstance(event.matters, PartMatters), "this reaction has the content unsealed"
    for number, (part, matter) in enumerate(zip(event.parts, event.matters.matters, strict=True), 1):
        registration = Registration(
            channel=Channel(case.channel),
            contact_time=case.contact_time,
            matter=matter,
            region=part.region,
            nature=part.nature,
            subject=part.subject,
            severity=case.severity,
            retention=case.retention,
            first_asked=case.first_asked,
            first_asked_unit=case.first_asked_unit,
            complained_unit=case.complained_unit,
            stand_aside=case.stand_aside,
            informant=case.informant,
            parent=recorded.address.id,
            handed_by=case.handed_by if case.handed_by and _below(case.handed_by, part.region) else None,
            hold=next(iter(hold for hold in case.holds if hold == "import"), None),
        )
        id = new_id(part.region, f"{recorded.id} {number}")
        requests.append(CommandRequest(Address("case", part.region, id), "register", registration))
    return requests


def _below(upper: str, lower: str) -> bool:
    """Whether a region lies below another one: a superior follows only the parts that lie below it."""
    return contains(upper, lower) and upper != lower


def forward(recorded: Recorded[e.Supplemented | e.Rated], case: CaseState, _: object) -> Sequence[CommandRequest]:
    """Pass the words of the reporter of a merged case on. Files stay with the merged case: its key seals them.

    The case in which it goes on took them when they were said; wherever it stands by now, they arrive.
    """
    event = recorded.known
    if event.forwarded_to is None:
        return ()
    note = _words_of(event)
    stated: dict[str, Any] = {"note": note, "from_case": recorded.address.id}
    if isinstance(event, e.Rated):
        stated["satisfaction"] = event.satisfaction
    name = COMMAND_OF[type(event)].name
    address = Address.of("case", event.forwarded_to)
    return (CommandRequest(address, name, facts(name, **stated), to_survivor=True),)


def as_supplement(
    recorded: Recorded[e.Supplemented | e.Rated], request: CommandRequest, _: Rejected
) -> Sequence[CommandRequest]:
    """Pass on the words of a rating alone, where the case is not rated any more: it is handled again, or ended."""
    note = _words_of(recorded.known)
    if request.name != "rate" or note is None:
        return ()
    words = facts("supplement", note=note, from_case=recorded.address.id)
    return (CommandRequest(request.address, "supplement", words, to_survivor=True),)


def _words_of(event: e.Supplemented | e.Rated) -> Note | None:
    return Note(text=event.note.text) if isinstance(event.note, Note) else None


REACTIONS: tuple[Reaction, ...] = (
    reaction("intake.register_parts", register_parts, unseals=True),
    reaction("intake.forward", forward, unseals=True, refused=as_supplement),
)

# The steps of another reporter's case that the reporter of a merged case may see: its stages, never what people said.
STAGE_STEPS = frozenset(StepName) - {
    StepName.REGISTERED, StepName.SUPPLEMENTED, StepName.REPEATED, StepName.MERGED,
}  # fmt: skip
MASK = "〇〇"
TITLES = ("先生", "女士", "同志", "老师")
_SURNAME_CHARS = (1, 2)
_GAP = r"[\s\-－—–]"
_GAPS = re.compile(f"{_GAP}+")
Steps = list[tuple[StepName, datetime, str | None]]


def public_steps(events: Iterable[tuple[Recorded[Any], Event]]) -> tuple[Steps, str | None]:
    """The steps of a case as its resident may see them, and the reply in force. They name units, never people."""
    steps: Steps = []
    reply: str | None = None
    for recorded, event in events:
        step = step_of(event)
        if step is None or getattr(event, "from_case", None) is not None:  # the words of another reporter
            continue
        steps.append((step, recorded.meta.time, getattr(event, "unit", None)))
        if isinstance(event, e.Settled):
            reply = event.reply.text if isinstance(event.reply, Note) else None  # None once the content is erased
        elif isinstance(event, e.Registered) and event.answer is not None:
            reply = event.answer.text if isinstance(event.answer, Note) else None
        elif isinstance(event, e.SentBack | e.Reopened):
            reply = None
    return steps, reply


def steps_with_survivors(own: Steps, survivors: Iterable[Steps]) -> Steps:
    """The steps of a merged case, with the stages of the cases in which it goes on, in the order of their times."""
    stages = [step for steps in survivors for step in steps if step[0] in STAGE_STEPS]
    return sorted((*own, *stages), key=lambda step: step[1])


def without_reporters(reply: str, others: Iterable[Event], own: Iterable[Event]) -> str:
    """The reply of a case in which a merged case goes on, with names, numbers and addresses of other reporters masked.

    A word is found also with blanks or hyphens in it, as in a phone number that is written in groups.
    """
    hidden = {word for event in others for word in _identities(event)}
    hidden -= {word for event in own for word in _identities(event)}
    text = _joined(reply)
    patterns = [f"{_GAP}*".join(map(re.escape, word)) for word in hidden if word in text]
    if not patterns:
        return reply
    return re.sub("|".join(sorted(patterns, key=len, reverse=True)), lambda match: _masked(match[0]), reply)


def _identities(event: Event) -> Iterable[str]:
    """The names, numbers and addresses of an event's people and its matter, without blanks and hyphens.

    A surname stands there with each title that follows it.
    """
    words: list[str] = []
    reporter, matter = getattr(event, "reporter", None), getattr(event, "matter", None)
    for party in reporter.parties if isinstance(reporter, Parties) else ():
        words += (party.name, party.phone, party.id_number, party.address)
        name = _joined(party.name)
        words += (name[:length] + title for length in _SURNAME_CHARS if len(name) > length for title in TITLES)
    if isinstance(matter, Matter):
        words.append(matter.address)
    return (word for word in map(_joined, words) if len(word) > 1)


def _joined(text: str) -> str:
    return _GAPS.sub("", text)


def _masked(word: str) -> str:
    """The mask of a word; of a surname with a title the title stays, so that the reply can be read."""
    return MASK + next((title for title in TITLES if word.endswith(title)), "")


@dataclass(frozen=True, slots=True)
class PublicStep:
    """One public step of a case: its name, its event, and the case right after the event."""

    step: StepName
    recorded: Recorded[Any]
    state: CaseState


def steps_in_the_open(events: Iterable[Recorded[Any]]) -> list[PublicStep]:
    """The public steps of a case, from all of its events; sealed content is not needed."""
    steps, state = [], NEW
    for recorded in events:
        state = evolve(state, recorded)
        if (step := step_of(recorded.event)) and getattr(recorded.event, "from_case", None) is None:
            steps.append(PublicStep(step, recorded, state))
    return steps
