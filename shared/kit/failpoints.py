"""Named places where a test can kill the process, raise, or wait: proof that a crash there loses nothing.

Armed by `CASEFLOW_FAILPOINTS="intake.register.claimed=kill,handle.appended=sleep:0.1@3"` (on the third hit) or, by the
simulation, with a hook of its own. Not armed, a hit costs a set look-up.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.kit.clock import SystemClock

CATALOGUE = (
    "intake.register.claimed",  # claim and case key are committed, nothing is on the log yet
    "intake.register.attached",  # attachments are in the object store, the event is not on the log yet
    "application.created",  # the creation of an aggregate is decided, the caller has no answer yet
    "intake.receipt.published",  # the receipt is out, the submission is not acknowledged yet
    "handle.loaded",  # the case is folded, nothing is decided yet
    "handle.decided",  # the decision is made, the append is not sent yet
    "handle.appended",  # the log has taken the event, the caller has no answer yet
    "react.fetched",  # a message is ours, nothing is done yet
    "react.handled",  # the command of the reaction is done, the message is not acknowledged yet
    "react.acked",  # the message is acknowledged
    "react.parked",  # the poison message is parked, not acknowledged yet
    "project.folded",  # rows are computed, not written yet
    "project.written",  # rows are written, the transaction is not committed yet
    "project.committed",  # rows and checkpoint are committed
    "ticker.fetched",  # what is due is read, nothing has fired yet
    "ticker.fired",  # one thing has fired, the next has not
    "feed.published",  # a feed item is out, the next is not
    "webhook.sent",  # receivers have taken items, the cursor is not committed yet
    "vault.destroyed",  # a case key is gone, the event that asked for it is not acknowledged yet
    "vault.rewrapped",  # one batch of keys is re-wrapped
    "import.row",  # one row of an import is done, its mark is not written yet
)
_NAMES = frozenset(CATALOGUE)
_SPEC = re.compile(r"(?P<name>[a-z_.]+)=(?P<action>kill|raise|sleep:(?P<seconds>\d+(\.\d+)?))(@(?P<hit>[1-9]\d*))?")

Hook = Callable[[str], Awaitable[None]]


class FailpointHit(Exception):
    """What an armed failpoint raises for the action `raise`."""


@dataclass
class _Armed:
    action: str
    seconds: float
    hits_left: int


class Failpoints:
    """The failpoints of one process: `hook` is called at each of them, and nothing happens without one."""

    __slots__ = ("hook",)

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook

    async def hit(self, name: str) -> None:
        """Pass the named place. Raises ValueError for a name that is not in the catalogue, FailpointHit when armed."""
        if name not in _NAMES:
            raise ValueError(f"failpoint {name!r} is not declared: add it to CATALOGUE in shared/kit/failpoints.py")
        if self.hook is not None:
            await self.hook(name)

    @contextmanager
    def armed(self, hook: Hook) -> Iterator[None]:
        """Call `hook` at every failpoint for the length of a with block."""
        before, self.hook = self.hook, hook
        try:
            yield
        finally:
            self.hook = before


def from_spec(spec: str) -> Hook | None:
    """The hook of a `name=action[@hit]` list. Raises ValueError that says what is wrong with the text."""
    plans: dict[str, _Armed] = {}
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        match = _SPEC.fullmatch(part)
        if match is None:
            raise ValueError(
                f"failpoint {part!r} is not understood: write name=kill, name=raise or name=sleep:0.1, "
                "with @3 behind it for the third hit"
            )
        if match["name"] not in _NAMES:
            raise ValueError(f"there is no failpoint {match['name']!r}: choose from {', '.join(CATALOGUE)}")
        action = match["action"].partition(":")[0]
        plans[match["name"]] = _Armed(action, float(match["seconds"] or 0), int(match["hit"] or 1))

    async def hook(name: str) -> None:
        plan = plans.get(name)
        if plan is None:
            return
        plan.hits_left -= 1
        if plan.hits_left == 0:
            await _act(name, plan)

    return hook if plans else None


async def _act(name: str, plan: _Armed) -> None:
    if plan.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if plan.action == "raise":
        raise FailpointHit(name)
    await SystemClock().sleep(plan.seconds)
