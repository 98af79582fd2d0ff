"""What stands about the law in words: owners, names, documents, reasons."""

from __future__ import annotations

import re

import pytest

from shared.case.base import Event, Facts, Owner
from shared.case.catalogue import EVENTS
from shared.case.commands import COMMANDS, CommandSpec, owned_by
from shared.case.reasons import Reason

# The events of each owner by their names on the wire, written down a second time.
OWNED: dict[tuple[Owner, str], str] = {
    (Owner.INTAKE, "case"): "registered supplemented corrected attached withdrawn called_back rated",
    (Owner.ROUTING, "case"): (
        "triaged declined split merged assigned signed_for reassigned handed_back ruled transferred "
        "co_handling_ended progressed co_reported settled sent_back closed reopened"
    ),
    (Owner.SUPERVISION, "case"): (
        "deadlines_set deadline_recomputed extension_requested extended extension_refused pause_requested suspended "
        "pause_refused resumed warned overdue overdue_annulled escalated handed_down urged ordered held released erased"
    ),
    (Owner.SUPERVISION, "order"): "issued answered accepted refused overdue withdrawn case_refused",
}
IMPERATIVES = re.compile(
    "(Ask|Assign|Check|Correct|Declare|End|Handle|Keep|Merge|Name|Read|Register|Release|Reopen|Resume|Say|Send|Suspend|Update|Use"
    "|Wait) "
)


@pytest.mark.parametrize(("owner", "kind"), OWNED)
def test_each_owner_has_its_events(owner: Owner, kind: str) -> None:
    names = {
        event.TYPE.removeprefix(f"{kind}.")
        for event in EVENTS.values()
        if event.OWNER is owner and event.TYPE.startswith(f"{kind}.")
    }
    assert names == set(OWNED[owner, kind].split())


def test_reporting_appends_nothing() -> None:
    assert owned_by(Owner.REPORTING) == ()
    assert sum(len(owned_by(owner)) for owner in Owner) == len(COMMANDS)


def test_every_event_comes_of_exactly_one_command() -> None:
    assert {spec.event for spec in COMMANDS.values()} == set(EVENTS.values())
    assert len(EVENTS) == len(COMMANDS)


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
