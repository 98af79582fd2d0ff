"""The catalogue: each event stands in every list that it belongs to, and in no other; names, documents, reasons."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from infra.dev.house_rules import declared_events
from services.supervision import policy as supervision
from shared.case import events
from shared.case.announcements import FeedKind
from shared.case.base import Event, Facts, Owner
from shared.case.catalogue import ANNOUNCED, COMMAND_OF, CREATES, ENDS, EVENTS, REOPENS, STAGE_CHANGES, step_of
from shared.case.commands import COMMANDS, CommandSpec, owned_by
from shared.case.lifecycle import ENDED, OPEN, TRANSITIONS, Status, Transition
from shared.case.orders import ORDER_TRANSITIONS, OrderStatus
from shared.case.reasons import Reason
from shared.case.rights import Right
from shared.kit import access
from tests.support.law import FACTS, ask

# The events of each owner by their names on the wire, written down by hand: what vanishes from the events, the commands
# and the transitions at once leaves those three in agreement, and only this list misses it.
OWNED: dict[tuple[Owner, str], str] = {
    (Owner.INTAKE, "case"): "registered supplemented corrected attached withdrawn called_back rated",
    (Owner.ROUTING, "case"): (
        "triaged declined split merged unmerged assigned signed_for reassigned handed_back ruled transferred "
        "co_handling_ended progressed co_reported settled sent_back closed "
        "reopening_proposed reopening_declined reopened"
    ),
    (Owner.SUPERVISION, "case"): (
        "deadlines_set deadline_recomputed extension_requested extended extension_refused pause_requested suspended "
        "pause_refused resumed warned overdue overdue_annulled escalated handed_down urged ordered held "
        "release_requested release_request_ended released erasure_requested erasure_request_ended erased"
    ),
    (Owner.SUPERVISION, "order"): "issued answered accepted refused overdue withdrawn case_refused",
}
IMPERATIVES = re.compile(
    "(Ask|Assign|Check|Correct|Declare|End|Handle|Keep|Merge|Name|Read|Register|Release|Reopen|Resume|Say|Send|Triage|Update"
    "|Use|Wait|Work) "
)
DECLARED = declared_events()
(KEEP_CLOCKS,) = [reaction for reaction in supervision.REACTIONS if reaction.name == "supervision.keep_clocks"]


def _row(event: type[Event]) -> CommandSpec:
    """The one row of the catalogue that names the event. Raises ValueError for none or two."""
    (row,) = [spec for spec in COMMANDS.values() if spec.event is event]
    return row


def _transitions(event: type[Event]) -> list[Transition[Any]]:
    """The rows of both tables that name the event."""
    rows: list[Transition[Any]] = [*TRANSITIONS.values(), *ORDER_TRANSITIONS.values()]
    return [row for row in rows if row.event is event]


def _creates(event: type[Event]) -> bool:
    return any({Status.NEW, OrderStatus.NEW} & {*row.sources} for row in _transitions(event))


def _ends(event: type[Event]) -> bool:
    return event.TYPE.startswith("case.") and any(row.target in ENDED for row in _transitions(event))


def _reopens(event: type[Event]) -> bool:
    return any({*row.sources} & {*ENDED} and row.target in OPEN for row in _transitions(event))


def _changes_stages(event: type[Event]) -> bool:
    of_case = event.TYPE.startswith("case.")
    return of_case and any(row.target is not None or row.stages for row in _transitions(event))


def _is_announced(event: type[Event]) -> bool:
    return any(feed.kinds or feed.notice for feed in (_row(event).feed, *_row(event).variant_feeds.values()))


# By list: whether an event belongs there by its row and its transitions, and whether it stands there.
Judge = Callable[[type[Event]], bool]
LISTS: dict[str, tuple[Judge, Judge]] = {
    "shared.case.events": (lambda _: True, lambda event: vars(events)[event.__name__] is event),
    "EVENTS": (lambda _: True, lambda event: EVENTS.get(event.TYPE) is event),
    "COMMAND_OF": (lambda _: True, lambda event: COMMAND_OF.get(event) is _row(event)),
    "a table of transitions": (lambda _: True, lambda event: bool(_transitions(event))),
    "CREATES": (_creates, lambda event: event in CREATES),
    "access.is_creation": (_creates, lambda event: access.is_creation(_row(event).name)),
    "ENDS": (_ends, lambda event: event in ENDS),
    "feed.closed": (_ends, lambda event: FeedKind.CLOSED in _row(event).feed.items),
    "REOPENS": (_reopens, lambda event: event in REOPENS),
    "STAGE_CHANGES": (_changes_stages, lambda event: event in STAGE_CHANGES),
    "supervision.keep_clocks": (_changes_stages, lambda event: event in KEEP_CLOCKS.events),
    "ANNOUNCED": (_is_announced, lambda event: event in ANNOUNCED),
    "step_of": (lambda event: _row(event).step is not None, lambda event: step_of(event.model_construct()) is not None),
    "access.offered": (lambda event: _row(event).right is not None, lambda event: access.offered(_row(event).name)),
    "the facts of the tests": (lambda _: True, lambda event: _row(event).name in FACTS),
}


def test_each_owner_has_its_events_and_no_others() -> None:
    owned = {(event.OWNER, event.TYPE) for event in DECLARED.values()}
    assert owned == {(owner, f"{kind}.{name}") for (owner, kind), names in OWNED.items() for name in names.split()}


@pytest.mark.parametrize("event", DECLARED.values(), ids=DECLARED)
def test_an_event_stands_in_each_list_that_it_belongs_to(event: type[Event]) -> None:
    wrong = [name for name, (belongs, stands) in LISTS.items() if belongs(event) is not stands(event)]
    assert not wrong, f"{event.TYPE} is missing, or stands where it does not belong: {', '.join(wrong)}"


def test_no_list_names_an_event_that_is_not_declared() -> None:
    for named in (EVENTS.values(), COMMAND_OF, CREATES, ENDS, REOPENS, STAGE_CHANGES, ANNOUNCED):
        assert {*named} <= {*DECLARED.values()}
    assert set(FACTS) == set(COMMANDS)


def test_no_list_is_empty_or_holds_every_event() -> None:
    """Otherwise a list that nobody derives any more would still agree with itself."""
    for named in (CREATES, ENDS, REOPENS, STAGE_CHANGES, ANNOUNCED):
        assert 0 < len(named) < len(DECLARED)


@pytest.mark.parametrize("event", DECLARED.values(), ids=DECLARED)
def test_an_event_is_declared_in_the_file_of_its_owner(event: type[Event]) -> None:
    file = event.__module__.rpartition(".")[2]
    assert file == ("orders" if event.TYPE.startswith("order.") else event.OWNER)


@pytest.mark.parametrize("spec", [spec for spec in COMMANDS.values() if not spec.offered], ids=lambda spec: spec.name)
def test_a_command_without_a_right_is_refused_to_everybody(spec: CommandSpec) -> None:
    everybody = access.Caller("chen.jun", "director", "510000000000-centre", "510000000000", frozenset(Right))
    refused = access.refusal(everybody, ask(spec.name).command, None)
    assert refused == f"{spec.name} is decided by {spec.owner} alone; nobody may send it"


def test_reporting_appends_nothing() -> None:
    assert owned_by(Owner.REPORTING) == ()
    assert sum(len(owned_by(owner)) for owner in Owner) == len(COMMANDS)


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=COMMANDS)
def test_every_command_is_documented_and_states_the_facts_of_its_event(spec: CommandSpec) -> None:
    assert spec.doc.endswith(".")
    assert spec.doc != Event.__doc__
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", spec.name)
    assert issubclass(spec.facts, Facts)
    assert not issubclass(spec.facts, Event)
    assert set(spec.facts.model_fields) == set(spec.event.model_fields)
    assert spec.facts.model_config["extra"] == "forbid"


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_a_name_on_the_wire_is_its_own_and_in_the_past(event: type[Event]) -> None:
    assert re.fullmatch(r"(case|order)\.[a-z]+(_[a-z]+)*", event.TYPE)
    assert "TYPE" in event.__dict__, "no event inherits the name of another"
    assert event.TYPE.partition(".")[2] != event.__name__


def test_every_reason_has_a_code_of_its_own() -> None:
    codes = [reason.code for reason in Reason.__members__.values()]
    assert len(set(codes)) == len(codes) == len(Reason)
    assert [code.upper() for code in codes] == list(Reason.__members__)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.code)
def test_every_reason_says_what_to_do(reason: Reason) -> None:
    said = re.split(r"(?<=\.) ", reason.message)
    assert reason.message.endswith(".")
    assert any(map(IMPERATIVES.match, said[1:])), reason.message
    assert reason.status in (403, 404, 409, 410, 422, 503)
