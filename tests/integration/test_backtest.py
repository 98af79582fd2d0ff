"""`caseflow backtest` from a file to its report: made-up logs, and the real ones where they lie beside the checkout.

What a real file says is counted here a second time, by nothing but its columns and the comparison of two times.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app

ROOT = Path(__file__).parents[2]
MAPPINGS = ROOT / "docs" / "mappings" / "backtest"
DATA = ROOT.parent / "shared" / "data"
WAIT_S_MAX = 60

pytestmark = pytest.mark.slow


def backtest(file: Path, mapping: Path, *words: object) -> Result:
    """The command, in this process."""
    done = CliRunner().invoke(app, ["backtest", str(file), "--mapping", str(mapping), *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def report(file: Path, mapping: Path, *words: object) -> dict[str, Any]:
    """What it says as JSON; its differences are explained."""
    done = backtest(file, mapping, "--json", *words)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def real(*parts: str) -> Path:
    file = DATA.joinpath(*parts)
    if not file.exists():
        pytest.skip(f"{file.name} is not there: the real data lie beside the checkout, in shared/data")
    return file


def read(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(
    ("name", "mapping"),
    [("receipt.csv", "receipt"), pytest.param("08_receipt.xes.gz", "receipt-xes", marks=pytest.mark.deep)],
)
def test_the_municipality(name: str, mapping: str, tmp_path: Path) -> None:
    """Every breach of the receipt phase agrees with `case:deadline` and `case:enddate`."""
    with real("logs", "receipt.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    until = max(datetime.fromisoformat(row["time:timestamp"]) for row in rows)
    said = Counter[str]()
    for row in {row["case:concept:name"]: row for row in rows}.values():
        due, end = datetime.fromisoformat(row["case:deadline"]), read(row["case:enddate"])
        said["late" if end and end > due else "open" if not end and due < until else "in time"] += 1
    found = report(real("logs", name), MAPPINGS / f"{mapping}.yaml", "--differences", tmp_path / "d.csv")
    assert said == {"late": 377, "open": 39, "in time": 1018}
    assert found["declared_overdue"] == {"all": said["late"] + said["open"], "still_open": said["open"]}
    assert found["agreement"]["late"] == {"late": 416, "in time": 0, "nothing": 0}
    assert found["agreement"]["in time"] == {"late": 0, "in time": 1018, "nothing": 0}
    assert (found["rows"], found["cases"], found["left_out"], found["differences"]) == (8577, 1434, {}, {})
    assert len((tmp_path / "d.csv").read_text("utf-8-sig").splitlines()) == 1
    assert found["odd"] == {"end_before_begin": 2}


@pytest.mark.parametrize(("name", "cases", "late", "open"), [("nyc311-100.csv", 42, 8, 1), ("uissc_311.csv", 76, 4, 0)])
def test_the_service_requests(name: str, cases: int, late: int, open: int) -> None:
    """Due dates of 311; the police's are eight hours after the request, to the second, as our own limit has them."""
    path = real("311", name)
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Due Date"]]

    def moment(text: str) -> datetime | None:
        form, zone = "%m/%d/%Y %I:%M:%S %p", ZoneInfo("America/New_York")
        return datetime.strptime(text, form).replace(tzinfo=zone) if text else None

    ends = [(moment(row["Due Date"]), moment(row["Closed Date"])) for row in rows]
    assert sum(bool(due and end and end > due) for due, end in ends) == late
    found = report(path, MAPPINGS / "nyc311.yaml")
    assert (found["played"], found["declared_overdue"]) == (cases, {"all": late + open, "still_open": open})
    assert found["differences"] == {}
    assert sum(found["left_out"].values()) + cases == found["rows"]

    own = report(path, MAPPINGS / "nyc311-limits.yaml")
    police = sum(row["Agency"] == "NYPD" for row in rows)
    assert own["due_by_limit_and_by_file"] == {"the same moment": police}
    assert set(own["differences"]) <= {"no_limit"}


@pytest.mark.deep
def test_eight_weeks_across_a_change_of_clock_time() -> None:
    """Most of the municipality's due dates are eight weeks to the same time of day, on whichever side of the change."""
    found = report(real("logs", "receipt.csv"), MAPPINGS / "receipt-limits.yaml")
    dues = found["due_by_limit_and_by_file"]
    assert dues["the same second"] + dues["the same moment"] == 982
    assert set(found["differences"]) == {"due_differs"}


