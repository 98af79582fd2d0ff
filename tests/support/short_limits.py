"""Limits in hours on a running stack: cases of subject 9901 are overdue at once, those of 9902 may be extended."""

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
    """Publish the limits and wait until the services apply them."""
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
    """A dispute of a subject at the triage desk, with its clock set."""
    case = desk.waiting(nature="dispute", subject=subject, **changed)
    desk.until_clocked(case.id)
    return case


def in_handling(
    desk: Desk,
    subject: str,
    signed_ago: timedelta = timedelta(0),
    co: tuple[str, ...] = (),
    responsible: str = "jj-housing-1",
) -> Case:
    """A dispute in handling at the housing department, which signed for it `signed_ago`."""
    then = (datetime.now(UTC) - timedelta(days=1, minutes=-5)).isoformat()
    case = begun(desk, subject, channel="letter", time=then)
    desk.ok("jj-triage", f"/routing/cases/{case.id}/triage", {"unit": HOUSING, "co_units": co})
    desk.ok("jj-triage", f"/routing/cases/{case.id}/assign", {"unit": HOUSING, "co_units": co})
    signed = {"unit": HOUSING, "person": responsible, "time": (datetime.now(UTC) - signed_ago).isoformat()}
    desk.ok("jj-housing", f"/routing/cases/{case.id}/sign-for", signed)
    until_clock(desk, case, "handle")
    return case


def until_clock(desk: Desk, case: Case, stage: str) -> dict[str, Any]:
    """Poll until a stage has its clock; returns the clock as in the list of deadlines."""
    end = time.monotonic() + WAIT_S_MAX
    while True:
        view = deadlines(desk, case)
        clock: dict[str, Any] | None = next((clock for clock in view["clocks"] if clock["stage"] == stage), None)
        if clock is not None:
            return clock
        if time.monotonic() > end:
            pytest.fail(f"no clock of {stage}: {view}")
        time.sleep(0.02)


def deadlines(desk: Desk, case: Case, stage: str = "", person: str = "cd-director", **params: Any) -> dict[str, Any]:
    """The deadlines of a case as supervision shows them, or the deadline of one stage."""
    path = f"/supervision/cases/{case.id}/deadlines{f'/{stage}' if stage else ''}"
    answer = desk.get(person, path, **params)
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    return view


def publish_anew(stack: Stack, note: str) -> None:
    """Publish the same limits as a newer version."""
    limits = next(document for document in load_yaml(FILE).documents if document.kind is DocumentKind.LIMITS)
    asyncio.run(_publish(stack, [limits.model_copy(update={"note": note})]))
