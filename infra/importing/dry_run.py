"""What an import would do with each row, without sending anything."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path

from infra.importing.file_rows import read_rows
from infra.importing.imported_case import UnfitRow, imported_case
from infra.importing.mapping import ImportMapping
from infra.importing.plan import ImportPlan

EXAMPLES_COUNT_MAX = 20


def judge_rows(path: Path, mapping: ImportMapping, plan: ImportPlan, now: datetime) -> tuple[Counter[str], list[str]]:
    """How many rows would be registered, attached and rejected, and the first rejections in words. Raises BadFile."""
    counts: Counter[str] = Counter()
    examples: list[str] = []
    for line in read_rows(path, mapping):
        try:
            if line.number in plan.doubles:
                raise UnfitRow(mapping.id, f"stands in row {plan.doubles[line.number]} already")
            imported_case(line, mapping, now)
        except UnfitRow as unfit:
            counts["rejected"] += 1
            if len(examples) < EXAMPLES_COUNT_MAX:
                examples.append(f"row {line.number}: {unfit.column} {unfit.reason}".replace("  ", " "))
            continue
        counts["attached" if line.number in plan.repeats else "registered"] += 1
    return counts, examples
