"""Background jobs end together, also one that loses a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from shared.kit import service
from shared.kit.service import run_jobs


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CANCEL_EVERY_S", 0.01)


async def deaf(times: int = 3) -> None:
    """A job that loses some cancellations, as a request does whose answer arrives together with one."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_job_that_loses_a_cancellation_ends_at_last(cancels: int) -> None:
    jobs = asyncio.create_task(run_jobs([], {"deaf": deaf, "good": lambda: deaf(0)}))
    await asyncio.sleep(0.01)
    for _ in range(cancels):
        jobs.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(jobs, 5)


async def test_the_error_of_a_job_ends_all_and_is_raised() -> None:
    async def broken() -> None:
        await asyncio.sleep(0.01)
        raise LookupError("broken")

    with pytest.raises(LookupError):
        await asyncio.wait_for(run_jobs([], {"deaf": deaf, "broken": broken}), 5)
    assert len(asyncio.all_tasks()) == 1
