"""The judge of a running stack: the log folds, ids are unique, and each event has its key or its erasure.

FEED holds the items that follow from the log, each once and in order.
"""

from __future__ import annotations

import asyncio

from infra.servers.folder import Folder
from shared.kit.clock import SystemClock
from shared.kit.seal import unseal_fields
from shared.kit.sql import Database, Statements
from shared.kit.vault import MasterKeys, PgVault
from shared.log import fsck
from shared.log.fsck import FsckLookups, FsckReport
from shared.log.jetstream import JetStreamLog
from shared.log.port import LogUnavailable
from shared.log.streams import Streams
from shared.log.topology import Topology
from tests.support import feeds
from tests.support.log import AREAS
from tests.support.stack import Stack

SETTLE_S_MAX = 90.0  # messages of a killed process come again after ACK_WAIT_S (30 s); after two kills, 60 s
PAUSE_S = 0.1


async def judge(stack: Stack) -> FsckReport:
    """Check the whole log until it is clean, at most SETTLE_S_MAX seconds; returns the last report."""
    database = await Database.connect(stack.postgres_dsn("intake"), Statements({}), "intake", 2)
    masters = MasterKeys.load(Folder(stack.data.resolve()).master_key)
    loop = asyncio.get_running_loop()
    end = loop.time() + SETTLE_S_MAX
    try:
        async with stack.log() as log:
            while True:
                vault = PgVault(database, masters, SystemClock())  # without cached keys that were destroyed meanwhile
                try:
                    lookups = FsckLookups(keys=vault.keys, unseal=unseal_fields)
                    report = await fsck.check_log(log, lookups, settled=True)
                    if report.clean or loop.time() > end:
                        return report
                except LogUnavailable:  # a server reads its files after a kill, on a machine with other work
                    if loop.time() > end:
                        raise
                await asyncio.sleep(PAUSE_S)
    finally:
        await database.close()


async def judge_feed(stack: Stack) -> None:
    """Compare FEED with the items computed from the whole log, once its writer has caught up."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SETTLE_S_MAX
    async with stack.connection() as connection:
        log, streams = JetStreamLog(connection, Topology(AREAS)), Streams(connection)
        while True:
            try:
                if await feeds.written(streams, log) == await feeds.expected(log):
                    return
                assert loop.time() < end, "FEED is not what follows from the log"
            except LogUnavailable:
                if loop.time() > end:
                    raise
            await asyncio.sleep(PAUSE_S)


def assert_clean(stack: Stack) -> FsckReport:
    """Judge the log and the feed. Raises AssertionError with the first findings of the log."""
    report = asyncio.run(judge(stack))
    assert report.clean, "\n".join(str(finding) for finding in report.findings[:5])
    asyncio.run(judge_feed(stack))
    return report
