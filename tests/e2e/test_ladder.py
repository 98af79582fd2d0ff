"""Lateness climbs: what nobody does goes up the hierarchy by itself, and the levels above hear of it as it goes."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.feed_recording import CITY, TOWNSHIP, hasty_stack, listen

COUNTY = "510104000000"


@pytest.mark.slow
@pytest.mark.clause("11.2")
@pytest.mark.clause("5.1.3a")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed; it is what listens here")
def test_a_township_s_case_goes_late_rung_by_rung_up_to_the_city(tmp_path: Path) -> None:
    async def heard() -> list[dict[str, Any]]:
        async with hasty_stack(tmp_path / "data", rate=400_000) as url:
            lines = await listen(url, until=f'"in_charge":"{CITY}"')
        return [json.loads(line.removeprefix("data: "))["data"] for line in lines if line.startswith("data: ")]

    items = [item for item in asyncio.run(heard()) if item["event"].startswith("case.")]
    told = [(item["kind"], item["region"]) for item in items if item["kind"] != "notice"]
    assert told == [
        ("arrived", TOWNSHIP), ("overdue", TOWNSHIP), ("urged", TOWNSHIP), ("urged", TOWNSHIP), ("ordered", TOWNSHIP),
        ("left", TOWNSHIP), ("arrived", COUNTY), ("escalated", COUNTY), ("left", COUNTY),
    ]  # fmt: skip
    rungs = [item for item in items if item["kind"] in ("urged", "ordered", "escalated")]
    assert [item["rung"] for item in rungs] == [0, 1, 2, 3]
    overdue = next(item for item in items if item["kind"] == "overdue")
    moments = [datetime.fromisoformat(overdue["due"]), *(datetime.fromisoformat(item["moment"]) for item in rungs)]
    days = [(later - earlier) / timedelta(days=1) for earlier, later in pairwise(moments)]
    assert all(day == int(day) for day in days), "each rung comes at the end of a working day"
    escalated = rungs[-1]
    assert escalated["acts"], "it says who must act"
    assert len(escalated["informs"]) >= 4, "party committee, government and the centre above are told (clause 11.2)"
