"""Errors that worlds found, each as a test of its own: two copies of a service, no chance, one fault."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import pytest
from pydantic_core import from_json, to_json

from services.intake.forms import registration_facts
from shared.case.base import Address, Owner
from shared.case.commands import COMMANDS, Command
from shared.case.facts import Hold, Matter, Nature, Note, Part, PartMatters
from shared.case.lifecycle import Status
from shared.case.rights import Right
from shared.kit.access import Caller
from shared.kit.application import Origin
from shared.kit.bodies import RegisterBody
from shared.kit.problems import ProblemError, Unavailable
from shared.log import topology
from shared.log.port import LogUnavailable
from tests.sim.actors import ALL_RIGHTS
from tests.sim.faults import Weather
from tests.sim.loop import run
from tests.sim.places import COUNTY, FAR_COUNTY, PLATFORM, TOWN, unit
from tests.sim.process import OWNERS, Process
from tests.sim.world import World

NOTE = Note(text="why")
REST_S_MAX = 600
CALM = Weather(fault=0, kill=0, slow=0, outage=0, timer=0)


class Town:
    """A world without faults, with two copies of each service and a caller with all rights."""

    def __init__(self) -> None:
        self.world = World(1)
        self.world.faults.weather = CALM
        self.world.faults.chance = Random(1)
        self.copies = {owner: [Process(owner, number, self.world) for number in (1, 2)] for owner in OWNERS}
        self.chief = Caller("jj-director", "director", f"{COUNTY}-centre", COUNTY, ALL_RIGHTS)

    def copy(self, owner: Owner, number: int = 1) -> Process:
        return self.copies[owner][number - 1]

    def start(self, *owners: Owner) -> None:
        for owner in owners or OWNERS:
            for process in self.copies[owner]:
                self.world.processes[process.name] = process
                process.start()

    def end(self) -> None:
        for processes in self.copies.values():
            for process in processes:
                process.die()

    async def register(self, key: str, text: str = "no rule takes it", hold: Hold | None = None) -> Address:
        process = self.copy(Owner.INTAKE)
        body = RegisterBody.model_validate(
            {"channel": "visit", "region": TOWN, "nature": "help", "title": "t", "text": text}
        )
        application = process.application
        command_id = application.command_id(self.chief, "register", key)
        meta = application.meta(self.chief, command_id, TOWN, None, "visit")
        facts = registration_facts(body, "jj-window", f"{COUNTY}-centre", meta.time).model_copy(update={"hold": hold})
        command = Command(Address("case", TOWN, ""), meta, "register", facts)
        answer = await application.execute(self.chief, command, Origin("http", command_id, body.text.encode()))
        return Address.of("case", answer.id)

    def asked(self, name: str, where: Address, key: str, by: Caller | None = None, /, **facts: Any) -> Command:
        process = self.copy(COMMANDS[name].owner)
        caller = by or self.chief
        command_id = process.application.command_id(caller, f"{name} {where.id}", key)
        meta = process.application.meta(caller, command_id, where.region, None, "desk")
        return Command(where, meta, name, COMMANDS[name].facts.model_validate(facts))

    async def tell(self, name: str, where: Address, /, number: int = 1, **facts: Any) -> Any:
        asked = self.asked(name, where, name, None, **facts)
        return await self.copy(COMMANDS[name].owner, number).application.execute(self.chief, asked)

    async def tell_a_year_later(self, caller: Caller, name: str, where: Address, /, **facts: Any) -> Any:
        request = self.asked(name, where, name, caller, **facts)
        later = request.meta.time + timedelta(days=367)
        request = replace(request, meta=request.meta.model_copy(update={"time": later}))
        return await self.copy(COMMANDS[name].owner).application.execute(caller, request)

    async def rest(self) -> None:
        """Wait until every reaction has caught up."""
        for _ in range(REST_S_MAX):
            if not self.world._busy():
                return
            await self.world.clock.sleep(1)
        raise AssertionError(f"not at rest: {self.world._busy()}")


def in_a_town(story: Callable[[Town], Awaitable[None]]) -> Callable[[], None]:
    """Make a test that runs in a loop of its own, in virtual time."""

    async def told() -> None:
        town = Town()
        try:
            await story(town)
        finally:
            town.end()

    def test() -> None:
        run(told)

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


@in_a_town
async def test_what_stands_is_answered_the_same_when_the_case_has_left_the_caller(town: Town) -> None:
    """A lost answer, then a transfer to another centre, then the same request again under the same key."""
    case = await town.register("a")
    asked = town.asked("transfer", case, "key", None, to=FAR_COUNTY, note=NOTE)
    first = await town.copy(Owner.ROUTING).application.execute(town.chief, asked)
    for number in (1, 2):
        again = await town.copy(Owner.ROUTING, number).application.execute(town.chief, asked)
        assert (again.position, again.event) == (first.position, None)


@in_a_town
async def test_an_append_that_arrives_late_is_not_taken_for_another_body_under_the_same_id(town: Town) -> None:
    """The first body is appended between load and append of the second one, which is refused as another body."""
    case = await town.register("a")
    first = town.asked("supplement", case, "key", None, note=NOTE)
    second = replace(first, facts=first.facts.model_copy(update={"note": Note(text="something else")}))
    slow, quick = town.copy(Owner.INTAKE, 1), town.copy(Owner.INTAKE, 2)
    held = (await quick.application.handler.state(case)).sequence
    append = slow.data.log.append

    async def overtaken(recorded: Any, expected: int) -> Any:
        await quick.application.decide(first)
        return await append(recorded, expected)

    slow.data.log.append = overtaken
    with pytest.raises(ProblemError, match="another body"):
        await slow.application.execute(town.chief, second)
    assert [one.position.sequence for one in await quick.data.log.load(case, held) if one.position] == [held + 1]


@in_a_town
async def test_a_reaction_is_never_before_its_cause_where_clocks_differ(town: Town) -> None:
    """The clock of the desk is ahead of that of routing: a triage by rule is not refused as before its case."""
    for process in town.copies[Owner.ROUTING]:
        process.clock.offset_s = -60.0
    town.start()
    case = await town.register("a", text="小区物业不修电梯")
    await town.rest()
    assert town.world.state(case).status is Status.ASSIGNED


@in_a_town
async def test_background_jobs_outlive_a_log_and_a_vault_that_do_not_answer(town: Town) -> None:
    """A service that starts before its servers waits for them."""
    silent = True

    async def pause(point: str) -> None:
        if silent and point in ("durable", "fetch"):
            raise LogUnavailable(point)
        if silent and point == "vault.read":
            raise Unavailable(point)
        await town.world.clock.sleep(0)

    town.world.log.pause = town.world.streams.pause = pause
    for process in town.copies[Owner.ROUTING]:
        process.data.vault._pause = pause
    cases = [await town.register(key, text="小区物业不修电梯") for key in ("a", "b", "c")]
    town.start()
    await town.world.clock.sleep(20)
    silent = False
    await town.rest()
    assert [process.failed for many in town.copies.values() for process in many] == [None] * 6
    assert {town.world.state(case).status for case in cases} == {Status.ASSIGNED}


@in_a_town
async def test_a_read_model_goes_on_after_its_database_failed(town: Town) -> None:
    """The writer of a projection loses a transaction; it or its twin goes on, and both stop at the end."""
    silent = True

    async def pause(point: str) -> None:
        if silent and point == "db.commit":
            raise Unavailable(point)
        await town.world.clock.sleep(0)

    for process in town.copies[Owner.ROUTING]:
        process.database._pause = pause
    await town.register("a")
    town.start()
    await town.world.clock.sleep(5)
    silent = False
    await town.rest()
    assert len(town.world.tables[Owner.ROUTING].table("work")) == 1
    jobs = [task for process in town.copies[Owner.ROUTING] for task in process.group.running()]
    town.end()
    await town.world.clock.sleep(1)
    assert len(jobs) > 2
    assert all(task.done() for task in jobs)


@in_a_town
async def test_parts_are_registered_once_however_the_whole_has_changed_since(town: Town) -> None:
    """A split redelivered after the release of its case registers the parts with the same body under the same id."""
    case = await town.register("a", hold=Hold.IMPORT)
    parts = (Part(region=TOWN, nature=Nature.HELP), Part(region=COUNTY, nature=Nature.HELP))
    matters = PartMatters(matters=(Matter(title="1", text="1"), Matter(title="2", text="2")))
    await town.tell("split", case, parts=parts, matters=matters)
    split = town.world.log.events(case.subject)[-1]
    first, second = town.copies[Owner.INTAKE]
    await first.reactions.react(split)
    await town.tell("release", case, hold=Hold.IMPORT)
    await second.application.handler.state(case, fresh=True)
    await second.reactions.react(split)
    assert len(town.world.born("case")) == 3


@in_a_town
async def test_a_split_that_comes_again_leaves_its_erased_parts_alone(town: Town) -> None:
    """A reaction to a case that was closed and erased meanwhile: its key is destroyed, and nothing is parked."""
    case = await town.register("a")
    parts = (Part(region=TOWN, nature=Nature.HELP), Part(region=TOWN, nature=Nature.HELP))
    matters = PartMatters(matters=(Matter(title="1", text="1"), Matter(title="2", text="2")))
    await town.tell("split", case, parts=parts, matters=matters)
    split = town.world.log.events(case.subject)[-1]
    intake, supervision = town.copy(Owner.INTAKE), town.copy(Owner.SUPERVISION)
    await intake.reactions.react(split)
    part = town.world.born("case")[1]
    await town.tell("withdraw", part, note=NOTE)
    clerk, other = (replace(town.chief, person=name, rights=frozenset({Right.ERASE})) for name in ("li.na", "chen.jun"))
    erasure = {"retention": "year_1", "basis": "9.4 b"}
    await town.tell_a_year_later(clerk, "request-erasure", part, **erasure)
    await town.tell_a_year_later(other, "erase", part, **erasure)
    await supervision.reactions.react(town.world.log.events(part.subject)[-1])
    await town.copy(Owner.INTAKE, 2).reactions.react(split)
    assert [one.type for one in town.world.log.events(part.subject)][-1] == "case.erased"


@in_a_town
async def test_what_one_copy_could_not_answer_and_another_did_holds_nobody_up(town: Town) -> None:
    """Submissions of a case are answered in order; the copy that failed at the first one does not wait for ever."""
    one, other = town.copies[Owner.ROUTING]
    jobs = [process.submissions for process in (one, other)]
    durable = await jobs[0].durable()
    case = await town.register("a")
    envelope = {
        "specversion": "1.0", "source": PLATFORM, "type": "command.progress", "subject": case.id,
        "data": {"unit": unit(COUNTY, "housing"), "note": {"text": "done"}},
    }  # fmt: skip
    place = topology.submission(PLATFORM, TOWN)
    await town.world.streams.publish(place, to_json(envelope | {"id": "first"}))
    first_copy = jobs[0].submissions

    async def failing(*_: Any) -> Any:
        raise Unavailable("not now")

    with patch.object(first_copy, "_decide", failing):
        await jobs[0].step(durable, 0)
    while not await jobs[1].step(durable, 5):
        pass
    await town.world.streams.publish(place, to_json(envelope | {"id": "second"}))
    end = town.world.clock.monotonic() + 600
    while town.world.streams.stored[topology.SUBMISSIONS].messages and town.world.clock.monotonic() < end:
        await jobs[0].step(durable, 5)
    receipts = town.world.streams.stored[topology.RECEIPTS].messages.values()
    assert [from_json(receipt.data)["subject"] for receipt in receipts] == ["first", "second"]


@in_a_town
async def test_what_the_law_refuses_a_reaction_is_decided_anew_on_the_case_as_it_now_is(town: Town) -> None:
    """Seed 1396: before the rules run, a repeat complains of the unit that the rule of the case names."""
    where = await town.register("k", "小区物业不修电梯")
    await town.tell("correct", where, complained_unit=f"{COUNTY}-housing", note=NOTE)
    town.start()
    await town.rest()
    held = await town.copy(Owner.ROUTING).application.handler.state(where, fresh=True)
    assert held.state.unit == "510100000000-housing", "the same department one centre higher (clause 8.1 f)"
