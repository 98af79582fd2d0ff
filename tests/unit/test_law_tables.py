"""The tables together: each reason and transition is reached, nothing else is allowed, nothing happens twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from shared.case import events as e
from shared.case.base import Address, Event, Recorded, Unknown, event_id
from shared.case.commands import COMMANDS
from shared.case.decide import Accepted
from shared.case.lifecycle import ENDED, EXISTING, IN_PROGRESS, TRANSITIONS, Status, Variant, event_key
from shared.case.orders import ORDER_TRANSITIONS, OrderState, OrderStatus
from shared.case.reasons import Reason, Rejected
from shared.case.state import NEW, CaseState, CoHandler, variant
from tests.support import law
from tests.support.law import Ask, ask
from tests.support.law_table import STATUS_REASONS, transition_of
from tests.unit.test_law_intake import TABLE as INTAKE
from tests.unit.test_law_orders import TABLE as ORDERS
from tests.unit.test_law_routing import TABLE as ROUTING
from tests.unit.test_law_supervision import TABLE as SUPERVISION
from tests.unit.test_law_time import TABLE as TIME

ALL = (*INTAKE, *ROUTING, *SUPERVISION, *TIME, *ORDERS)

# Every event and variant of the table, by a command that makes it when the state is made for it.
V = Variant
ASKED: dict[tuple[type[Event], Variant], Ask] = (
    {(spec.event, V.PLAIN): ask(name) for name, spec in COMMANDS.items() if spec.kind == "case" and name != "unmerge"}
    | {
        (e.Registered, V.ANSWERED): ask("register", **law.ANSWER),
        (e.Supplemented, V.FORWARDED): ask("supplement", from_case=law.OTHER_CASE),
        (e.Assigned, V.PLAIN): ask("assign", unit=law.LABOUR),
        (e.Assigned, V.CO): ask("assign", co_units=(law.LABOUR,)),
        (e.SignedFor, V.CO): ask("sign-for", unit=law.WATER),
        (e.Reassigned, V.CO): ask("reassign", unit=law.WATER),
        (e.SentBack, V.UNASSIGNED): ask("send-back"),
    }
    | {(e.Unmerged, V(status.value)): ask("unmerge", status=status.value) for status in IN_PROGRESS}
)
ORDER_COMMANDS = [name for name, spec in COMMANDS.items() if spec.kind == "order"]
AFTER_CLOSING = {
    e.Supplemented,
    e.CalledBack,
    e.Rated,
    e.ReopeningProposed,
    e.ReopeningDeclined,
    e.Corrected,
    e.Held,
    e.ReleaseRequested,
    e.ReleaseRequestEnded,
    e.Released,
    e.ErasureRequested,
    e.ErasureRequestEnded,
    e.Erased,
    e.Reopened,
    e.OverdueDeclared,
    e.OverdueAnnulled,
}
AFTER_MERGING = {
    e.Rated,
    e.Supplemented,
    e.Held,
    e.ReleaseRequested,
    e.ReleaseRequestEnded,
    e.Released,
    e.ErasureRequested,
    e.ErasureRequestEnded,
    e.Erased,
    e.OverdueDeclared,
    e.OverdueAnnulled,
    e.Unmerged,
}


def _in(status: Status, kind: Variant) -> CaseState:
    """A case in this status, complete enough for any event of this variant to be about it."""
    if status is Status.NEW:
        return NEW
    unit = None if kind is V.UNASSIGNED else law.HOUSING
    state: CaseState = replace(law.given("co-handled, co-handler signed"), status=status, unit=unit)
    return state


def test_each_table_holds_the_commands_of_its_owner_and_misses_none() -> None:
    for owner, kind, table in (
        ("intake", "case", INTAKE),
        ("routing", "case", ROUTING),
        ("supervision", "case", SUPERVISION),
        ("supervision", "order", ORDERS),
    ):
        owned = {name for name, spec in COMMANDS.items() if spec.owner == owner and spec.kind == kind}
        assert {line.request.name for line in table} == owned


def test_no_line_stands_twice() -> None:
    assert len({str(line) for line in ALL}) == len(ALL)


def test_every_reason_is_reached() -> None:
    reached = {line.then for line in ALL if isinstance(line.then, Reason)}
    assert set(Reason) - reached == {Reason.NEWER_EVENT, Reason.CLOCK_BEHIND}, "which have tests of their own"


def test_every_transition_of_a_case_is_reached() -> None:
    """Every event by a line of a table, from one status; from each other status on a case put there."""
    walked = {transition_of(line) for line in ALL if line.kind == "case" and not isinstance(line.then, Reason)}
    assert {(event, kind) for _, event, kind in walked} == {(event, kind) for _, event, kind in TRANSITIONS}
    for status, event, kind in TRANSITIONS.keys() - walked:
        state, request = _in(status, kind), ASKED[event, kind]
        assert variant(law.event(request), state) is kind
        verdict = law.when(state, request.command)
        missing = isinstance(verdict, Rejected) and verdict.reason in STATUS_REASONS
        assert not missing, f"{event_key(event, kind)} in {status}: {verdict}"


def test_every_transition_of_an_order_is_reached() -> None:
    walked = {transition_of(line) for line in ORDERS if not isinstance(line.then, Reason)}
    assert walked == set(ORDER_TRANSITIONS)


@pytest.mark.parametrize("status", Status)
def test_what_no_table_allows_is_refused(status: Status) -> None:
    expected = {Reason.NOT_REGISTERED} if status is Status.NEW else {Reason.WRONG_STATUS}
    expected = {Reason.CASE_CLOSED} if status in ENDED else expected
    expected = {Status.MERGED: {Reason.CASE_MERGED}, Status.SPLIT: {Reason.CASE_SPLIT}}.get(status, expected)
    assert set(ASKED) == {(event, kind) for _, event, kind in TRANSITIONS}
    for (event, kind), request in ASKED.items():
        if (status, event, kind) in TRANSITIONS:
            continue
        state, key = _in(status, kind), event_key(event, kind)
        # a case that is not registered has no co-handlers and no unit: these variants cannot come about there
        if status is not Status.NEW:
            assert variant(law.event(request), state) is kind
        verdict = law.when(state, request.command)
        registered_twice = {Reason.ALREADY_REGISTERED} if request.name == "register" else expected
        assert isinstance(verdict, Rejected), f"{key} is accepted in {status}"
        assert {verdict.reason} == registered_twice, f"{key} in {status}: {verdict}"
        assert (status, event, kind) not in TRANSITIONS


@pytest.mark.parametrize(("status", "name"), list(product(OrderStatus, ORDER_COMMANDS)))
def test_what_no_table_allows_is_refused_of_an_order(status: OrderStatus, name: str) -> None:
    if (status, COMMANDS[name].event) in ORDER_TRANSITIONS:
        return
    state = OrderState() if status is OrderStatus.NEW else replace(law.given("issued"), status=status)
    verdict = law.when(state, ask(name).command)
    assert isinstance(verdict, Rejected)
    assert verdict.reason in (Reason.WRONG_STATUS, Reason.NOT_REGISTERED, Reason.ALREADY_REGISTERED)


@pytest.mark.parametrize("status", ENDED)
def test_nothing_that_handles_an_ended_case_follows_but_reopening(status: Status) -> None:
    follows = {event for source, event, _ in TRANSITIONS if source is status}
    assert follows == AFTER_MERGING if status is Status.MERGED else follows <= AFTER_CLOSING
    assert (status is Status.CLOSED) == (follows == AFTER_CLOSING)
    rows = ((event, row) for (source, event, _), row in TRANSITIONS.items() if source is status)
    moved = {event for event, row in rows if row.status_after(status) is not status}
    assert moved <= ({e.Unmerged} if status is Status.MERGED else {e.Reopened})


def test_every_transition_says_why() -> None:
    assert all(row.why for row in TRANSITIONS.values())
    assert all(row.why for row in ORDER_TRANSITIONS.values())


@pytest.mark.parametrize("kind", ["case", "order"])
def test_behind_an_event_of_a_newer_version_nothing_is_written(kind: str) -> None:
    """Until the service is updated: only what was applied before is answered."""
    situation, where = ("handled", law.WHERE) if kind == "case" else ("issued", law.ORDER_WHERE)
    state, newer = law.given(situation), law.history(situation)[-1]
    unknown: Recorded[Any] = Recorded(
        "an id", where, ask("progress").command.meta, Unknown(newer.type, 99, {"new": True})
    )
    after = law.then(state, unknown)
    assert (after.version, after.status) == (state.version + 1, state.status)
    for name, spec in COMMANDS.items():
        if spec.kind == kind:
            assert law.when(after, ask(name).command) == Rejected(Reason.NEWER_EVENT)
    applied = replace(ask("progress").command, meta=unknown.meta)
    assert law.when(after, applied) == Accepted(None)


def test_a_command_applied_before_is_accepted_whatever_came_since() -> None:
    """A redelivery gets its first answer, also after the case was closed or erased."""
    erased = law.given("erased")
    for recorded in law.history("erased"):
        again = replace(ask("settle").command, meta=recorded.meta)
        assert law.when(erased, again) == Accepted(None)


def test_the_id_of_an_event_follows_from_command_and_case() -> None:
    command = ask("register").command
    other = replace(command, address=Address("case", law.TOWNSHIP, law.OTHER_CASE))
    assert law.when(NEW, command) == law.when(NEW, command)
    assert event_id(command.meta.command_id, command.address.subject) == law.accepted_command(NEW, command).id
    assert law.accepted_command(NEW, other).id != law.accepted_command(NEW, command).id


def test_an_event_says_what_its_command_said() -> None:
    for name in COMMANDS:
        asked = ask(name)
        assert law.event(asked).model_dump() == asked.command.facts.model_dump()


def test_every_situation_is_used() -> None:
    used = {line.situation for line in ALL}
    assert set(law.SITUATIONS | law.ORDER_SITUATIONS) - used == {"sent back", "reopened"}
    assert all(law.given(name).status in EXISTING for name in ("sent back", "reopened"))
    assert law.given("co-handled").co_handlers == (CoHandler(law.WATER, since=law.START),)
