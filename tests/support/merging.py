"""Intake over a log and a vault in memory, with cases that are merged: their reporters look up, rate and add."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from services.intake.policy import REACTIONS
from shared.case.base import Address, Meta, Owner, derived_id, new_id
from shared.case.commands import COMMANDS, Command
from shared.case.rights import Right
from shared.case.state import standing
from shared.kit.access import Caller
from shared.kit.application import Application
from shared.kit.command_handler import Committed, command
from shared.kit.problems import ProblemError
from shared.kit.reactions import ReactionRunner
from shared.kit.runtime import Runtime
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.memory import MemoryLog
from tests.support.clock import FakeClock
from tests.support.law import CHIEF, FACTS, LI, TOWNSHIP, person
from tests.support.services import ABSENT, composed, data_of

DESK = Caller("jj-window", "window-clerk", "510104000000-centre", "510104000000", frozenset(Right))
RETENTION_S = 367 * 86_400  # of the class year_1, to the end of its last day


@dataclass
class Reporter:
    """A reporter and their own case: `words` are those that nobody else may read."""

    address: Address
    words: tuple[str, ...]
    number: str = ""
    secret: str = ""


@dataclass
class Merging:
    """Intake, and the cases of a test."""

    clock: FakeClock = field(default_factory=FakeClock)
    count: int = 0

    def __post_init__(self) -> None:
        self.log = MemoryLog(("5101",), self.clock)
        self.vault = MemoryVault(MasterKeys([b"k" * 32]), self.clock)
        data = data_of(log=self.log, streams=ABSENT, database=ABSENT, vault=self.vault)
        self.service = composed(Owner.INTAKE, data=data, runtime=Runtime.of(self.clock))
        self.reactions = ReactionRunner(application=self.application, reactions=REACTIONS)
        self.web = httpx.AsyncClient(transport=httpx.ASGITransport(self.service.app), base_url="http://caseflow")

    @property
    def application(self) -> Application:
        return self.service.application

    async def register(self, name: str, phone: str, *, matter: dict[str, str] | None = None, **party: str) -> Reporter:
        """A case of a reporter, registered a minute after the one before. `party`: more of the reporter, or other."""
        self.count += 1
        address = Address("case", TOWNSHIP, new_id(TOWNSHIP, f"case {self.count}"))
        await self.vault.new_keys(None, [(address.id, TOWNSHIP)])
        words = (name, phone, f"标题{name}", f"正文{name}")
        facts: dict[str, Any] = {
            "matter": matter or {"title": words[2], "text": words[3]},
            "reporter": {"parties": [{"name": name, "phone": phone} | party]},
            "complained_unit": None,
            "stand_aside": (),
            "contact_time": self.clock.now(),
        }
        await self.put(address, "register", **facts)
        state = (await self.application.load_for_service(address)).state
        number, secret = self.application.data.number(address, state), await self.vault.secret(address.id)
        return Reporter(address, words, number, secret)

    async def put(self, address: Address, name: str, *, by: str = CHIEF, **facts: Any) -> Committed:
        """Apply a command that the law allows, a minute after the one before."""
        await self.clock.advance(60)
        self.count += 1
        outcome = await self.application.handler.handle(self.command(address, name, by=by, **facts))
        assert isinstance(outcome, Committed), f"{name}: {outcome}"
        return outcome

    def command(self, address: Address, name: str, *, by: str = CHIEF, **facts: Any) -> Command:
        now, id = self.clock.now(), derived_id("test", address.id, name, str(self.count))
        meta = Meta(command_id=id, time=now, recorded_at=now, actor=person(by))
        return command(address, meta, name, COMMANDS[name].facts.model_validate(FACTS[name] | facts))

    async def merge(self, reporter: Reporter, into: Reporter) -> None:
        """Merge a case, in the two steps of a merge."""
        state = (await self.application.load_for_service(reporter.address)).state
        merged: dict[str, Any] = {"merged_from": reporter.address.id, "merged_registered_at": state.registered_at}
        attached: dict[str, Any] = {
            "matter": {"title": "同一事项", "text": "同一事项"},
            "contact_time": self.clock.now(),
        }
        await self.put(into.address, "attach", **attached, **merged)
        await self.put(reporter.address, "merge", into=into.address.id)

    async def undo(self, reporter: Reporter) -> None:
        events = (await self.application.history_for_service(reporter.address)).events
        await self.put(reporter.address, "unmerge", **standing(events))

    async def bring(self, reporter: Reporter, *names: str) -> None:
        """Apply these commands with their usual facts; `erase` comes when the retention is over, by two persons."""
        for name in names:
            if name == "erase":
                await self.clock.advance(RETENTION_S)
                await self.put(reporter.address, "request-erasure", by=LI)
            await self.put(reporter.address, name)
            if name == "erase":
                await self.vault.destroy(reporter.address.id)

    async def looked_up(self, reporter: Reporter) -> httpx.Response:
        headers = {"Case-Secret": reporter.secret}
        await self.clock.advance(60)
        return await self.web.get(f"/public/{reporter.number}", headers=headers)

    async def rate(self, reporter: Reporter, satisfaction: str, text: str = "") -> str:
        """The outcome of a rating by the reporter: `done`, or the code of the refusal."""
        await self.clock.advance(60)
        body = {"satisfaction": satisfaction} | ({"text": text} if text else {})
        headers = {"Case-Secret": reporter.secret}
        answer = await self.web.post(f"/public/{reporter.number}/rate", json=body, headers=headers)
        return "done" if answer.status_code == 200 else str(answer.json()["code"])

    async def supplement(self, reporter: Reporter, text: str) -> str:
        """The outcome of a supplement that the desk takes for the reporter."""
        await self.clock.advance(60)
        self.count += 1
        meta = self.application.meta(DESK, derived_id("test", str(self.count), "", ""), TOWNSHIP, None, "web")
        facts = COMMANDS["supplement"].facts.model_validate({"note": {"text": text}})
        try:
            await self.application.execute(DESK, Command(reporter.address, meta, "supplement", facts))
        except ProblemError as error:
            return error.problem.code
        return "done"

    async def react(self, reporter: Reporter) -> None:
        """Run the reactions to the newest event of a case, twice: as after a redelivery."""
        newest = (await self.application.history_for_service(reporter.address)).events[-1]
        for _ in range(2):
            await self.reactions.react(newest)

    async def types(self, reporter: Reporter) -> list[str]:
        events = (await self.application.history_for_service(reporter.address)).events
        return [recorded.type.removeprefix("case.") for recorded in events]
