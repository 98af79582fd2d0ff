"""The actors of a world: residents and desks, units, supervisors, platforms, imports and timers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from services.intake.forms import registration_facts
from shared.case.base import Address, Facts, Meta, Owner, derived_id, new_id
from shared.case.commands import COMMANDS, Command
from shared.case.commands import facts as facts_of
from shared.case.facts import Channel, Hold, Nature, Note, Retention
from shared.case.lifecycle import IN_PROGRESS, Status
from shared.case.orders import OrderStatus
from shared.case.rights import ERASURE_APART, Right, Tie
from shared.case.state import CaseState
from shared.kit import access
from shared.kit.access import Caller
from shared.kit.application import Origin, UploadedFile, View, http_command_id, sees
from shared.kit.bodies import RegisterBody
from shared.kit.command_handler import command
from shared.log import topology
from tests.sim.clients import Asked, Client, by_itself, over_http
from tests.sim.facts import NOTE, ORDER_KINDS, Pen
from tests.sim.places import (
    ALL_REGIONS,
    COUNTY,
    MARK,
    PLATFORM,
    PROVINCE,
    REGIONS,
    TEXTS,
    staff,
    unit,
    units_of,
)

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

ALL_RIGHTS = frozenset(Right)
NOBODY = "510104000000-nobody"  # a unit that does not exist


S = Status
# The commands likely on a case by its status, with their weights: those that lead forward, and some others.
LIKELY: dict[Status, str] = {
    S.AWAITING_TRIAGE: "triage*6 rule*2 decline split attach*3 transfer withdraw set-deadlines*3 supplement escalate",
    S.TRIAGED: "assign*7 triage rule*2 transfer decline split attach*2 set-deadlines*3 escalate hand-down",
    S.ASSIGNED: "sign-for*9 assign co-report*2 reassign hand-back*2 rule transfer end-co-handling "
    "set-deadlines*2 attach",
    S.HANDLING: "settle*6 co-report*4 sign-for*2 progress*2 reassign*2 end-co-handling*2 hand-back set-deadlines*2 "
    "request-extension*2 extend*2 refuse-extension request-pause*2 suspend*2 resume*2 refuse-pause warn*2 "
    "declare-overdue*2 annul-overdue urge assign transfer attach withdraw escalate hand-down",
    S.SETTLED: "call-back*4 rate*2 close*5 send-back*3 attach supplement set-deadlines warn declare-overdue hand-down",
    S.CLOSED: "reopen*2 request-erasure*3 erase*2 hold release call-back rate correct annul-overdue",
    S.DECLINED: "reopen*2 request-erasure erase hold correct release",
    S.WITHDRAWN: "reopen*2 request-erasure erase hold correct release",
    S.MERGED: "request-erasure erase hold release unmerge*3 supplement*2 rate*2",
    S.SPLIT: "request-erasure erase hold release",
}
WEIGHTED = {
    status: [name for part in text.split() for name in [part.partition("*")[0]] * int(part.partition("*")[2] or 1)]
    for status, text in LIKELY.items()
}
CLOCKS = (
    "request-extension extend refuse-extension request-pause suspend resume refuse-pause warn declare-overdue "
    "recompute-deadline set-deadlines".split()
)
CASE_COMMANDS = [
    name for name, spec in COMMANDS.items()
    if spec.kind == "case" and name not in ("register", "merge", "order")
]  # fmt: skip
ORDER_COMMANDS = ("answer-order", "accept-answer", "refuse-answer", "withdraw-order", "declare-order-overdue")


class Actors:
    """All actors of a world."""

    def __init__(self, world: World) -> None:
        self.world, self.chance = world, world.chance
        self.client = Client(world)
        self._numbers = 0
        self._at: Address | None = None  # the case of the last command, which often gets another one

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    async def act(self, who: int) -> None:
        """Act as one of the crowd until the world has enough steps and cases."""
        from tests.sim.world import CASES_COUNT_MIN, STEPS_COUNT_MIN

        await asyncio.sleep(self.chance.random())
        while self.world.steps < STEPS_COUNT_MIN or len(self.world.born("case")) < CASES_COUNT_MIN:
            self.world.steps += 1
            draw = self.chance.random()
            there = len(self.world.born("case"))
            if there < 3 or (draw < 0.12 and there < 1.3 * CASES_COUNT_MIN):
                await self.register()
            elif draw < 0.17 and there < 1.3 * CASES_COUNT_MIN:
                await self.submit()
            elif draw < 0.19 and there < 1.3 * CASES_COUNT_MIN:
                await self.import_one()
            elif draw < 0.25:
                await self.issue_order()
            elif draw < 0.33:
                await self.ask_of_an_order()
            elif draw < 0.37:
                await self.read()
            else:
                await self.ask_of_a_case()
            if self.chance.random() < 0.5:
                await asyncio.sleep(self.chance.random() * 2)

    # Residents and desks

    def body(self, region: str) -> RegisterBody:
        """The body of a registration over HTTP."""
        chance, units = self.chance, units_of(region)
        answered = chance.random() < 0.15
        return RegisterBody.model_construct(
            channel=chance.choice(tuple(Channel)), region=region, nature=chance.choice(tuple(Nature)),
            title=f"title {self.number()} {MARK}", text=chance.choice(TEXTS),
            retention=chance.choice((Retention.YEAR_1, Retention.YEAR_1, Retention.MONTHS_3, Retention.PERMANENT)),
            complained_unit=chance.choice((None, None, *units)), informant=chance.random() < 0.1,
            stand_aside=tuple(chance.sample(staff(units[0]), chance.choice((0, 0, 1)))),
            answer=f"told {MARK}" if answered else None,
        )  # fmt: skip

    async def register(self) -> None:
        """Register at a desk, sometimes twice at once, sometimes with another body under the same key."""
        chance = self.chance
        region = chance.choice(REGIONS)
        caller = Caller("jj-window", "window-clerk", f"{COUNTY}-centre", PROVINCE, ALL_RIGHTS)
        key, body = f"key-{self.number()}", self.body(region)
        data = f"file {MARK}".encode()
        file = UploadedFile("a.txt", "text/plain", data, sha256(data).digest())
        files = [file] if chance.random() < 0.15 else []
        twins = [self._registration(caller, key, body, files)]
        draw = chance.random()
        if draw < 0.15:
            self.world.faults.reached["same_again"] += 1
            twins.append(self._registration(caller, key, body, files))
        elif draw < 0.25:
            self.world.faults.reached["other_body"] += 1
            twins.append(self._registration(caller, key, self.body(region), files))
        await asyncio.gather(*twins)

    async def _registration(self, caller: Caller, key: str, body: RegisterBody, files: list[UploadedFile]) -> None:
        clock = self.world.clock
        command_id = http_command_id(caller, "register", key)
        address = Address("case", body.region, new_id(body.region, command_id))
        payload = body.model_dump_json().encode()
        facts = registration_facts(body, caller.person, caller.unit, clock.now())
        meta = Meta.model_construct(
            command_id=command_id, time=clock.now(), recorded_at=clock.now(), actor=caller.actor
        )
        sent = self.world.note(Asked(Command(address, meta, "register", facts), caller, payload.decode()))

        async def do(process: Process) -> Any:
            application = process.application
            meta = application.meta(caller, command_id, body.region, None, body.channel)
            facts = registration_facts(body, caller.person, caller.unit, meta.time, [file.name for file in files])
            sent.command = Command(address, meta, "register", facts)
            unborn = command(Address("case", body.region, ""), meta, "register", facts)
            origin = Origin(f"http.{caller.person}", command_id, payload, files)
            answer = await application.execute(caller, unborn, origin)
            if answer.id != address.id:
                self.world.violated("registered under another address", sent.command)
            return answer

        await self.client.send(sent, Owner.INTAKE, do, patient=self.chance.random() < 0.7)
        await self._again(sent, Owner.INTAKE, do)

    async def _again(self, asked: Asked, owner: Owner, do: Any) -> None:
        """Sometimes send the same request again, later or at the same time, to any copy."""
        if self.chance.random() < 0.12:
            self.world.faults.reached["same_again"] += 1
            twice = [self.client.send(asked, owner, do, patient=False) for _ in range(self.chance.choice((1, 2)))]
            await asyncio.gather(*twice)

    # Platforms

    async def submit(self) -> None:
        """Publish a registration of a platform, or a command on one of its cases; some twice, some malformed."""
        chance, world = self.chance, self.world
        region = chance.choice(REGIONS)
        mine = [one for one in world.born("case") if world.state(one).source == PLATFORM]
        id = f"sub-{self.number()}"
        envelope: dict[str, Any] = {"specversion": "1.0", "id": id, "source": PLATFORM}
        if mine and chance.random() < 0.6:
            address = chance.choice(mine)
            envelope |= self._about(address)
            region = address.region
        else:
            body = self.body(region).model_dump(exclude_unset=True, exclude_none=True, mode="json")
            body["channel"] = "platform"
            envelope |= {"type": "command.register", "data": body}
        if chance.random() < 0.06:
            envelope["data"] = {"nonsense": 1}
        again = [envelope]
        draw = chance.random()
        if draw < 0.2:
            world.faults.reached["same_again"] += 1
            again.append(envelope)
        elif draw < 0.3:
            world.faults.reached["other_body"] += 1
            again.append(envelope | {"data": envelope["data"] | {"title": f"another {MARK}"}})
        for one in again:
            await self._publish(topology.submission(PLATFORM, region), to_json(one), id)

    def _about(self, address: Address) -> dict[str, Any]:
        state: CaseState = self.world.state(address)
        name = {
            S.ASSIGNED: "sign-for",
            S.HANDLING: self.chance.choice(("progress", "settle")),
        }.get(state.status, "supplement")
        if state.clocks and self.chance.random() < 0.6:
            name = self.chance.choice(("request-extension", "request-pause"))
        pen = Pen(self.chance, state, self.world.clock.now(), "")
        data = pen.write(name).model_dump(mode="json", exclude_unset=True)
        return {"type": f"command.{name}", "subject": address.id, "data": data}

    async def _publish(self, subject: str, data: bytes, id: str) -> None:
        ack = await self.world.streams.publish(subject, data)
        self.world.submitted[ack.sequence] = id

    # Imports: cases with the times of their file

    async def import_one(self) -> None:
        """Import a row of a file: register it under a hold, apply its commands at its own times, release it."""
        chance, world = self.chance, self.world
        row, region = f"row-{self.number()}", chance.choice(REGIONS)
        time = world.clock.now() - timedelta(days=chance.randrange(1, 800))  # of some, the retention is over
        caller = Caller("importer", "import", f"{COUNTY}-centre", COUNTY, ALL_RIGHTS)
        facts = registration_facts(self.body(region), caller.person, caller.unit, time).model_copy(
            update={"hold": Hold.IMPORT, "complained_unit": None}
        )
        command_id = derived_id("import", "file", row, "register")
        address = Address("case", region, new_id(region, command_id))
        meta = self._meta(command_id, time, caller)
        asked = world.note(Asked(Command(address, meta, "register", facts), None, row))

        async def do(process: Process) -> Any:
            registration = command(address, meta, "register", facts)
            return await process.application.decide(registration, Origin("import.file", row, row.encode()))

        if await self.client.until_answered(asked, Owner.INTAKE, do) != "done":
            return
        lives = (("triage", "assign", "sign-for", "settle", "close"),) * 3 + (("withdraw",), ("decline",), ("split",))
        for hours, name in enumerate((*chance.choice(lives), "release")):
            state = world.state(address)
            pen = Pen(chance, state, time, address.id)
            pen.sane = True
            try:
                written = pen.write(name)
            except IndexError:
                continue
            if name == "release":
                written = written.model_copy(update={"hold": Hold.IMPORT})
            meta = self._meta(derived_id("import", "file", row, name), time + timedelta(hours=hours), caller)
            step = world.note(Asked(Command(address, meta, name, written), None, name))
            await self.client.until_answered(step, COMMANDS[name].owner, by_itself(step))
        for name in ("request-erasure", "erase", "erase"):  # no other case of a world is old enough
            state = world.state(address)
            pen = Pen(chance, state, world.clock.now(), address.id)
            pen.sane = True
            await self._ask(name, address, pen.write(name), state)

    def _meta(self, command_id: str, time: Any, caller: Caller) -> Meta:
        return Meta(command_id=command_id, time=time, recorded_at=self.world.clock.now(), actor=caller.actor)

    # People at work

    def caller(self, name: str, facts: Facts, state: Any, region: str) -> Caller:
        """A caller for the command, mostly one with the right to send it."""
        tie, chance = COMMANDS[name].tie, self.chance
        if chance.random() < 0.06:
            place = chance.choice(ALL_REGIONS)
            return Caller("jj-police-1", "handler", unit(place, "police"), place, ALL_RIGHTS)
        here = getattr(state, "in_charge", "") or getattr(state, "region", "") or region
        if tie is Tie.UNIT or tie is Tie.ORDER_UNIT:
            code = getattr(state, "unit", None) or unit(COUNTY, "housing")
            person = (getattr(state, "person", None) or staff(code)[0]) if chance.random() < 0.7 else staff(code)[1]
            return Caller(person, "handler", code, code[:12], ALL_RIGHTS)
        if tie is Tie.NAMED_UNIT:
            code = getattr(facts, "unit", "") or unit(COUNTY, "housing")
            return Caller(staff(code)[2], "head", code, code[:12], ALL_RIGHTS)
        right = COMMANDS[name].right
        if right in ERASURE_APART:
            return Caller(
                chance.choice(("jj-records", "jj-records-1")), "records-officer", f"{here}-centre", here,
                ALL_RIGHTS - (ERASURE_APART - {right}),
            )  # fmt: skip
        who = getattr(state, "person", None) if chance.random() < 0.1 else None
        return Caller(who or "jj-director", "director", f"{here}-centre", here, ALL_RIGHTS)

    async def ask_of_a_case(self) -> None:
        """Send a command of the catalogue on a random case."""
        chance, world = self.chance, self.world
        found = world.case()
        if found is None:
            return
        address, state = found
        if self._at is not None and chance.random() < 0.4:
            address, state = self._at, world.state(self._at)
        self._at = address
        name = self._next(state)
        facts = Pen(chance, state, world.clock.now(), self._other(state).id).write(name)
        if name in ("triage", "assign", "rule") and chance.random() < 0.03:
            facts = facts.model_copy(update={"unit": NOBODY})
        await self._ask(name, address, facts, state)

    def _other(self, state: CaseState) -> Address:
        """Another case: mostly a later one of the same centre, which can be merged into this one."""
        chance, world = self.chance, self.world
        cases = world.born("case")
        since, centre = state.registered_at, state.in_charge
        states = {address: world.state(address) for address in cases} if chance.random() < 0.8 else {}
        later = [
            address for address, other in states.items()
            if other.in_charge == centre and since and other.registered_at and other.registered_at > since
            and other.status in IN_PROGRESS and other.complained_unit in (None, state.complained_unit)
        ]  # fmt: skip
        return chance.choice(later or cases)

    def _next(self, state: CaseState) -> str:
        """A command that is likely in the state of the case, or any command."""
        chance = self.chance
        draw = chance.random()
        if draw < 0.2:
            return chance.choice(CASE_COMMANDS)
        if state.late and draw < (0.3 if state.status in IN_PROGRESS else 0.6):
            return "annul-overdue"
        if state.clocks and draw < 0.6:
            flags = ("extension_requested", "pause_requested", "suspended")
            up = [flag for clock in state.clocks for flag in flags if getattr(clock, flag)]
            answers = {
                "extension_requested": "refuse-extension",
                "pause_requested": "refuse-pause",
                "suspended": "resume",
            }
            return chance.choice([*CLOCKS, *[answers[flag] for flag in up] * 3])
        if state.erasure_requested_by and draw < 0.6:
            return chance.choice(("erase", "erase", "erase", "end-erasure-request"))
        if state.reopening_proposed and draw < 0.5:
            return chance.choice(("reopen", "decline-reopening"))
        if draw < 0.3 and Hold.LEGAL not in state.holds:
            return "hold"
        if state.holds and draw < 0.5:
            return "release" if Hold.IMPORT in state.holds else self._about_a_hold(state)
        if state.hand_backs and draw < (0.5 if state.unit is None else 0.35):
            return "rule"
        return chance.choice(WEIGHTED[state.status])

    def _about_a_hold(self, state: CaseState) -> str:
        if not state.release_requested_by:
            return "request-release"
        return self.chance.choice(("release", "release", "release", "end-release-request"))

    async def _ask(self, name: str, address: Address, facts: Facts, state: Any) -> None:
        chance, world, owner = self.chance, self.world, COMMANDS[name].owner
        offered = access.offered(name) and not (name == "resume" and chance.random() < 0.4)  # a timer resumes too
        caller = self.caller(name, facts, state, address.region) if offered else None
        process = await world.copy_of(owner)
        if caller is not None:
            command_id = http_command_id(caller, f"{name} {address.id}", f"key-{self.number()}")
            meta = process.application.meta(caller, command_id, address.region, self._time(process), "desk")
        else:
            now, command_id = process.clock.now(), derived_id("clock", address.id, name, str(self.number()))
            meta = Meta(
                command_id=command_id,
                time=now,
                recorded_at=now,
                actor=process.application.identity.service_actor(address),
            )
        asked = world.note(Asked(Command(address, meta, name, facts), caller, f"{name} first"))
        do = over_http(asked) if caller is not None else by_itself(asked)
        await self.client.send(asked, owner, do, patient=chance.random() < 0.5)
        await self._again(asked, owner, do)
        if caller is not None and chance.random() < 0.05 and "note" in type(facts).model_fields:
            world.faults.reached["other_body"] += 1
            changed = facts.model_copy(update={"note": Note(text=f"other words {MARK}")})
            twin = world.note(Asked(replace(asked.command, facts=changed), caller, f"{name} other"))
            await self.client.send(twin, owner, over_http(twin), patient=False)

    def _time(self, process: Process) -> Any:
        """The time of a command: now (None), or a little earlier, as from a source."""
        back = timedelta(seconds=self.chance.choice((2, 600, 7_200)))
        return process.clock.now() - back if self.chance.random() < 0.12 else None

    async def read(self) -> None:
        """Read a case or an order as a caller who may or may not see it."""
        chance, world = self.chance, self.world
        there = [*world.born("case"), *world.born("order")]
        if not there:
            return
        address, view = chance.choice(there), chance.choice(tuple(View))
        region = chance.choice(ALL_REGIONS)
        caller = Caller("jj-reader", "reader", unit(region, "women"), region, frozenset({Right.READ}))
        process = await world.copy_of(chance.choice((Owner.INTAKE, Owner.ROUTING, Owner.SUPERVISION)))
        before = len(world.log.events(address.subject))
        task = process.group.start(process.application.load(caller, address, view))
        await asyncio.wait([task])
        if task.cancelled() or task.exception() is not None:
            return
        after = len(world.log.events(address.subject))
        states = (world.state(address, count) for count in range(before, after + 1))
        if not any(sees(caller, state, view) for state in states):
            world.violated("shown to somebody in whose hands it is not", address.subject)

    # Orders

    async def issue_order(self) -> None:
        """Issue an order over one to three cases."""
        chance, world = self.chance, self.world
        there = world.born("case")
        if not there:
            return
        cases = chance.sample(there, min(len(there), chance.choice((1, 1, 2, 3))))
        region = chance.choice(REGIONS)
        caller = Caller("jj-supervisor", "supervisor", f"{PROVINCE}-centre", PROVINCE, ALL_RIGHTS)
        command_id = http_command_id(caller, "issue-order", f"key-{self.number()}")
        address = Address("order", region, new_id(region, command_id))
        now = world.clock.now()
        facts = facts_of(
            "issue-order",
            kind=chance.choice(ORDER_KINDS), region=region, unit=chance.choice(units_of(region)),
            cases=tuple(case.subject for case in (*cases, *(cases[:1] if chance.random() < 0.06 else ()))),
            due=now + timedelta(hours=chance.choice((1, 2, 2, -1))), note=NOTE,
        )  # fmt: skip
        process = await world.copy_of(Owner.SUPERVISION)
        meta = process.application.meta(caller, command_id, region, None, "desk")
        asked = world.note(Asked(Command(address, meta, "issue-order", facts), caller, "first"))

        async def do(process: Process) -> Any:
            return await process.application.execute(caller, asked.command)

        await self.client.send(asked, Owner.SUPERVISION, do, patient=chance.random() < 0.6)
        await self._again(asked, Owner.SUPERVISION, do)

    async def ask_of_an_order(self) -> None:
        """Send a command on an order: answer, accept, refuse, withdraw, or declare it overdue."""
        chance, world = self.chance, self.world
        there = world.born("order")
        if not there:
            return
        address = chance.choice(there)
        state = world.state(address)
        likely = {
            OrderStatus.ISSUED: "answer-order",
            OrderStatus.ANSWERED: chance.choice(("accept-answer", "refuse-answer", "answer-order")),
        }
        name = chance.choice((likely.get(state.status, "withdraw-order"), chance.choice(ORDER_COMMANDS)))
        if name == "declare-order-overdue":
            seen_at = world.clock.now() if chance.random() < 0.8 else state.due - timedelta(seconds=1)
            facts = facts_of(name, due=state.due, seen_at=seen_at)
        else:
            facts = facts_of(name, note=NOTE)
        await self._ask(name, address, facts, state)
