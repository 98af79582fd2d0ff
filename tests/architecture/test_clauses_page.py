"""The page of clauses: counts in a table, links to the files that hold the tests, and what no test shows."""

from __future__ import annotations

from infra.dev.clauses import Clauses


def test_counts_and_links_instead_of_names() -> None:
    clauses = Clauses()
    clauses.tests["5.1.3a"] = {
        "tests/unit/test_b.py::test_one": "passed",
        "tests/unit/test_b.py::test_two": "failed",
        "tests/unit/test_a.py::test_one": "skipped",
    }
    clauses.tests["11.2"] = {"tests/unit/test_a.py::test_one": "passed"}
    clauses.tests["CivilCode201"] = {"tests/unit/test_a.py::test_three": "passed"}
    page = clauses.page()
    subject = "township: a named unit and person, by law, within a time limit"
    assert f"| 5.1.3a | {subject} | not met | [1 passed, 1 failed, 1 skipped](#513a) |" in page
    assert "| 11.2 | what cannot be solved goes up at once | met | [1 passed](#112) |" in page
    assert "| 5.1.1d | grid management | open |  |" in page
    assert "| CivilCode201 |  | met | [1 passed](#civilcode201) |" in page
    assert (
        "## 5.1.3a\n\n"
        "- [tests/unit/test_a.py](../tests/unit/test_a.py): 1\n"
        "- [tests/unit/test_b.py](../tests/unit/test_b.py): 2\n"
    ) in page
    assert "39 clauses: 36 open, 2 met, 1 not met." in page
    assert "test_two" not in page