@pytest.mark.deep
def test_fifteen_working_days_of_a_bank() -> None:
    """A log without due dates by a limit of our own; counted a second time with nothing but weekdays."""
    path, zone = real("logs", "bpic2012.xes.gz"), ZoneInfo("Europe/Amsterdam")
    cases: list[tuple[datetime, list[datetime]]] = []
    until = datetime.min.replace(tzinfo=zone)
    for trace in gzip.decompress(path.read_bytes()).decode().split("<trace>")[1:]:
        events = re.findall(r"<event>(.*?)</event>", trace, re.DOTALL)
        times = [datetime.fromisoformat(_value(event, "time:timestamp")) for event in events]
        decided = [_value(event, "concept:name") in ("A_DECLINED", "A_CANCELLED", "A_ACTIVATED") for event in events]
        until = max(until, *times)
        began = datetime.fromisoformat(_value(trace, "REG_DATE"))
        cases.append((began, [at for at, ends in zip(times, decided, strict=True) if ends]))
    said = Counter[str]()
    for began, ends in cases:
        day, left = began.astimezone(zone).date(), 15
        while left:
            day += timedelta(days=1)
            left -= day.weekday() < 5
        over = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)
        said["late"] += bool(ends) and min(ends) > over
        said["open"] += not ends and until > over
    found = report(path, MAPPINGS / "bpic2012.yaml")
    assert said == {"late": 1922, "open": 177}
    assert found["declared_overdue"] == {"all": 2099, "still_open": 177}
    assert (found["rows"], found["cases"], found["differences"]) == (262_200, 13_087, {})


