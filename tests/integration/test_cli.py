"""The verbs that look at a copy that runs, and publish to it: events, rebuild, reference, doctor."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.servers.attach import endpoints, is_running
from infra.servers.folder import CannotStart
from tests.support.client import HOUSING, Desk
from tests.support.command import ROOT
from tests.support.log import AREAS
from tests.support.stack import START_S_MAX, STOP_S_MAX, Stack, until

pytestmark = pytest.mark.slow
DEMO = ROOT / "shared" / "reference" / "demo"


def caseflow(stack: Stack, *words: object) -> Result:
    """The command on a stack that runs, in this process."""
    done = CliRunner().invoke(
        app, [*map(str, words), "--data", str(stack.data)], env={"CASEFLOW_PORT": str(stack.port)}
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def test_the_doctor_finds_a_running_copy_well(stack: Stack) -> None:
    done = caseflow(stack, "doctor")
    assert done.exit_code == 0, done.stdout
    for line in (
        "NATS writes to the disk",
        "9 streams as they must be",
        "migrations",
        "served",
        "secrets are private",
        "read model reporting: ",
    ):
        assert line in done.stdout
    assert stack.passwords()["admin"] not in done.stdout


UNDELIVERED = """
insert into supervision.webhooks
    (id, url, kinds, region, creator, numbers, created_at, status, cursor, version, tries)
values ('00000000-0000-8000-8000-000000000001', 'https://example.org', '{overdue}', '510100000000', 'cd-director',
        false, now(), 'paused', 0, 1, 3);
insert into supervision.webhook_items
    (webhook, sequence, item, subject, kind, attempts, since, down, parked_at)
select id, sequence, gen_random_uuid(), 'case', 'overdue', 9, now() - waits::interval, true, parked_at
from supervision.webhooks, (values (1, '3 days', now()), (2, '2 hours', null)) as i (sequence, waits, parked_at)
where id = '00000000-0000-8000-8000-000000000001';
"""
DELIVERED = "delete from supervision.webhooks where id = '00000000-0000-8000-8000-000000000001'"


def test_the_doctor_tells_of_webhooks_that_take_nothing(stack: Stack) -> None:
    async def execute(text: str) -> None:
        database = await asyncpg.connect(stack.postgres_dsn("supervision"))
        try:
            await database.execute(text)
        finally:
            await database.close()

    asyncio.run(execute(UNDELIVERED))
    report = caseflow(stack, "doctor").stdout
    asyncio.run(execute(DELIVERED))
    assert "1 items of 1 webhooks are parked" in report
    assert "1 items of 1 webhooks wait, the oldest since" in report


SIGNED = ("--token", "demo-sc-admin", "--reason", "网格调整")
TOWNSHIP = "510104017000"


def grids(folder: Path, village: str, *numbers: int) -> Path:
    """A file with the grids of a village's township that have these numbers."""
    row = "{name: 崇德里社区网格, households: 400, people: 1000, workers: [jgy-grid-2]}"
    rows = "".join(f"  {village}{number}: {row}\n" for number in numbers)
    file = folder / "grids.yaml"
    file.write_text(f"kind: grids\nregion: {village[:9]}000\nrows:\n{rows}", "utf-8")
    return file


def published(stack: Stack, kind: str, region: str) -> dict[str, Any]:
    """The document in force, as HTTP shows it."""
    with closing(Desk(stack.url)) as desk:
        answer = desk.get("jj-window", "/reporting/documents", kind=kind, region=region)
        assert answer.status_code == 200, answer.text
        (item,) = answer.json()["documents"]
        assert isinstance(item, dict)
        return item


@pytest.mark.clause("12.2")
def test_a_document_says_who_published_it_and_why(stack: Stack, tmp_path: Path) -> None:
    file = grids(tmp_path, "510104022006", 811)
    for options, reason in (
        ((), "nobody says who publishes"),
        (("--token", "demo-sc-admin"), "say why in one line, by --reason"),
        (("--token", "demo-jj-director", "--reason", "x"), "of nobody with the right admin"),
        (("--token", "unknown", "--reason", "x"), "of nobody with the right admin"),
    ):
        refused = caseflow(stack, "reference", "load", file, *options)
        assert (refused.exit_code, reason in refused.stderr) == (2, True), refused.stderr
    token, tokens = tmp_path / "token", stack.data / "secrets" / "tokens.yaml"
    token.write_text("own\n")
    signed = ("--token", f"@{token}", "--reason", "网格调整")
    assert "of nobody" in caseflow(stack, "reference", "load", file, *signed).stderr
    tokens.write_text(f"{sha256(b'own').hexdigest()} sc-admin\n")
    try:
        demo = caseflow(stack, "reference", "load", file, *SIGNED)
        assert (demo.exit_code, "of nobody" in demo.stderr) == (2, True), "tokens of the demo count in a demo only"
        assert caseflow(stack, "reference", "load", file, *signed).exit_code == 0
    finally:
        tokens.unlink()
    shown = json.loads(caseflow(stack, "reference", "show", "grids", "510104022000").stdout)["publication"]
    assert (shown["publisher"], shown["post"], shown["reason"]) == ("sc-admin", "admin", "网格调整")
    until(lambda: published(stack, "grids", "510104022000")["publication"] == shown, "the document over HTTP")
    assert published(stack, "posts", "000000000000")["publication"] is None, "published by the start of the demo"
    listed = caseflow(stack, "reference", "list").stdout
    assert re.search(r"grids     510104022000 .*\[sc-admin \(admin\), .*: 网格调整\]", listed)
    assert re.search(r"posts     000000000000 .*\[publisher unknown\]", listed)


