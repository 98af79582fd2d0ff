"""The files that others reported, each read by the command, with the line that it prints.

The files lie beside the checkout; where they are absent, the tests are skipped.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from infra.cli import app
from tests.support.command import ROOT
from tests.support.stack import Stack

CASES = ROOT.parent / "shared" / "cases"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES.exists(), reason="the files that others reported are not beside the checkout"),
]


def command(*words: object) -> Result:
    """The command, in this process."""
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


def counts(registered: int, rejected: int) -> str:
    return f"would be registered {registered}, attached 0, rejected {rejected}"


IMPORTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "quote.csv": ({}, ("row 11", "a quotation mark is not closed", counts(198, 1))),
    "errors.xlsx": ({}, ("答复 holds #N/A, an error of the sheet", counts(0, 3))),
    "x000d.xlsx": ({}, (counts(1, 0),)),
    "format.xlsx": ({}, (counts(2, 0),)),
    "sci.csv": ({}, ("电话", counts(2, 1))),
    "broken2.csv": ({}, ("cells under", "those that are missing count as empty", counts(2, 3))),
    "day1.csv": ({}, (counts(3, 0),)),
    "day2.csv": ({}, (counts(3, 0),)),
    "forms.csv": ({}, (counts(7, 0),)),
    "semi.csv": ({}, ('write `delimiter: ";"` in the mapping',)),
    "sep.csv": ({}, (counts(1, 0),)),
    "utf16.csv": ({}, ('write `delimiter: "\\t"` in the mapping',)),
    "badbyte.csv": ({}, ("row 401", "holds bytes in line 401 that are not", counts(499, 1))),
    "titlerow.xlsx": ({}, ("write `heading: 2` in the mapping",)),
    "serial.xlsx": ({}, ("time_formats: [excel]", counts(0, 2))),
    "merged.xlsx": ({}, ("is merged with the cell above", counts(1, 1))),
    "bombom.csv": ({}, (counts(1, 0),)),
}
FOLLOWED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {  # with the advice that the file got
    "semi.csv": ({"delimiter": ";"}, (counts(1, 0),)),
    "utf16.csv": ({"delimiter": "\t"}, (counts(1, 0),)),
    "titlerow.xlsx": ({"heading": 2}, (counts(1, 0),)),
    "serial.xlsx": ({"time_formats": ["excel"]}, (counts(2, 0),)),
}
ROWS = [(name, *row) for table in (IMPORTS, FOLLOWED) for name, row in table.items()]


def test_every_file_has_its_row() -> None:
    assert {path.name for path in (CASES / "import").iterdir()} - {"m.yaml"} == set(IMPORTS)
    assert {path.name for path in (CASES / "calendar").iterdir()} == set(CALENDARS)


def mapping_in(folder: Path, **changes: Any) -> Path:
    """The mapping of the tables, with what it lacks today and with changes."""
    mapping = yaml.safe_load((CASES / "import" / "m.yaml").read_text("utf-8"))
    mapping |= {"channel": "web", "first_asked": {"": mapping["first_asked"]}}
    (folder / "m.yaml").write_text(yaml.safe_dump(mapping | changes, allow_unicode=True), "utf-8")
    return folder / "m.yaml"


@pytest.mark.parametrize(("name", "changes", "lines"), ROWS)
def test_a_table_is_read_or_told(tmp_path: Path, name: str, changes: dict[str, Any], lines: tuple[str, ...]) -> None:
    mapping = mapping_in(tmp_path, **changes)
    done = command("import", CASES / "import" / name, "--mapping", mapping, "--check", "--data", tmp_path / "data")
    for line in lines:
        assert line in done.stderr
    assert done.exit_code == (0 if lines[-1].endswith("rejected 0") else 1 if "rejected" in lines[-1] else 2)


def test_a_later_export_with_another_unmapped_column_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    for name, line in (("day1.csv", "read 3 = registered 3"), ("day2.csv", "attached 0, unchanged 3, rejected 0")):
        shutil.copy(CASES / "import" / name, tmp_path / name)
        done = command("import", tmp_path / name, "--mapping", mapping_in(tmp_path), "--data", stack.data)
        assert line in done.stderr


def test_an_event_log_in_gb18030_is_played(tmp_path: Path) -> None:
    log, mapping = CASES / "backtest" / "gbk.xes", (CASES / "backtest" / "x.yaml").read_text("utf-8")
    done = command("backtest", log, "--mapping", CASES / "backtest" / "x.yaml")
    assert "2 rows, 1 cases = 0 played, 1 left out" in done.stdout, "the mapping names another activity"
    (tmp_path / "x.yaml").write_text(mapping.replace("register]", "登记]"), "utf-8")
    done = command("backtest", log, "--mapping", tmp_path / "x.yaml")
    assert "2 rows, 1 cases = 1 played, 0 left out" in done.stdout, done.stderr
    assert done.exit_code in (0, 1)


CALENDARS = (
    "extra.yaml", "season.yaml", "hours.yaml", "y2019.yaml", "off2359.yaml", "people.yaml", "off24.yaml", "night.yaml",
)  # fmt: skip


@pytest.mark.parametrize("name", CALENDARS)
def test_a_document_can_be_said(name: str) -> None:
    done = command("reference", "validate", CASES / "calendar" / name)
    assert "row 1 of" not in done.stderr, "each fault of a document names its row"
    assert "1 documents, 1 rows" in done.stderr.replace("2 rows", "1 rows")
