"""The faults of a world: drawn from its seed at each call of a port, counted by kind, and off once the world heals."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from shared.kit.failpoints import CATALOGUE
from shared.kit.problems import Unavailable
from shared.log.port import LogUnavailable
from tests.sim.loop import GROUP, Group

# Every kind of fault, with its description.
KINDS = {
    "drop": "a request to the log or a stream never arrives",
    "lost_ack": "the log or a stream stores it, the answer is lost",
    "late": "an append arrives long after its sender gave up",
    "duplicate": "an acknowledgement of a message is lost: it comes again",
    "redelivery": "a message is delivered again during its handling",
    "durable_deleted": "a durable is gone: everything comes again from the first message",
    "conflict": "another writer was first",
    "stale": "the cached state of a case is older than the log",
    "outage": "no request of a process reaches the log for seconds",
    "database_before": "the database fails before the commit",
    "database_after": "the database commits, the answer is lost",
    "vault": "the vault does not answer",
    "clock_jump": "the time of day of one process jumps",
    "clock_drift": "the time of day of one process runs too fast or too slow",
    "clock_stop": "the time of day of one process stands still",
    "time_gap": "hours or days pass without any work, and many timers are due at once",
    "calendar": "days off are published, and processes hear of it one by one",
    "lock_lost": "the connection that holds the lock of the leader breaks",
    "slow": "a call takes longer than a message waits for its acknowledgement",
    "kill": "a process dies at any point, and a new one starts without its memory",
    "poison": "a reaction fails at one event every time until it is parked",
    "two_copies": "two processes of one service work at the same time",
    "other_body": "an id is used again with another body",
    "same_again": "a request is sent again, also at the same time to another copy",
}

# Failpoints that no world can pass, and why.
UNREACHED = {
    "webhook.sent": "webhooks speak to sockets; they are judged on the real servers",
    "import.row": "the importer speaks to files and settings; it is judged by the crash tests",
}
UNREACHED = {name: why for name, why in UNREACHED.items() if name in CATALOGUE}

LOG_POINTS = frozenset(
    "append load peek at end follow fetch durable nack term publish last read wipe put get has delete".split()
)
STORED = frozenset({"append.stored", "publish.stored"})
SLOW_S = (0.5, 3.0, 45.0)


@dataclass(frozen=True, slots=True)
class Weather:
    """The probabilities of faults in one world, per call of a port."""

    fault: float
    kill: float
    slow: float
    outage: float
    timer: float

    @classmethod
    def draw(cls, chance: Random) -> Weather:
        """Draw each probability by itself, so that worlds differ in their kinds of faults."""
        return cls(
            fault=chance.choice((0.0, 0.005, 0.02, 0.06)),
            kill=chance.choice((0.0, 0.0005, 0.002, 0.004)),
            slow=chance.choice((0.0, 0.001, 0.004)),
            outage=chance.choice((0.0, 0.0003, 0.001)),
            timer=chance.choice((0.1, 0.3, 0.6)),
        )


class Faults:
    """The hooks that ports and failpoints await. `kill` ends the process of a group of tasks."""

    def __init__(self, chance: Random, weather: Weather, kill: Callable[[Group], None]) -> None:
        self.chance, self.weather, self.kill = chance, weather, kill
        self.on = True
        self.reached: Counter[str] = Counter()
        self.failpoints: Counter[str] = Counter()
        self._out_until: dict[str, float] = {}

    async def pause(self, point: str) -> None:
        """A yield point of a process; raises the fault that the seed draws. The servers and the judge get no fault."""
        group = GROUP.get()
        if group is None:
            return
        if not group.alive:
            raise asyncio.CancelledError
        if not self.on:
            await asyncio.sleep(0)
            return
        weather, chance = self.weather, self.chance
        if self._out_until and point in LOG_POINTS:
            self._out(group)
        draw = chance.random()
        if draw < weather.fault:
            self._fail(point)
        elif draw > 1 - weather.kill:
            self._die(group)
        elif draw > 1 - weather.kill - weather.slow:
            self.reached["slow"] += 1
            await asyncio.sleep(chance.random() * chance.choice(SLOW_S))
            return
        elif draw > 1 - weather.kill - weather.slow - weather.outage:
            self._out_until[group.name] = asyncio.get_running_loop().time() + 0.5 + 6 * chance.random()
        await asyncio.sleep(chance.random() * 0.02 if chance.random() < weather.timer else 0)

    async def failpoint(self, name: str) -> None:
        """A failpoint of the kit, at which the process may die."""
        self.failpoints[name] += 1
        group = GROUP.get()
        if group is None or not self.on:
            return
        if not group.alive:
            raise asyncio.CancelledError
        if self.chance.random() < self.weather.kill * 2:
            self._die(group)

    def _die(self, group: Group) -> None:
        self.reached["kill"] += 1
        self.kill(group)
        raise asyncio.CancelledError

    def _out(self, group: Group) -> None:
        until = self._out_until.get(group.name)
        if until is None:
            return
        if asyncio.get_running_loop().time() < until:
            self.reached["outage"] += 1
            raise LogUnavailable("the log is out of reach")
        del self._out_until[group.name]

    def _fail(self, point: str) -> None:
        if point in LOG_POINTS:
            self.reached["drop"] += 1
            raise LogUnavailable(point)
        if point in STORED:
            self.reached["lost_ack"] += 1
            raise LogUnavailable(point)
        if point == "ack":
            self.reached["duplicate"] += 1
            raise LogUnavailable(point)
        if point in ("db.begin", "db.statement", "db.commit", "db.lock"):
            self.reached["database_before"] += 1
            raise Unavailable("The database does not answer (sim).")
        if point == "db.committed":
            self.reached["database_after"] += 1
            raise Unavailable("The database does not answer (sim).")
        if point.startswith("vault."):
            self.reached["vault"] += 1
            raise Unavailable("The vault does not answer (sim).")
