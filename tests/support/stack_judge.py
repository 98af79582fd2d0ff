"""The one judge, on a stack that runs: the log folds, ids are unique, every event has its key or its erasure."""

from __future__ import annotations

import asyncio

from infra.folder import Folder
from shared.kit.clock import SystemClock
from shared.kit.seal import unseal_fields
from shared.kit.sql import Database, Statements
from shared.kit.vault import MasterKeys, PgVault
from shared.log import fsck
from shared.log.fsck import Questions, Report
from tests.support.stack import Stack

SETTLE_S_MAX = 20.0
PAUSE_S = 0.1


async def judge(stack: Stack) -> Report:
    """Check the whole log once its reactions have caught up; the last report after SETTLE_S_MAX seconds."""
    database = await Database.connect(stack.postgres_dsn("intake"), Statements({}), "intake", 2)
    vault = PgVault(database, MasterKeys.load(Folder(stack.data.resolve()).master_key), SystemClock())
    loop = asyncio.get_running_loop()
    end = loop.time() + SETTLE_S_MAX
    try:
        async with stack.log() as log:
            while True:
                report = await fsck.check(log, Questions(keys=vault.keys, unseal=unseal_fields), settled=True)
                if report.clean or loop.time() > end:
                    return report
                await asyncio.sleep(PAUSE_S)
    finally:
        await database.close()


def assert_clean(stack: Stack) -> Report:
    """Fails with the first findings when the log is not as it must be."""
    report = asyncio.run(judge(stack))
    assert report.clean, "\n".join(str(finding) for finding in report.findings[:5])
    return report
