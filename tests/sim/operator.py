"""The operator of a world at rest: replays parked messages, sweeps orphaned keys and wraps the keys anew."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.case.base import Meta, Owner, Position
from shared.case.commands import Command
from shared.case.lifecycle import Status
from shared.case.reasons import Rejected
from shared.kit.vault import MasterKeys
from shared.log.port import WrongOwner
from tests.sim.facts import Pen

if TYPE_CHECKING:
    from tests.sim.actors import Actors
    from tests.sim.process import Process


class Operator:
    """The operator of a world, with the chance and the numbers of its actors."""

    def __init__(self, actors: Actors) -> None:
        self.world, self.chance, self.actors = actors.world, actors.chance, actors
        self._replayed: set[str] = set()
        self._swept = False

    async def operate(self) -> bool:
        """Replay parked messages, sweep orphans, wrap keys anew; returns whether anything was left to do."""
        world = self.world
        await self._replay_parked()
        if world._busy():
            return True
        if self._swept:
            return False
        self._swept = True
        await self._misdirect()
        supervision = await world.copy_of(Owner.SUPERVISION)
        eraser = supervision.jobs["supervision.sweep"].__self__
        before = world.clock.now() - timedelta(hours=1)  # the key of an order is made shortly before the order
        await self._as(supervision, supervision.data.vault.sweep_orphans(before, eraser._exists))
        vault = supervision.data.vault
        masters = MasterKeys([b"x" * 32, b"n" * 32, b"o" * 32])
        for process in world.processes.values():  # first the master key files of all processes, then the keys
            process.data.vault._masters = masters
        await self._as(supervision, vault.rewrap())
        world.vault._masters = masters
        return True

    async def _as(self, process: Process, doing: Any) -> Any:
        return await process.group.start(doing)

    async def _replay_parked(self) -> None:
        for parked in self.world.parked():
            if "event" not in parked:
                self.world.violated(f"a submission was parked: {parked}")
                continue
            position = Position.parse(parked["position"])
            for owner in (Owner.INTAKE, Owner.ROUTING, Owner.SUPERVISION):
                key = f"{owner} {position}"
                if key not in self._replayed:
                    self._replayed.add(key)
                    process = await self.world.copy_of(owner)
                    recorded = await process.data.log.at(position)
                    assert recorded is not None
                    await self._as(process, process.reactions.react(recorded))

    async def _misdirect(self) -> None:
        """The log of a service refuses an event that another service owns."""
        world = self.world
        open_ones = [one for one in world.born("case") if world.state(one).status not in (Status.MERGED, Status.SPLIT)]
        if not open_ones:
            return
        address = self.chance.choice(open_ones)
        process = await world.copy_of(Owner.ROUTING)
        now = process.clock.now()
        command_id, actor = f"misdirected-{self.actors.number()}", process.application.identity.service_actor(address)
        meta = Meta(command_id=command_id, time=now, recorded_at=now, actor=actor)
        asked = Command(address, meta, "hold", Pen(self.chance, world.state(address), now, "").write("hold"))
        try:
            outcome = await self._as(process, process.application.decide(asked))
        except WrongOwner:
            return
        except Exception as error:  # erased: there is no key
            if type(error).__name__ != "KeyErased":
                raise
            return
        if not isinstance(outcome, Rejected):
            world.violated("routing wrote what supervision owns", asked)
