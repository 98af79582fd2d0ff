"""What a person gets wrong at the command is told in a line with what to do, and an exit code; never a traceback."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app, log
from infra.cli.base import Refused
from infra.cli.log import flow_facts
from shared.case import events as e
from shared.case.base import Actor, Address, Meta, Position, Recorded, Unknown
from shared.case.facts import Channel, Matter, Nature
from shared.kit.problems import ProblemError, Unavailable
from shared.kit.projections import KeptElsewhere
from shared.kit.settings import Settings

SUPPORT = Path(__file__).parents[1] / "support"
SAMPLE, MAPPING = SUPPORT / "messages.csv", SUPPORT / "messages.yaml"
DEMO = Path(__file__).parents[2] / "shared" / "reference" / "demo"


def caseflow(*words: object, **environment: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [*map(str, words)], env=environment)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["import", "none.csv", "--mapping", MAPPING], 2, "none.csv: No such file or directory"),
        (["import", SAMPLE, "--mapping", "none.yaml"], 2, "none.yaml: No such file or directory"),
        (["import", SAMPLE, "--mapping", SAMPLE], 2, "messages.csv:3: is not YAML"),
        (["import", MAPPING, "--mapping", MAPPING], 2, "ends in '.yaml'"),
        (["import", SAMPLE], 2, "Missing option '--mapping'"),
        (["reference", "validate", "none.yaml"], 2, "none.yaml does not exist"),
        (["reference", "validate", SAMPLE], 2, "give the kind of its rows by --kind"),
        (["reference", "validate", SAMPLE, "--kind", "rules"], 1, "faults; nothing was changed"),
        (["reference", "import-regions", "none", "--data", "/none"], 2, "none is no folder"),
        (["rebuild", "nobody"], 2, "'nobody' is not one of"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[object], code: int, told: str) -> None:
    done = caseflow(*words)
    assert done.exit_code == code
    assert told in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = caseflow("doctor", CASEFLOW_DATTA=str(tmp_path))
    assert done.exit_code == 2
    assert "Did you mean CASEFLOW_DATA?" in done.stderr


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = caseflow("import", SAMPLE, "--mapping", MAPPING, "--data", tmp_path / "file" / "data")
    assert done.exit_code == 1
    assert "cannot make the data folder" in done.stderr


@pytest.mark.parametrize("verb", ["events", "fsck", "rebuild"])
def test_a_folder_without_data_is_no_clean_log(tmp_path: Path, verb: str) -> None:
    done = caseflow(verb, "--data", tmp_path / "nothing")
    assert done.exit_code == 2
    assert "there is no data in" in done.stderr


def test_the_check_judges_every_row_and_needs_no_server() -> None:
    done = caseflow("import", SAMPLE, "--mapping", MAPPING, "--check")
    assert done.exit_code == 1  # some rows would be rejected
    assert "row 13: 编号 stands in row 4 already" in done.stderr
    assert "would be registered 7, attached 1, rejected 4" in done.stderr


def test_the_demo_is_valid() -> None:
    done = caseflow("reference", "validate", DEMO)
    assert done.exit_code == 0
    assert "0 errors" in done.stderr


def test_the_doctor_looks_at_what_is_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "secrets").mkdir(parents=True)
    (data / "secrets").chmod(0o700)
    (data / "secrets" / "master.key").write_text("x")
    (data / "secrets" / "master.key").chmod(0o644)
    done = caseflow("doctor", "--data", data)
    assert done.exit_code == 1
    assert "others may read" in done.stdout
    assert "bad  the master key cannot be used" in done.stdout
    assert "warn nothing runs on" in done.stdout


def recorded(event: object) -> Recorded[e.Registered]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    region = "510104000000"
    actor = Actor(person="p", post="p", unit=f"{region}-centre", centre=region, region=region)
    meta = Meta(command_id="c", time=now, recorded_at=now, actor=actor)
    return Recorded("id", Address("case", region, "x"), meta, event, Position("LOG_5101", 1))  # type: ignore[arg-type]


def test_flow_facts_hold_no_content() -> None:
    event = e.Registered(
        channel=Channel.WEB, contact_time=datetime(2026, 1, 1, tzinfo=UTC), region="510104000000",
        nature=Nature.HELP, first_asked="p", first_asked_unit="510104000000-centre",
        matter=Matter(title="SECRET", text="SECRET"),
    )  # fmt: skip
    told = flow_facts(recorded(event))
    assert told["facts"]["nature"] == "help"
    assert "SECRET" not in str(told)
    assert "matter" not in told["facts"]
    newer = flow_facts(recorded(Unknown("case.newer", 3, {"text": "SECRET"})))
    assert (newer["type"], newer["version"], newer["facts"]) == ("case.newer", 3, {})


@pytest.mark.parametrize(
    ("error", "begun", "noted"),
    [
        (KeptElsewhere(), False, False),
        (KeptElsewhere(), True, True),
        (Unavailable("The database is gone."), False, True),
    ],
)
def test_a_rebuild_that_was_begun_stays_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ProblemError, begun: bool, noted: bool
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    note = tmp_path / "rebuild" / "routing.work"
    if begun:
        note.parent.mkdir()
        note.touch()
    model = MagicMock(**{"checksums": AsyncMock(return_value={}), "log.streams.return_value": ()})
    model.name = note.name
    monkeypatch.setattr(log, "rebuild", fail)
    with pytest.raises((Refused, ProblemError)):
        asyncio.run(log._rebuild_one(Settings(data=tmp_path), model, fresh=False))
    assert note.exists() is noted
