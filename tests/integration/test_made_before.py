"""A data folder made by an older program is read as it is: its log, its keys, its tables, its feed.

The archive was made by the commit that its facts name, before the layout of the source changed; the program of today
must not need another. How it was made: tests/support/made_before.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from shared.case.catalogue import EVENTS
from tests.support.client import NOTE, Desk
from tests.support.folders import open_folder, unpack
from tests.support.made_before import ARCHIVE, FACTS, counted, rebuilt, replayed
from tests.support.stack import Stack, stack_in

pytestmark = pytest.mark.slow
# Event types of the catalogue that the archive does not hold, each with the reason
MISSING: dict[str, str] = {
    **dict.fromkeys(
        (
            "case.release_requested",
            "case.release_request_ended",
            "case.erasure_requested",
            "case.erasure_request_ended",
        ),
        "one person released and erased when the archive was made",
    ),
    **dict.fromkeys(
        ("case.reopening_proposed", "case.reopening_declined"),
        "dissatisfaction with a closed case led to nothing when the archive was made",
    ),
    "case.unmerged": "the merges of the archive stand",
}


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """What the archive held when it was made."""
    loaded: dict[str, Any] = json.loads(FACTS.read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def unpacked() -> Iterator[Path]:
    with open_folder("before") as folder:
        unpack(ARCHIVE, folder / "data")
        yield folder / "data"


@pytest.fixture
def old(unpacked: Path) -> Iterator[Stack]:
    """The old folder as it was; nothing runs on it yet."""
    with stack_in("before", made=unpacked) as stack:
        yield stack


def caseflow(data: Path, *words: str) -> Result:
    """The command on a data folder, in this process."""
    return CliRunner().invoke(app, [*words, "--data", str(data)])


def test_the_old_folder_holds_events_of_every_type(facts: dict[str, Any]) -> None:
    types = set(facts["types"])
    assert types | set(MISSING) == set(EVENTS), "an event type that is new: make the archive anew, or say why not"
    assert not types & set(MISSING)
    assert facts["events"] == sum(facts["types"].values()) > 300


def test_the_old_log_is_clean_and_its_tables_are_rebuilt_equal(old: Stack, facts: dict[str, Any]) -> None:
    judged = caseflow(old.data, "fsck", "--settled")
    assert (judged.exit_code, judged.stdout) == (0, ""), judged.output
    figures = next(line for line in judged.stderr.splitlines() if line.endswith(" findings"))
    assert f"{facts['events']} events of " in figures
    assert figures.endswith(", 3 read models compared; 0 findings")
    assert counted(caseflow(old.data, "events").stdout) == facts["types"]
    made_anew = caseflow(old.data, "rebuild")
    assert made_anew.exit_code == 0, made_anew.output
    assert rebuilt(made_anew.stdout) == facts["tables"]


def test_caseflow_goes_on_with_the_old_folder(old: Stack, facts: dict[str, Any]) -> None:
    whole, open_case = facts["whole"], facts["open"]
    old.start()
    with closing(Desk(old.url)) as desk:
        assert desk.timeline(whole["id"])["timeline"] == whole["timeline"]
        shown = desk.get(None, f"/intake/public/{open_case['number']}", secret=open_case["secret"])
        assert (shown.status_code, shown.json()["status"]) == (200, "awaiting_triage")
        assert replayed(desk, facts["feed"][-1][0]) == facts["feed"]
        hooks = desk.get("cd-supervisor", "/supervision/webhooks").json()["webhooks"]
        assert [hook["kinds"] for hook in hooks] == [["overdue"], ["notice"]]
        before = desk.types(open_case["id"])
        desk.ok("jj-window", f"/intake/cases/{open_case['id']}/supplement", {"note": NOTE})
        assert desk.types(open_case["id"]) == [*before, "case.supplemented"]
    assert old.stop() == 0
