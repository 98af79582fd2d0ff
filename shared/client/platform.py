"""A platform: commands of the catalogue out, each with an id of its own; receipts and progress in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from faststream import FastStream
from faststream.nats import JStream
from pydantic import BaseModel

from shared.case.commands import COMMANDS
from shared.kit import access
from shared.kit.bodies import RegisterBody, body_of
from shared.kit.clock import Clock, SystemClock
from shared.kit.messaging import hear, make_client_broker
from shared.kit.preconditions import entity_tag
from shared.kit.submission import PREFIX, Envelope, Progress, Receipt
from shared.log import topology
from shared.log.connection import REQUEST_WAIT_S_MAX
from shared.log.port import LogUnavailable
from shared.log.topology import PROGRESS, RECEIPTS, SUBMISSIONS

SUBMIT_S_MAX = 60.0
_PAUSE_S_MIN, _PAUSE_S_MAX = 0.1, 2.0

M = TypeVar("M", bound=BaseModel)


class PlatformClient:
    """One platform under its `source`. `url` holds user and password: nats://platform-<source>:<password>@host:4222."""

    def __init__(self, source: str, url: str, clock: Clock | None = None) -> None:
        user = f"platform-{source}"
        self.source = source
        self.broker = make_client_broker(url, user=user, logger=logging.getLogger("caseflow.client"))
        self.app = FastStream(self.broker)
        self.submissions = self.broker.publisher(
            f"submit.{source}.*.*.*.*.*", stream=JStream(SUBMISSIONS, declare=False), timeout=REQUEST_WAIT_S_MAX
        )
        self._clock = clock or SystemClock()

    def receipts(self, handler: Callable[[Receipt], Awaitable[None]]) -> Callable[[Receipt], Awaitable[None]]:
        """Decorator: hears every receipt as it comes. For receipts that came meanwhile ask `receipt`."""
        return hear(self.broker, f"receipt.{self.source}.*")(handler)

    def progress(self, handler: Callable[[Progress], Awaitable[None]]) -> Callable[[Progress], Awaitable[None]]:
        """Decorator: hears every step of every case as it comes. For steps that came meanwhile ask `last_step`."""
        return hear(self.broker, f"progress.{self.source}.*")(handler)

    async def submit(
        self,
        command: str,
        facts: BaseModel | Mapping[str, Any],
        *,
        id: str,
        region: str,
        case: str | None = None,
        time: datetime | None = None,
        version: int | None = None,
    ) -> int | None:
        """Publish a command of the catalogue and wait until it is kept; its sequence, None under the test broker.

        `id` is the platform's own, unique for ever: the same submission again, after any doubt, changes nothing.
        `region` holds the case, `case` is its number or id; in another `version` than this the command is refused.
        Raises KeyError for what is no command of a platform,
        pydantic.ValidationError for facts that are not the command's, LogUnavailable after SUBMIT_S_MAX.
        """
        envelope = self.envelope(command, facts, id=id, case=case, time=time, version=version)
        data, subject = envelope.model_dump_json(exclude_none=True).encode(), topology.submission(self.source, region)
        give_up_at, pause_s = self._clock.monotonic() + SUBMIT_S_MAX, _PAUSE_S_MIN
        while True:
            try:
                ack = await self.submissions.publish(data, subject, stream=SUBMISSIONS)
                return None if ack is None else ack.seq
            except LogUnavailable:  # it may be kept: the id makes a second one harmless
                if self._clock.monotonic() > give_up_at:
                    raise
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    def envelope(
        self,
        command: str,
        facts: BaseModel | Mapping[str, Any],
        *,
        id: str,
        case: str | None,
        time: datetime | None,
        version: int | None = None,
    ) -> Envelope:
        """A submission as it is published. Raises as `submit`."""
        if not access.offered(command):
            raise KeyError(f"{command} is no command of a platform")
        given = facts.model_dump(exclude_unset=True) if isinstance(facts, BaseModel) else facts
        body = _form(command).model_validate(given)
        data = body.model_dump(mode="json", exclude_unset=True, exclude={"time"})
        return Envelope(
            specversion="1.0", id=id, source=self.source, type=PREFIX + command, subject=case, time=time, data=data,
            ifmatch=None if version is None else entity_tag(version),
        )  # fmt: skip

    async def receipt(self, id: str) -> Receipt | None:
        """The receipt of a submission, as it is kept; None when there is none yet. Raises LogUnavailable."""
        return await self._last(RECEIPTS, topology.receipt(self.source, id), Receipt)

    async def wait_for_receipt(self, id: str, within_s: float = SUBMIT_S_MAX) -> Receipt:
        """The receipt of a submission once it is there. Raises TimeoutError, LogUnavailable."""
        give_up_at, pause_s = self._clock.monotonic() + within_s, _PAUSE_S_MIN
        while (receipt := await self.receipt(id)) is None:
            if self._clock.monotonic() > give_up_at:
                raise TimeoutError(f"no receipt of {id} within {within_s:g} s")
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)
        return receipt

    async def last_step(self, number: str) -> Progress | None:
        """The last step of a case by its number, as it is kept; None when there is none. Raises LogUnavailable."""
        return await self._last(PROGRESS, topology.progress(self.source, number), Progress)

    async def _last(self, stream: str, subject: str, model: type[M]) -> M | None:
        call = topology.api(f"DIRECT.GET.{stream}.{subject}")
        answer = await self.broker.request(b"", call, timeout=REQUEST_WAIT_S_MAX)
        return model.model_validate_json(answer.body) if answer.body else None


def _form(command: str) -> type[BaseModel]:
    return RegisterBody if command == "register" else body_of(COMMANDS[command].facts)
