"""A trial of rules on past cases, and points learned from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.triage.learning import KnownCase, learn_points
from infra.triage.rules_file import rules_as_yaml
from infra.triage.trial import Columns, PastCase, Trial, read_past_cases
from shared.case.facts import Nature
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document
from shared.reference.load import LoadError, demo_documents, load_yaml
from shared.reference.reference_data import ReferenceData

COUNTY = "510104000000"
RULES = """
kind: rules
margin: 20
rows:
  property: {points: {9: [物业, 电梯]}, then: {unit: "{county}-housing", subject: "0109"}, basis: {mark: C, text: 测试}}
  school: {points: {9: [学校, 补课]}, then: {unit: "{county}-education", subject: "1402"}, basis: {mark: C, text: 测试}}
"""
OLD = """
kind: rules
rows:
  school: {when: {words: [学校, 物业]}, then: {unit: "{county}-education"}, basis: {mark: C, text: 测试}}
"""
MESSAGES = """id,title,text,field
1,物业不作为,电梯坏了,housing
2,学校补课,,1402
3,学校的物业,,housing
4,物业,,education|housing
5,学校,,housing
6,您好,没有词,housing
7,补课,,教育文体
8,物业,,
"""


def caseflow(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("rules.yaml", RULES), ("old.yaml", OLD), ("messages.csv", MESSAGES)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def tried(files: Path, *more: str) -> dict[str, Any]:
    arguments = ["reference", "try", files / "rules.yaml", "--messages", files / "messages.csv", "--json", *more]
    done = caseflow(*arguments)
    assert done.exit_code == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_trial_counts_agreement_confusion_and_what_would_change(files: Path) -> None:
    report = tried(files, "--region", COUNTY, "--against", str(files / "old.yaml"))
    counts = {name: report[name] for name in ("cases", "unknown", "agree", "wrong", "desk")}
    assert counts == {"cases": 8, "unknown": 1, "agree": 4, "wrong": 1, "desk": 2}
    assert report["confusion"] == [{"known": "housing", "sent": "education", "cases": 1}]
    assert {(row["before"], row["after"]): row["cases"] for row in report["changes"]} == {
        ("education", "housing"): 3, ("education", "desk"): 1, ("desk", "education"): 1,
    }  # fmt: skip
    assert {row["margin"]: (row["desk"], row["wrong"]) for row in report["margins"]} == {
        1: (2, 1), 10: (2, 1), 20: (2, 1), 30: (5, 0), 40: (6, 0), 60: (7, 0),
    }  # fmt: skip


def test_a_trial_for_people_shows_shares_and_no_text(files: Path) -> None:
    done = caseflow("reference", "try", str(files / "rules.yaml"), "--messages", str(files / "messages.csv"))
    assert "sent elsewhere                 1   14.3%" in done.stdout
    assert "电梯" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["rules.yaml", "--messages", "messages.csv", "--field", "label"], "has no column 'label'; name it by --field"),
        (["rules.yaml", "--messages", "messages.csv", "--title", "主题"], "has no column '主题'; name it by --title"),
        (["none.yaml", "--messages", "messages.csv"], "none.yaml does not exist"),
        (["--messages", "messages.csv"], "name the rules to try"),
        (["rules.yaml", "--data", "/none"], "there is no data in /none"),
    ],
)
def test_a_trial_that_cannot_run_says_what_to_do(files: Path, arguments: list[str], fault: str) -> None:
    named = [str(files / part) if part.endswith((".yaml", ".csv")) else part for part in arguments]
    done = caseflow("reference", "try", *named)
    assert done.exit_code in (1, 2)
    assert fault in done.stderr.replace("\n", " ")


def test_a_file_without_texts_or_numbers_is_read_by_its_titles(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text("标题,科室\n 物业\t费 ,housing\n,\n", encoding="utf-8")
    cases = read_past_cases(file, Columns(title="标题", field="科室"), COUNTY)
    assert [(case.id, case.facts.text, case.fields) for case in cases] == [("2", "物业 费\n", frozenset({"housing"}))]
    with pytest.raises(LoadError):
        read_past_cases(file, Columns(), COUNTY)


def known(title: str, *rules: str) -> KnownCase:
    return KnownCase(title, "", frozenset(rules))


def test_learned_points_follow_the_cases_and_are_the_same_each_time() -> None:
    written = {"housing": [("物业", 9)], "education": [("学校", 9), ("物业", 3)]}
    cases = [known(f"{first}物业{last}", "housing") for first in "甲乙丙丁" for last in "东西南北"]
    cases += [known(f"{first}地铁口{last}", "housing") for first in "甲乙丙丁" for last in "东西南北"]
    cases += [known(f"{first}学校{last}", "education") for first in "甲乙丙丁" for last in "东西南北"]
    learned = learn_points(cases, written)
    assert learned == learn_points(cases, written)
    points = {rule: dict(table) for rule, table in learned.items()}
    assert points["housing"]["物业"] >= 9
    assert points["housing"]["地铁口"] > 0, "a new word of the field"
    assert points["education"].get("地铁口", 0) <= 0
    assert points["education"].get("物业", 0) < 3
    assert "地铁口" not in dict(learn_points(cases, written, leave_out=["地铁"])["housing"])


def test_learned_rules_are_written_for_clerks_and_read_again(files: Path) -> None:
    to = files / "learned.yaml"
    done = caseflow(
        "reference", "learn", str(files / "rules.yaml"), "--messages", str(files / "messages.csv"), "--to", str(to)
    )
    assert done.exit_code == 0, done.stderr
    (document,) = load_yaml(to).documents
    assert [row.id for row in document.rows] == ["property", "school"]
    assert document.margin == 20
    assert caseflow("reference", "try", str(to), "--messages", str(files / "messages.csv")).exit_code == 0


def test_a_document_of_rules_comes_back_from_its_yaml(tmp_path: Path) -> None:
    for number, document in enumerate(document for document in demo_documents() if document.kind == "rules"):
        file = tmp_path / f"{number}.yaml"
        file.write_text(rules_as_yaml(document), encoding="utf-8")
        (again,) = load_yaml(file).documents
        assert again == document
        assert max(map(len, file.read_text(encoding="utf-8").splitlines())) < 500


def test_a_table_of_rules_gives_points_by_columns(tmp_path: Path) -> None:
    table = tmp_path / "rules.csv"
    table.write_text(
        "id,points.9[],points.-4[],then.unit,basis.mark,basis.text\nproperty,物业; 电梯,学校,{county}-housing,C,测试\n",
        encoding="utf-8",
    )
    done = caseflow("reference", "validate", str(table), "--kind", "rules")
    assert "row 1" not in done.stdout + done.stderr


def test_the_shipped_rules_agree_with_themselves_whatever_the_county() -> None:
    data = ReferenceData(demo_documents())
    trial = Trial(data.rules, data.has_unit)
    for region in (COUNTY, "510703000000", "510100000000"):
        facts = RoutingFacts(Nature.HELP, region, text="物业公司乱收费\n业委会不作为")
        trial.add(PastCase("1", facts, frozenset({"housing"})))
    assert (trial.report.agree, trial.report.wrong, trial.report.desk) == (3, 0, 0)
    assert isinstance(data.rules(COUNTY)[0], Document)
