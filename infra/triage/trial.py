"""A trial of routing rules on past cases: how often they agree with the known field, and what they would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.case.facts import Nature
from shared.reference.conditions import RoutingFacts
from shared.reference.documents import Document
from shared.reference.load import Fault, LoadError, read_lines
from shared.reference.rules import RuleHit, rank, route

DESK = "desk"
MARGINS_SHOWN = (1, 10, 20, 30, 40, 60)
CONFUSION_SHOWN_MAX = 20
ALTERNATIVES = "|"

Exists = Callable[[str], bool]


@dataclass(frozen=True)
class PastCase:
    """A past case: the facts that rules look at, and the fields that are right for it, none when nobody knows.

    A field is the name of a unit inside its region (`housing`), a code of a subject (`0109`) or the name of one.
    """

    id: str
    facts: RoutingFacts
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Columns:
    """The headings of a file of past cases. `field` may name several right fields, separated by `|`."""

    title: str = "title"
    text: str = "text"
    field: str = "field"
    id: str = "id"


@dataclass
class TrialReport:
    """The counts of a trial. `leads` holds the lead in points and whether the best agrees, for each known field."""

    cases: int = 0
    unknown: int = 0
    agree: int = 0
    wrong: int = 0
    desk: int = 0
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    leads: list[tuple[int, bool]] = field(default_factory=list)

    @property
    def known(self) -> int:
        return self.cases - self.unknown

    def at_margin(self, margin: int) -> tuple[int, int]:
        """The cases that the desk would get with this margin, and those that would be sent wrongly."""
        sent = [agrees for lead, agrees in self.leads if lead >= margin]
        return self.known - len(sent), sum(not agrees for agrees in sent)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "cases": self.cases, "unknown": self.unknown, "agree": self.agree, "wrong": self.wrong, "desk": self.desk,
            "margins": [
                dict(zip(("margin", "desk", "wrong"), (margin, *self.at_margin(margin)), strict=True))
                for margin in MARGINS_SHOWN
            ],
            "confusion": _rows(self.confusion, "known", "sent"), "changes": _rows(self.changes, "before", "after"),
        }  # fmt: skip

    def lines(self) -> Iterable[str]:
        """The report for a terminal."""
        yield f"{self.cases} cases, {self.unknown} of them without a known field"
        if self.known:
            for name, count in (
                ("sent to the known field", self.agree),
                ("sent elsewhere", self.wrong),
                ("left to the desk", self.desk),
            ):
                yield f"{name:<24}{count:>8}  {count / self.known:6.1%}"
            yield "with a margin of      to the desk   sent elsewhere"
            for margin in MARGINS_SHOWN:
                desk, wrong = self.at_margin(margin)
                yield f"{margin:>12} points      {desk / self.known:10.1%}      {wrong / self.known:10.1%}"
        for title, table in (("known field -> sent to", self.confusion), ("before -> with these rules", self.changes)):
            if table:
                yield f"{title}, most frequent first"
                for (left, right), count in table.most_common(CONFUSION_SHOWN_MAX):
                    yield f"{count:>8}  {left} -> {right}"


class Trial:
    """Rules on trial: `rules` are documents, nearest first; `before` those to compare with, None for no comparison.

    `subjects` gives the codes of a name of a subject, so that files may name subjects in words.
    """

    def __init__(
        self,
        rules: Callable[[str], Sequence[Document]],
        exists: Exists,
        before: Callable[[str], Sequence[Document]] | None = None,
        subjects: dict[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._rules, self._exists, self._before, self._subjects = rules, exists, before, subjects or {}
        self.report = TrialReport()

    def add(self, case: PastCase) -> None:
        """Try the rules on a case."""
        report, rules = self.report, self._rules(case.facts.region)
        hit = route(rules, case.facts, self._exists)
        report.cases += 1
        if self._before is not None:
            was = route(self._before(case.facts.region), case.facts, self._exists)
            if slug(was) != slug(hit):
                report.changes[slug(was), slug(hit)] += 1
        if not case.fields:
            report.unknown += 1
            return
        ranking = rank(rules, case.facts, self._exists)
        if hit is None:
            report.desk += 1
            best = ranking.scores[0].result.hit if ranking.scores else None
            if best is not None:
                report.leads.append((ranking.lead, self.agrees(best, case.fields)))
            return
        agrees = self.agrees(hit, case.fields)
        chosen = ranking.chosen
        weighted = chosen is not None and chosen.result.hit == hit
        report.leads.append((ranking.lead if weighted else max(MARGINS_SHOWN), agrees))
        if agrees:
            report.agree += 1
        else:
            report.wrong += 1
            report.confusion[ALTERNATIVES.join(sorted(case.fields)), slug(hit)] += 1

    def agrees(self, hit: RuleHit, fields: Iterable[str]) -> bool:
        """Whether a decision is one of the right fields: its unit, or a subject that contains its subject."""
        for name in fields:
            codes = (name,) if name.isdigit() else self._subjects.get(name, ())
            if slug(hit) == name or (hit.subject is not None and codes and hit.subject.startswith(codes)):
                return True
        return False


def _rows(table: Counter[tuple[str, str]], left: str, right: str) -> list[dict[str, Any]]:
    return [{left: pair[0], right: pair[1], "cases": count} for pair, count in table.most_common()]


def slug(hit: RuleHit | None) -> str:
    """The name of the unit inside its region, `desk` without a decision."""
    return DESK if hit is None else hit.unit[13:]


def read_past_cases(file: Path, columns: Columns, region: str) -> list[PastCase]:
    """The past cases of a CSV or XLSX file. Raises LoadError when a column is missing."""
    lines = read_lines(file)
    heading = [cell.strip() for cell in next(lines, (1, []))[1]]
    at = {
        name: heading.index(name)
        for name in (columns.title, columns.text, columns.field, columns.id)
        if name in heading
    }
    for name, option in ((columns.title, "--title"), (columns.field, "--field")):
        if name not in at:
            shown = ", ".join(heading[:20])
            raise LoadError([Fault(file.name, 1, f"has no column {name!r}; name it by {option}: {shown}")])
    cases = []
    for number, cells in lines:

        def cell(name: str, cells: list[str] = cells) -> str:
            index = at.get(name, len(cells))
            return cells[index].strip() if index < len(cells) else ""

        title = " ".join(cell(columns.title).split())
        fields = frozenset(filter(None, (part.strip() for part in cell(columns.field).split(ALTERNATIVES))))
        if title or cell(columns.text):
            facts = RoutingFacts(Nature.HELP, region, text=f"{title}\n{cell(columns.text)}")
            cases.append(PastCase(cell(columns.id) or str(number), facts, fields))
    return cases
