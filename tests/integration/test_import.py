"""`caseflow import` on real servers: rows live by the clock of their file, twice is once, a kill changes nothing.

The sample's texts are made up. The real messages are read where they lie beside the checkout.
"""

from __future__ import annotations

import csv
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.importing import row_importer
from infra.importing.import_run import ImportRun
from shared.case.state import CaseState
from tests.support.command import ROOT
from tests.support.stack import Stack, until

SAMPLE = ROOT / "tests" / "support" / "messages.csv"
MAPPING = ROOT / "tests" / "support" / "messages.yaml"
REAL = ROOT.parent / "shared" / "data" / "messages" / "messages_with_replies.xlsx"
REAL_MAPPING = ROOT / "docs" / "mappings" / "messages.yaml"
WAIT_S_MAX = 50
ROWS = 200
REGISTERED, ATTACHED = 7, 1
Flow = list[tuple[str, str]]
HANDLED = ["registered", "triaged", "assigned", "signed_for", "settled", "closed", "released"]

pytestmark = pytest.mark.slow


def caseflow(data: Path, *words: object) -> Result:
    """The command on a data folder, in this process."""
    done = CliRunner().invoke(app, [*map(str, words), "--data", str(data)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def imported(data: Path, file: Path, mapping: Path, rejected: Path) -> Counter[str]:
    """Import; what the last line but one says that the rows came to."""
    done = caseflow(data, "import", file, "--mapping", mapping, "--rejected", rejected)
    assert done.exit_code == 0, done.stderr
    told = re.search(r"read (\d+) = (.+) \(", done.stderr)
    assert told is not None, done.stderr
    counts = Counter({name: int(count) for name, count in re.findall(r"(\w+) (\d+)", told[2])})
    assert int(told[1]) == counts.total()
    return counts


def events(data: Path, *words: object) -> list[dict[str, Any]]:
    """What `caseflow events` prints."""
    done = caseflow(data, "events", *words)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def flows(data: Path, *sources: str) -> dict[str, Flow]:
    """Of each imported row that is a case (`source/id`): the types and times of its events, in order."""
    found: dict[str, Flow] = {}
    row_of: dict[str, str] = {}
    for event in events(data):
        facts = event["facts"]
        if event["type"] == "case.registered" and facts.get("source") in sources:
            row_of[event["case"]] = f"{facts['source']}/{facts['source_id']}"
        if event["case"] in row_of:
            kind = event["type"].removeprefix("case.")
            if kind == "deadlines_set":  # its clocks are ours, from its release on
                continue
            found.setdefault(row_of[event["case"]], []).append((kind, event["time"]))
    return found


def kinds(flow: Flow) -> list[str]:
    """The types alone, without what depends on the rule."""
    return [kind for kind, _ in flow if kind != "co_handling_ended"]


def mapping_of(tmp_path: Path, source: str, *changes: tuple[str, str]) -> Path:
    """The sample's mapping under another source, so that tests share a stack and no row."""
    text = MAPPING.read_text("utf-8").replace("source: sample", f"source: {source}")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / f"{source}.yaml"
    file.write_text(text, "utf-8")
    return file


def test_rows_become_cases_once(stack: Stack, tmp_path: Path) -> None:
    """Into a copy that runs and reacts to the same events: the same decision reached twice is one event."""
    mapping, rejected, file = mapping_of(tmp_path, "once"), tmp_path / "rejected.csv", tmp_path / "a.csv"
    shutil.copy(SAMPLE, file)
    counts = imported(stack.data, file, mapping, rejected)
    assert counts == {"registered": REGISTERED, "attached": ATTACHED, "unchanged": 0, "rejected": 4}
    reasons = [line[:3] for line in csv.reader(rejected.read_text("utf-8-sig").splitlines())]
    assert reasons[:2] == [["row", "id", "column"], ["10", "108", "标题"]]
    assert reasons[2:] == [["11", "109", "时间"], ["12", "110", "答复时间"], ["13", "102", "编号"]]

    lived = {row.partition("/")[2]: flow for row, flow in flows(stack.data, "once").items()}
    assert set(lived) == {"101", "102", "103", "105", "106", "107", "111"}
    assert kinds(lived["102"]) == HANDLED
    times = dict(lived["102"])
    assert times["registered"] == times["signed_for"] == "2021-03-02T10:00:00+08:00"
    assert times["settled"] == times["closed"] == "2021-03-12T09:00:00+08:00"
    assert dict(lived["103"])["settled"] == "2021-03-20T23:59:59+08:00"  # a day alone: by its end
    assert kinds(lived["101"])[4:6] == ["attached", "progressed"]  # the repeat came while it was open
    assert kinds(lived["107"]) == ["registered", "triaged", "assigned", "released"]  # no reply yet: it goes on, alive

    assert imported(stack.data, file, mapping, rejected)["unchanged"] == REGISTERED + ATTACHED
    file.write_text(SAMPLE.read_text("utf-8").replace("请问何时能增加号源", "请问何时增加号源"), "utf-8")
    counts = imported(stack.data, file, mapping, rejected)  # a row that changed is refused, and changes nothing
    assert counts == {"registered": 0, "attached": 0, "unchanged": REGISTERED + ATTACHED - 1, "rejected": 5}
    assert ["4", "102", "编号"] in [row[:3] for row in csv.reader(rejected.read_text("utf-8-sig").splitlines())]
    assert {row.partition("/")[2]: flow for row, flow in flows(stack.data, "once").items()} == lived


def test_a_row_that_is_not_closed_stays_open_with_its_reply_as_progress(stack: Stack, tmp_path: Path) -> None:
    with SAMPLE.open(encoding="utf-8-sig", newline="") as sample:
        table = list(csv.DictReader(sample))
    objects = [row | {"状态": "处理中" if row["编号"] == "102" else "已办结"} for row in table]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(objects, ensure_ascii=False), "utf-8")
    mapping = mapping_of(tmp_path, "status", ("settle:\n", "settle:\n  when: {状态: [已办结]}\n"))
    counts = imported(stack.data, file, mapping, tmp_path / "rejected.csv")
    assert counts == {"registered": REGISTERED, "attached": ATTACHED, "unchanged": 0, "rejected": 4}
    lived = flows(stack.data, "status")
    assert kinds(lived["status/102"]) == ["registered", "triaged", "assigned", "signed_for", "progressed", "released"]
    assert kinds(lived["status/103"]) == HANDLED
    assert imported(stack.data, file, mapping, tmp_path / "rejected.csv")["unchanged"] == REGISTERED + ATTACHED
    assert flows(stack.data, "status") == lived


def test_the_three_kinds_of_file_lead_to_the_same(stack: Stack, tmp_path: Path) -> None:
    with SAMPLE.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    book = openpyxl.Workbook()
    for row in table:
        book.worksheets[0].append(row)
    book.save(tmp_path / "a.xlsx")
    objects = (json.dumps(dict(zip(table[0], row, strict=True)), ensure_ascii=False) for row in table[1:])
    (tmp_path / "a.ndjson").write_text("\n".join(objects), "utf-8")
    shutil.copy(SAMPLE, tmp_path / "a.csv")
    for kind in ("csv", "xlsx", "ndjson"):
        imported(stack.data, tmp_path / f"a.{kind}", mapping_of(tmp_path, kind), tmp_path / "rejected.csv")
    lived = flows(stack.data, "csv", "xlsx", "ndjson")
    assert len(lived) == 3 * REGISTERED
    for case, flow in lived.items():
        assert flow == lived["csv/" + case.partition("/")[2]]


def test_what_no_rule_takes_waits_without_a_fallback(stack: Stack, tmp_path: Path) -> None:
    mapping = mapping_of(tmp_path, "waits", ("fallback: '{county}-petitions'\n", ""))
    imported(stack.data, SAMPLE, mapping, tmp_path / "rejected.csv")
    lived = flows(stack.data, "waits")
    assert kinds(lived["waits/111"]) == ["registered", "released"]
    assert kinds(lived["waits/102"]) == HANDLED


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("'5101': jj-window", "'5101': nobody-here"), "first_asked: there is no person 'nobody-here'"),
        (
            ("'510700000000'", "'110100000000'"),
            "region: 110100000000 lies in no area of this installation",
        ),
        (("{county}-petitions", "{county}-nobody"), "fallback: {county}-nobody names no unit for 510104000000"),
    ],
)
def test_what_the_installation_does_not_know_is_told(
    stack: Stack, tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    mapping = mapping_of(tmp_path, "unknown", change)
    for more in ((), ("--check",)):
        words = ("import", SAMPLE, "--mapping", mapping, "--rejected", tmp_path / "rejected.csv", *more)
        done = caseflow(stack.data, *words)
        assert done.exit_code == 2
        assert told in done.stderr


def test_the_check_rejects_the_rows_that_the_import_rejects(stack: Stack, tmp_path: Path) -> None:
    """A region that only some rows have, and a region without a first-asked person."""
    file, rejected = tmp_path / "regions.csv", tmp_path / "rejected.csv"
    with SAMPLE.open(encoding="utf-8-sig", newline="") as sample:
        heading, first, *_ = csv.reader(sample)
    with file.open("w", encoding="utf-8", newline="") as made:
        rows = [
            [f"r{number}", *first[1:], region] for number, region in enumerate(("510104000000", "110100000000", "5"))
        ]
        csv.writer(made).writerows([[*heading, "区划"], *rows])
    mapping = mapping_of(tmp_path, "regions")
    tree = yaml.safe_load(mapping.read_text("utf-8")) | {"region": {"column": "区划"}}
    del tree["repeats"]
    mapping.write_text(yaml.safe_dump(tree, allow_unicode=True), "utf-8")
    check = caseflow(stack.data, "import", file, "--mapping", mapping, "--check")
    assert "would be registered 1, attached 0, rejected 2" in check.stderr
    done = caseflow(stack.data, "import", file, "--mapping", mapping, "--rejected", rejected)
    assert "read 3 = registered 1, attached 0, unchanged 0, rejected 2" in done.stderr
    assert [row.split(",")[1] for row in rejected.read_text("utf-8-sig").splitlines()[1:]] == ["r1", "r2"]


def many_rows(path: Path) -> Path:
    """Rows like the sample's, with pairs that repeat one another."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["编号", "留言人", "标题", "时间", "内容", "答复", "答复时间"])
        for number in range(ROWS):
            title = f"甲1区第{number // 10}号楼的物业" if number % 10 < 2 else f"乙2县第{number}组的道路"
            at, replied = f"2021/3/{1 + number % 10} 9:00:00", f"2021/4/{1 + number % 10} 9:00:00"
            writer.writerow([number, f"U{number // 10}", title, at, "请派人来看。", "已解决。", replied])
    return path


def killed_import(data: Path, file: Path, mapping: Path, failpoint: str) -> None:
    """An import that runs servers of its own, killed at a failpoint, or when it first notes its place."""
    command = (sys.executable, "-m", "infra.cli", "import", str(file), "--mapping", str(mapping), "--data", str(data))
    armed = dict(os.environ) | {"CASEFLOW_FAILPOINTS": failpoint}
    process = subprocess.Popen(command, cwd=ROOT, env=armed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not failpoint:
        until((data / "import" / "killed.json").exists, "some rows", WAIT_S_MAX)
        process.kill()
    assert process.wait(WAIT_S_MAX) == -signal.SIGKILL


@pytest.mark.deep
@pytest.mark.parametrize("failpoint", ["", *(f"import.row=kill@{row}" for row in (1, 5, 33))])
def test_killed_in_the_middle_and_run_again_ends_the_same(own_stack: Stack, tmp_path: Path, failpoint: str) -> None:
    """kill -9, then to the end, judged, its tables made anew."""
    data, file = own_stack.data, many_rows(tmp_path / "many.csv")
    mapping = mapping_of(tmp_path, "killed")
    killed_import(data, file, mapping, failpoint)
    counts = imported(data, file, mapping, tmp_path / "rejected.csv")
    assert (counts["rejected"], counts.total()) == (0, ROWS)
    lived = flows(data, "killed")
    assert Counter(tuple(kinds(flow)) for flow in lived.values()) == {
        tuple(HANDLED): ROWS - 2 * ROWS // 10,
        (*HANDLED[:4], "attached", "progressed", *HANDLED[4:]): ROWS // 10,
    }
    judged = caseflow(data, "fsck", "--settled")
    assert judged.exit_code == 0, judged.stdout + judged.stderr
    assert caseflow(data, "rebuild").exit_code == 0  # what the importing process had no time for follows
    again = caseflow(data, "rebuild", "--fresh")
    assert again.exit_code == 0, again.stderr
    assert all(line.endswith("as before") for line in again.stdout.splitlines()), again.stdout


def states_count() -> int:
    """How many states of cases this process holds."""
    return sum(isinstance(value, CaseState) for value in gc.get_objects())


@pytest.mark.deep
def test_an_import_holds_few_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside its rows in flight: importer, services, read models and feed together, in one process."""
    monkeypatch.setattr(row_importer, "CASES_CACHED_COUNT_MAX", 10)
    gc.collect()
    of_other_tests = states_count()
    held_counts: list[int] = []
    count = ImportRun._count

    def count_and_look(self: ImportRun, processed: Any) -> None:
        count(self, processed)
        if self.position.rows % 50 == 0:
            held_counts.append(states_count() - of_other_tests)

    monkeypatch.setattr(ImportRun, "_count", count_and_look)
    file = many_rows(tmp_path / "many.csv")
    counts = imported(tmp_path / "data", file, mapping_of(tmp_path, "held"), tmp_path / "rejected.csv")
    assert counts["registered"] == ROWS - ROWS // 10
    assert max(held_counts) < 5 * ROWS, held_counts


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL.name} is not beside the checkout")
def test_the_real_messages_are_all_fit(tmp_path: Path) -> None:
    done = caseflow(tmp_path, "import", REAL, "--mapping", REAL_MAPPING, "--check")
    assert done.exit_code == 0, done.stderr
    assert "would be registered 2775, attached 41, rejected 0" in done.stderr


@pytest.mark.deep
@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL.name} is not beside the checkout")
def test_the_real_messages_from_registration_to_close(own_stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / REAL.name
    shutil.copy(REAL, file)
    done = caseflow(own_stack.data, "import", file, "--mapping", REAL_MAPPING)
    assert "read 2816 = registered 2775, attached 41, unchanged 0, rejected 0" in done.stderr, done.stderr
    assert not file.with_name(file.name + ".rejected.csv").exists()
    lived = flows(own_stack.data, "messages")
    assert len(lived) == 2775
    assert all(flow[-1][0] == "released" and "closed" in dict(flow) for flow in lived.values())
    assert caseflow(own_stack.data, "fsck", "--settled").exit_code == 0
