"""EVENTS.md: the catalogue for people. Every event, command, transition and reason, as the code has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from infra.servers.services import SERVICES
from shared.case.base import Event, Facts, Owner
from shared.case.catalogue import EVENTS
from shared.case.commands import COMMANDS, CommandSpec
from shared.case.lifecycle import TRANSITIONS, Transition
from shared.case.orders import ORDER_TRANSITIONS
from shared.case.reasons import Reason
from shared.kit import access

HEAD = """# Events, commands, reasons

Written by `make generate` from the code; do not edit. An event and a command have exactly one owner, and only the owner
appends it. Fields in *italics* are sealed with a key of the case's own; all others stand in the open. Who reacts: the
reactions in `services/<service>/policy.py`. Schemas: `schemas/<event>.v<n>.json` as on the log,
`schemas/command.<name>.json` as sent. Clauses are those of GB/T 33200-2016.
"""
REACTIONS = tuple(reaction for service in SERVICES for reaction in service.reactions)
HEAD_OF_EVENTS = ("event", "meaning", "fields", "who reacts")
HEAD_OF_A_LIFE = ("event", "from", "to", "why")


def events_page() -> str:
    """The page as Markdown."""
    lines = [HEAD]
    for owner in Owner:
        if events := [event for event in EVENTS.values() if event.OWNER is owner]:
            lines += [f"## Events of {owner}", "", *_table(HEAD_OF_EVENTS, map(_event, events)), ""]
    lines += ["## The life of a case", "", *_table(HEAD_OF_A_LIFE, _transitions(TRANSITIONS.values())), ""]
    lines += ["## The life of an order", "", *_table(HEAD_OF_A_LIFE, _transitions(ORDER_TRANSITIONS.values())), ""]
    lines += ["## Commands", "", "Over HTTP `POST /<owner>/<kind>s/<id>/<name>`, over NATS `type: command.<name>`."]
    lines += [
        "Who replaces a decision that stands over HTTP sends `If-Match`: [reading.md](../../docs/reading.md).",
        "",
    ]
    lines += [*_table(("command", "owner", "makes", "who", "may replace"), map(_command, COMMANDS.values())), ""]
    lines += ["## Reasons", "", "Why the law says no; over HTTP and in receipts alike.", ""]
    lines += _table(("code", "status", "message"), ((f"`{r.code}`", str(r.status), r.message) for r in Reason))
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _row(head)
    yield _row(("---",) * len(head))
    yield from map(_row, rows)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _event(event: type[Event]) -> tuple[str, ...]:
    doc = " ".join((event.__doc__ or "").split())
    reacting = ", ".join(f"`{reaction.name}`" for reaction in REACTIONS if event in reaction.events)
    return f"`{event.TYPE}` v{event.VERSION}", doc, _fields(event, event.PRIVATE), reacting


def _fields(facts: type[Facts], private: tuple[str, ...]) -> str:
    names = []
    for name, field in facts.model_fields.items():
        text = f"*{name}*" if name in private else f"`{name}`"
        names.append(text if field.is_required() else f"[{text}]")
    return ", ".join(names)


def _transitions(transitions: Iterable[Transition[Any]]) -> Iterator[tuple[str, ...]]:
    for row in dict.fromkeys(transitions):
        sources = ", ".join("(none)" if source.name == "NEW" else source for source in row.sources)
        yield f"`{row.key}`", sources, row.target or "stays", row.why


def _command(spec: CommandSpec) -> tuple[str, ...]:
    who = access.needed(spec.name) if access.offered(spec.name) else "the service itself"
    return f"`{spec.name}`", spec.owner, f"`{spec.event.TYPE}`", who, spec.replaces
