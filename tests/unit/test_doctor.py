"""The doctor tells a stream that is missing from a server that does not say."""

from __future__ import annotations

from typing import Any, cast

import pytest

from infra.operations import doctor
from shared.log.connection import ApiError, NatsConnection
from shared.log.consumers import CODE_NO_STREAM
from shared.log.topology import Topology


@pytest.mark.parametrize(
    ("code", "subject"),
    [(CODE_NO_STREAM, "the stream FEED is missing"), (10008, "NATS says nothing about FEED (unwell (10008))")],
)
async def test_only_a_stream_that_is_missing_is_called_so(code: int, subject: str) -> None:
    class Refusing:
        async def api(self, subject: str) -> dict[str, Any]:
            raise ApiError({"err_code": code, "description": "unwell"})

    checks = [check async for check in doctor._streams(cast(NatsConnection, Refusing()), Topology(("5101",)))]
    assert subject in [check.subject for check in checks]