def test_rows_go_only_when_that_is_asked_for(stack: Stack, tmp_path: Path) -> None:
    region = "510703001000"
    file = grids(tmp_path, "510703001003", 811, 812, 813)
    assert caseflow(stack, "reference", "load", file, *SIGNED).exit_code == 0
    fewer = grids(tmp_path, "510703001003", 811)
    refused = caseflow(stack, "reference", "load", fewer, *SIGNED)
    assert refused.exit_code == 1
    lines = [line for line in refused.stdout.splitlines() if line.endswith("would be removed")]
    assert lines == [f"grids:{region} 510703001003{number}: would be removed" for number in ("812", "813")]
    assert "with --remove" in refused.stderr
    shown = json.loads(caseflow(stack, "reference", "show", "grids", region).stdout)
    assert len(shown["rows"]) == 3, "nothing was published"
    assert caseflow(stack, "reference", "load", fewer, *SIGNED, "--remove").exit_code == 0
    shown = json.loads(caseflow(stack, "reference", "show", "grids", region).stdout)
    assert [row["code"] for row in shown["rows"]] == ["510703001003811"]


@pytest.mark.clause("9.5b")
def test_a_change_of_the_own_rights_needs_a_second_person(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "people.yaml"
    row = f"cli-operator: {{name: 甲, unit: {TOWNSHIP}-centre, post: operator, deputy: sc-admin}}"
    file.write_text(f"kind: people\nregion: {TOWNSHIP}\nrows:\n  {row}\n", "utf-8")
    alone = caseflow(stack, "reference", "load", file, *SIGNED)
    assert alone.exit_code == 1
    assert "cli-operator: deputy - → sc-admin" in alone.stdout
    assert "A second person" in alone.stderr
    for token in ("demo-sc-admin", "demo-jj-director", "unknown"):
        refused = caseflow(stack, "reference", "load", file, *SIGNED, "--approved-by", token)
        assert (refused.exit_code, "of no second person" in refused.stderr) == (2, True), refused.stderr
    assert caseflow(stack, "reference", "show", "people", TOWNSHIP).exit_code == 2, "nothing was published"
    assert caseflow(stack, "reference", "load", file, *SIGNED, "--approved-by", "demo-sc-auditor").exit_code == 0
    shown = json.loads(caseflow(stack, "reference", "show", "people", TOWNSHIP).stdout)
    assert (shown["publication"]["publisher"], shown["publication"]["approver"]) == ("sc-admin", "sc-auditor")


def test_rules_are_tried_on_the_cases_of_an_installation(stack: Stack, tmp_path: Path) -> None:
    desk = Desk(stack.url)
    case = desk.assigned()
    desk.complete("jj-triage", "/routing/queue", case.position)
    desk.close()
    report = json.loads(caseflow(stack, "reference", "try", "--json").stdout)
    assert report["cases"] >= 1
    assert report["agree"] >= 1, "the rules in force agree with what they did"
    file = tmp_path / "rules.yaml"
    file.write_text(
        "kind: rules\nrows:\n"
        "  all: {points: {9: [物业, 电梯]}, then: {unit: '{county}-women'}, basis: {mark: C, text: t}}\n",
        "utf-8",
    )
    report = json.loads(caseflow(stack, "reference", "try", file, "--json").stdout)
    assert {"before": "housing", "after": "women"}.items() <= report["changes"][0].items()
    assert report["wrong"] >= 1


def test_documents_are_published_once_and_shown(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "grids.yaml"
    row = "510104017002001: {name: 崇德里社区第1网格, households: 400, people: 1000, workers: [jgy-grid-2]}"
    file.write_text(f"kind: grids\nregion: 510104017000\nrows:\n  {row}\n", "utf-8")
    first, second = (caseflow(stack, "reference", "load", file, *SIGNED) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.stderr
    assert "1 documents published, 0 unchanged" in first.stderr
    assert "0 documents published, 1 unchanged" in second.stderr
    assert "grids     510104017000" in caseflow(stack, "reference", "list").stdout
    shown = json.loads(caseflow(stack, "reference", "show", "grids", "510104017000").stdout)
    assert [one["code"] for one in shown["rows"]] == ["510104017002001"]
    assert shown["reference"].startswith("grids:510104017000@")


def test_a_new_year_is_published_and_the_years_before_stay(stack: Stack, tmp_path: Path) -> None:
    file, place = tmp_path / "year.yaml", "510199000000"

    def load(year: int, days: str) -> Result:
        file.write_text(f"kind: calendars\nregion: {place}\nrows:\n  {year}: {{holidays: [{days}]}}\n", "utf-8")
        return caseflow(stack, "reference", "load", file, *SIGNED)

    assert load(2027, "2027-01-01, 2027-02-06").exit_code == 0
    wrong = load(2028, "2027-11-30")
    assert wrong.exit_code == 1
    assert (
        "year.yaml:4: row 1 of calendars, '2028': 2027-11-30 is not in 2028; move it to the row of 2027" in wrong.stderr
    )
    done = load(2028, "2028-01-01")
    assert done.exit_code == 0
    assert f"warning: calendars:{place} 2027: region {place} is in no document of regions" in done.stdout
    assert f"calendars:{place}: 2027 stay as they are" in done.stderr
    assert "1 documents published" in done.stderr
    assert "0 documents published, 1 unchanged" in load(2028, "2028-01-01").stderr
    shown = json.loads(caseflow(stack, "reference", "show", "calendars", place).stdout)
    assert [(row["year"], len(row["holidays"])) for row in shown["rows"]] == [("2027", 2), ("2028", 1)]


def test_a_document_that_does_not_fit_is_not_published(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "people.yaml"
    file.write_text(
        "kind: people\nregion: 510104018000\nrows:\n  x: {name: 甲, unit: 510104018000-none, post: none}\n", "utf-8"
    )
    done = caseflow(stack, "reference", "load", file, *SIGNED)
    assert done.exit_code == 1
    assert "unit 510104018000-none does not exist" in done.stdout
    assert "nothing was published" in done.stderr
    assert caseflow(stack, "reference", "show", "people", "510104018000").exit_code == 2


def test_read_models_are_not_emptied_under_a_running_copy(stack: Stack) -> None:
    done = caseflow(stack, "rebuild", "routing")
    assert done.exit_code == 1
    assert "Another process keeps this read model" in done.stderr
    assert not (stack.data / "rebuild" / "routing.work").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--after", "LOG_9901:1"], "there is no stream LOG_9901"),
        (["--after", "17"], "not a position"),
        (["--case", "FJ4M-0003V-X"], "the check character does not fit"),
        (["--case", "76c49156-0042-8882-829c-5aab0edc1000"], "the log holds nothing of"),
        (["--case", "0f0f0f0f-0042-8882-829c-5aab0edc1000"], "no log stream for"),
    ],
)
def test_events_that_cannot_be_found_are_told(stack: Stack, words: list[str], told: str) -> None:
    done = caseflow(stack, "events", *words)
    assert done.exit_code == 2
    assert told in done.stderr


async def consumers_of(stack: Stack, stream: str) -> set[str]:
    """The names of the consumers of a stream."""
    async with stack.connection() as connection:
        reply = await connection.api(f"$JS.API.CONSUMER.LIST.{stream}")
    return {consumer["name"] for consumer in reply["consumers"]}


async def test_a_case_is_followed_from_its_history_on_and_only_its_stream(stack: Stack, tmp_path: Path) -> None:
    desk = Desk(stack.url)
    case = desk.assigned()
    desk.until_clocked(case.id)
    history = desk.types(case.id)
    own, other = (f"LOG_{area}" for area in AREAS)
    before = {stream: await consumers_of(stack, stream) for stream in (own, other)}
    words = ("events", "--case", case.number, "--follow", "--data", str(stack.data))
    output = tmp_path / "events"

    def types() -> list[str]:
        rows = [json.loads(line) for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")]
        assert {row["case"] for row in rows} <= {case.id}
        return [row["type"] for row in rows if row["type"] != "case.deadlines_set"]  # as Desk.types does

    with output.open("wb") as stdout:
        process = subprocess.Popen((sys.executable, "-m", "infra.cli", *words), cwd=ROOT, stdout=stdout)
        try:
            until(lambda: types() == history, "the history stands there before anything further happens", START_S_MAX)
            desk.ok("jj-housing", f"/routing/cases/{case.id}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"})
            until(lambda: "case.signed_for" in types(), "the next event is printed")
            made = {stream: await consumers_of(stack, stream) - before[stream] for stream in (own, other)}
            assert made[own]
            assert not made[other]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S_MAX)
            desk.close()
    assert types()[: len(history) + 1] == [*history, "case.signed_for"], "each event once"


async def test_who_runs_is_known_by_the_lock(stack: Stack, tmp_path: Path) -> None:
    assert is_running(stack.data)
    assert (await endpoints(stack.data)).postgres["intake"] == stack.postgres_dsn("intake")
    assert not is_running(tmp_path)
    with pytest.raises(CannotStart, match="has stopped"):
        await endpoints(tmp_path)