def _value(text: str, key: str) -> str:
    found = re.search(f'key="{key}" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def fines(path: Path, count: int) -> tuple[int, int]:
    """Made-up fines over a year of 2023: notified, paid or not, a penalty sixty days later at the same time of day.

    How many get one, and how many of these are across a change of clock time.
    """
    rome, late, across = ZoneInfo("Europe/Rome"), 0, 0
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write('<log xmlns="http://www.xes-standard.org/">')
        for number in range(count):
            noticed = datetime(2023, 1, 1, 9 * (number % 2)) + timedelta(days=number % 300)
            penalty = noticed + timedelta(days=60)
            paid = noticed + timedelta(days=(10, 60, 61, 200, 0)[number % 5])
            acts = [("Create Fine", noticed - timedelta(days=30)), ("Insert Fine Notification", noticed)]
            if paid > penalty or number % 5 == 4:
                acts.append(("Add penalty", penalty))
                late += 1
                across += noticed.replace(tzinfo=rome).utcoffset() != penalty.replace(tzinfo=rome).utcoffset()
            if number % 5 != 4:
                acts.append(("Payment", paid))
            file.write(f'<trace><string key="concept:name" value="A{number}"/>')
            for act, at in acts:
                at = at.replace(tzinfo=rome)
                file.write(
                    f'<event><string key="concept:name" value="{act}"/>'
                    f'<date key="time:timestamp" value="{at.isoformat(timespec="milliseconds")}"/></event>'
                )
            file.write("</trace>\n")
        file.write("</log>")
    return late, across


FINES = """\
source: fines
rows: events
id: case:concept:name
time_zone: Europe/Rome
registered: {activity: Create Fine}
signed: {activity: Insert Fine Notification}
settled: {activity: Payment, which: last}
limits:
  - {amount: 60, base: calendar_days, ends: clock, warn: 10, basis: sixty days}
late: {activity: Add penalty}
"""


def test_sixty_days_of_fines(tmp_path: Path) -> None:
    file, mapping = tmp_path / "fines.xes.gz", tmp_path / "m.yaml"
    late, across = fines(file, 200)
    mapping.write_text(FINES, "utf-8")
    found = report(file, mapping, "--until", "2024-12-31")
    assert across > 30
    assert found["declared_overdue"]["all"] == found["file_says_late"] == late == 120
    assert found["due_and_declared_by_file"] == {"the same moment": late}
    assert found["differences"] == {}
    assert found["agreement"]["in time"]["in time"] == 80

    mapping.write_text(FINES.replace("amount: 60", "amount: 61"), "utf-8")  # another rule than the file's
    done = backtest(file, mapping, "--until", "2024-12-31", "--differences", tmp_path / "d.csv")
    assert done.exit_code == 1
    rows = list(csv.DictReader((tmp_path / "d.csv").read_text("utf-8-sig").splitlines()))
    assert {row["why"] for row in rows} == {"rule_differs"}
    assert len(rows) == late
    assert "UNEXPLAINED: the file goes by a rule that the mapping does not state" in done.stdout


def test_the_report_for_a_terminal(tmp_path: Path) -> None:
    file, mapping = tmp_path / "a.csv", tmp_path / "m.yaml"
    file.write_text(
        "id,start,end,due,late\n1,2024-03-01,2024-03-02,2024-03-03,no\n2,2024-03-01,2024-03-09,2024-03-03,no\n"
        "=3,2024-03-01,2024-03-09,2024-03-03,no\n4,,,,\n",
        "utf-8",
    )
    mapping.write_text(
        "source: a\nid: id\ntime_zone: Asia/Shanghai\nregistered: start\nsettled: end\ndue: due\n"
        "late: {column: late, is: [yes]}\n",
        "utf-8",
    )
    done = backtest(file, mapping, "--differences", tmp_path / "d.csv")
    assert done.exit_code == 0
    told = done.stdout
    assert "a: 4 rows, 4 cases = 3 played, 1 left out" in told
    assert "start says no time when it was registered" in told
    assert "3 deadlines: 0 warned, 2 declared overdue" in told
    assert re.search(r"ours: overdue +0 +2 +0\n", told)
    assert "2  contradicts_itself: the file's word contradicts its own due date and end" in told
    assert re.search(r"late by +≤ 7 days █+ 2", told)
    assert "'=3" in (tmp_path / "d.csv").read_text("utf-8-sig")  # no formula in a sheet


@pytest.mark.parametrize(
    ("file", "mapping", "told"),
    [
        ("a.csv", "source: a\n", "id is missing; see docs/backtest.md"),
        ("a.txt", "", "rows are read from .csv"),
        ("none.csv", "", "none.csv: No such file or directory"),
        ("a.csv", FINES.replace("rows: events\n", ""), "activities are of event logs"),
        ("cut.xes.gz", FINES, "cut.xes.gz is cut off"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_a_code(tmp_path: Path, file: str, mapping: str, told: str) -> None:
    good = "source: a\nid: id\ntime_zone: UTC\nregistered: b\nsettled: c\ndue: d\n"
    (tmp_path / "m.yaml").write_text(mapping or good, "utf-8")
    for name in ("a.csv", "a.txt"):
        (tmp_path / name).write_text("id,b,c,d\n")
    fines(tmp_path / "whole.xes.gz", 100)
    (tmp_path / "cut.xes.gz").write_bytes((tmp_path / "whole.xes.gz").read_bytes()[:-200])
    done = backtest(tmp_path / file, tmp_path / "m.yaml")
    assert done.exit_code == 2
    assert told in done.stderr


def test_nothing_to_judge_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("source: a\nid: id\ntime_zone: UTC\nregistered: b\nsettled: c\ndue: d\n")
    (tmp_path / "a.csv").write_text("id,b,c,d\n")
    done = backtest(tmp_path / "a.csv", tmp_path / "m.yaml")
    assert done.exit_code == 1
    assert "no case had a deadline" in done.stderr


def test_it_is_interrupted_at_once(tmp_path: Path) -> None:
    fines(tmp_path / "fines.xes.gz", 8_000)
    (tmp_path / "m.yaml").write_text(FINES, "utf-8")
    words = ["backtest", str(tmp_path / "fines.xes.gz"), "--mapping", str(tmp_path / "m.yaml")]
    process = subprocess.Popen([sys.executable, "-m", "infra.cli", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "fines.xes.gz" in process.stderr.readline()  # it is at work
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=WAIT_S_MAX)
    assert process.returncode == 130
    assert "interrupted; nothing was kept" in told
