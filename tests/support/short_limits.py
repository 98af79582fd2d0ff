"""Limits in hours on a running stack: cases of subject 9901 that are late at once, of 9902 that may be moved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.log.streams import Streams
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import load_yaml
from shared.reference.publish import publish
from tests.support.client import HOUSING, WAIT_S_MAX, Case, Desk
from tests.support.stack import Stack

HASTY, LONG = "9901", "9902"
FILE = Path(__file__).with_suffix(".yaml")


async def _publish(stack: Stack, documents: Sequence[Document]) -> None:
    async with stack.connection() as connection:
        await publish(Streams(connection), documents)


def publish_short_limits(desk: Desk, stack: Stack) -> None:
    """Put them in force, and wait until the services heard of it."""
    asyncio.run(_publish(stack, load_yaml(FILE).documents))
    end = time.monotonic() + WAIT_S_MAX
    while True:
        state = desk.until_clocked(desk.waiting(nature="dispute", subject=HASTY).id)
        if state["clocks"][0]["deadline"]["limit_reference"].startswith("limits:510000000000@"):
            return
        if time.monotonic() > end:
            pytest.fail("the short limits are not in force")


def ago(**long: float) -> str:
    return (datetime.now(UTC) - timedelta(**long)).isoformat()


def begun(desk: Desk, subject: str, **changed: Any) -> Case:
    """A dispute of a subject that waits at the triage desk, its clock set."""
    case = desk.waiting(nature="dispute", subject=subject, **changed)
    desk.until_clocked(case.id)
    return case


def in_handling(desk: Desk, subject: str, signed_ago: timedelta = timedelta(0), co: tuple[str, ...] = ()) -> Case:
    """... in the hands of the housing department, which signed for it so long ago."""
    then = (datetime.now(UTC) - timedelta(days=1, minutes=-5)).isoformat()
    case = begun(desk, subject, channel="letter", time=then)
    desk.ok("jj-triage", f"/routing/cases/{case.id}/triage", {"unit": HOUSING, "co_units": co})
    desk.ok("jj-triage", f"/routing/cases/{case.id}/assign", {"unit": HOUSING, "co_units": co})
    signed = {"unit": HOUSING, "person": "jj-housing-1", "time": (datetime.now(UTC) - signed_ago).isoformat()}
    desk.ok("jj-housing", f"/routing/cases/{case.id}/sign-for", signed)
    until_clock(desk, case, "handle")
    return case


def until_clock(desk: Desk, case: Case, stage: str) -> dict[str, Any]:
    """Poll until a stage has its clock; the clock as the list of deadlines tells it."""
    end = time.monotonic() + WAIT_S_MAX
    while True:
        told = deadlines(desk, case)
        found = next((one for one in told["clocks"] if one["stage"] == stage), None)
        if found is not None:
            clock: dict[str, Any] = found
            return clock
        if time.monotonic() > end:
            pytest.fail(f"no clock of {stage}: {told}")
        time.sleep(0.02)


def deadlines(desk: Desk, case: Case, stage: str = "", person: str = "cd-director", **params: Any) -> dict[str, Any]:
    """What supervision says of a case's deadlines, or of one."""
    path = f"/supervision/cases/{case.id}/deadlines{f'/{stage}' if stage else ''}"
    answer = desk.get(person, path, **params)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def publish_anew(stack: Stack, note: str) -> None:
    """The same limits as a newer version."""
    limits = next(one for one in load_yaml(FILE).documents if one.kind is DocumentKind.LIMITS)
    asyncio.run(_publish(stack, [limits.model_copy(update={"note": note})]))
