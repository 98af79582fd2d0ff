"""The result of an import for each row, without sending a command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from infra.importing.file_rows import read_rows
from infra.importing.imported_case import ImportedCase, UnfitRow, imported_case
from infra.importing.mapping import ImportMapping
from infra.importing.plan import ImportPlan

EXAMPLES_COUNT_MAX = 20
OnCase = Callable[[ImportedCase], None]


def judge_rows(
    path: Path, mapping: ImportMapping, plan: ImportPlan, now: datetime, fit: OnCase = lambda imported: None
) -> tuple[Counter[str], list[str]]:
    """The counts of rows to be registered, attached and rejected, and the first rejections in words.

    `fit` raises UnfitRow for a case that this installation cannot take. Raises BadFile.
    """
    counts: Counter[str] = Counter()
    examples: list[str] = []
    for row in read_rows(path, mapping):
        try:
            if row.number in plan.doubles:
                raise UnfitRow(mapping.id, f"stands in row {plan.doubles[row.number]} already")
            imported = imported_case(row, mapping, now)
            if row.number not in plan.repeats:  # a repeat joins a case that is there
                fit(imported)
        except UnfitRow as unfit:
            counts["rejected"] += 1
            if len(examples) < EXAMPLES_COUNT_MAX:
                examples.append(f"row {row.number}: {unfit.column} {unfit.reason}".replace("  ", " "))
            continue
        counts["attached" if row.number in plan.repeats else "registered"] += 1
    return counts, examples
