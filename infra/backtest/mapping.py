"""The mapping of a historic file: the columns of its moments, due dates, pauses and lateness."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, StringConstraints, ValidationError, field_validator, model_validator

from infra.backtest.mapping_parts import (
    CellCondition,
    LateSpec,
    LeaveOutSpec,
    LimitSpec,
    MomentField,
    MomentSpec,
    PauseSpec,
    WarnSpec,
)
from infra.importing.mapping import ColumnName, HeadingRow, MappingPart, ValueChoice, ValueField
from infra.importing.mapping_tree import BadMapping, MappingPath, nearest_name_hint, read_mapping_tree
from shared.case.base import Code, Region
from shared.case.facts import Nature, Stage

MAPPING_HELP = "docs/backtest.md"
EMPTY_CELLS = ("NULL", "null", "NaN", "nan", "NaT", "None", "N/A", "-")
CASE_PREFIX = "case:"  # stands before attributes of a trace, as in tables made from event logs
MOMENTS = ("registered", "assigned", "signed", "settled", "closed")
# The moments between which a stage runs.
SPANS: dict[Stage, tuple[str, str]] = {
    Stage.TRIAGE: ("registered", "assigned"),
    Stage.SIGN: ("assigned", "signed"),
    Stage.HANDLE: ("signed", "settled"),
    Stage.FEEDBACK: ("settled", "closed"),
}


class BacktestMapping(MappingPart):
    """The whole mapping. Times without an offset, and days, are in `time_zone`."""

    source: Code
    rows: Literal["cases", "events"] = "cases"
    id: ColumnName
    time_zone: str
    time_formats: tuple[str, ...] = ()
    twice: Literal["first", "second"] = "first"
    empty: tuple[str, ...] = EMPTY_CELLS
    encoding: str = "utf-8"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    sheet: str | None = None
    heading: HeadingRow = 1
    activity: ColumnName = "concept:name"
    time: ColumnName = "time:timestamp"
    stage: Stage = Stage.HANDLE
    registered: MomentField | None = None
    assigned: MomentField | None = None
    signed: MomentField | None = None
    settled: MomentField | None = None
    closed: MomentField | None = None
    due: ColumnName | None = None
    warn: WarnSpec | None = None
    limits: tuple[LimitSpec, ...] = ()
    late: Annotated[LateSpec, BeforeValidator(lambda v: {"by": v} if isinstance(v, str) else v)] | None = None
    pauses: tuple[PauseSpec, ...] = ()
    leave_out: tuple[LeaveOutSpec, ...] = ()
    until: str | None = None
    region: Region = "510100000000"
    nature: ValueField | None = None
    subject: ValueField | None = None

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, name: str) -> str:
        if fixed := re.fullmatch(r"([+-])([01][0-9]):00", name):
            name = f"Etc/GMT{'-' if fixed[1] == '+' else '+'}{int(fixed[2])}"
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone; write one like Europe/Amsterdam or +08:00") from None
        return name

    @field_validator("encoding")
    @classmethod
    def _encoding(cls, name: str) -> str:
        try:
            codecs.lookup(name)
        except LookupError:
            raise ValueError(f"{name!r} is no encoding; write one like utf-8, gb18030, cp1252, utf-16") from None
        return name.lower()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        fault = next(self._faults(), None)
        if fault is not None:
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        if self.stage not in SPANS:
            yield f"stage: {self.stage} has no moments in a file; write one of {', '.join(SPANS)}"
            return
        if getattr(self, end := SPANS[self.stage][1]) is None:
            yield f"{end} is missing: the stage {self.stage} ends with it; see {MAPPING_HELP}"
        if self.due is None and not self.limits:
            yield f"give `due`, the column of due dates, or `limits` of our own; see {MAPPING_HELP}"
        if self.warn is not None and self.due is None:
            yield "warn: is for the due dates of the file; a limit has a `warn` of its own"
        if self.pauses and not self.limits:
            yield "pauses: stop the clock of a limit, but not a due date of the file: give `limits`"
        if self.late is not None and self.late.by == "dates" and self.due is None:
            yield "late: dates needs `due`; say what the file calls late, or `late: nothing`"
        if self.rows == "cases":
            yield from self._faults_of_cases()
        for name, choice in self._choices():
            if choice.words:
                yield f"{name}: give a plain value, or `column` with `values`"
        for value in self.nature.results() if self.nature else ():
            if value not in list(Nature):
                yield f"nature: {value!r} is none of {', '.join(Nature)}; {nearest_name_hint(value, list(Nature))}"

    def _faults_of_cases(self) -> Iterator[str]:
        if self.registered is None:
            yield f"registered is missing: name the column of the time when a case began; see {MAPPING_HELP}"
        for name, moment in (*self.moments(), *self._stops()):
            if moment.activity or moment.when:
                yield f"{name}: activities are of event logs: write `rows: events`, or name a column"
        if self.late is not None and self.late.activity:
            yield "late.activity is of event logs: write `rows: events`, or name a column"

    def moments(self) -> Iterator[tuple[str, MomentSpec]]:
        """The mapped moments of a case, in order."""
        return ((name, moment) for name in MOMENTS if (moment := getattr(self, name)) is not None)

    def _stops(self) -> Iterator[tuple[str, MomentSpec]]:
        for index, pause in enumerate(self.pauses):
            yield f"pauses.{index}.stops", pause.stops
            yield f"pauses.{index}.goes_on", pause.goes_on

    def _choices(self) -> Iterator[tuple[str, ValueChoice]]:
        return (
            (name, choice)
            for name, choice in (("nature", self.nature), ("subject", self.subject))
            if choice is not None
        )

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def named(self) -> Iterator[tuple[str, str]]:
        """Every column that the mapping names, with its path in the mapping."""
        late = self.late or LateSpec(by="nothing")
        moments = (*self.moments(), *self._stops())
        needs_activity = bool(late.activity) or any(moment.activity for _, moment in moments)
        whens: list[tuple[str, CellCondition | None]] = [(f"{name}.when", moment.when) for name, moment in moments]
        whens += [(f"limits.{index}.when", limit.when) for index, limit in enumerate(self.limits)]
        whens += [(f"leave_out.{index}", condition) for index, condition in enumerate(self.leave_out)]
        given: list[tuple[str, str | None]] = [
            ("id", self.id),
            ("time", self.time if self.rows == "events" else None),
            ("activity", self.activity if needs_activity else None),
            *((name, column) for name, moment in moments for column in moment.column),
            *((path, cell.column if cell else None) for path, cell in whens),
            ("due", self.due),
            *((f"late.{name}", getattr(late, name)) for name in ("column", "ended", "due")),
            *((f"{name}.column", choice.column) for name, choice in self._choices()),
        ]
        return ((path, column) for path, column in given if column is not None)

    def check(self, heading: Sequence[str]) -> None:
        """Check that the file has the columns. Raises BadMapping with the nearest name for each missing one."""
        lacking = [(path, column) for path, column in self.named() if column not in heading]
        faults = [
            f"{path}: the file has no column {name!r}; {nearest_name_hint(name, heading)}" for path, name in lacking
        ]
        if faults:
            raise BadMapping("\n".join(faults))


def load_backtest(path: Path) -> BacktestMapping:
    """The mapping of a YAML file. Raises BadMapping with all faults and their lines, OSError."""
    tree = read_mapping_tree(path, "`source:`, `id:` and `time_zone:`")
    try:
        return BacktestMapping.model_validate(tree.value)
    except ValidationError as error:
        raise BadMapping("\n".join(tree.faults(error, _fields, MAPPING_HELP))) from None


def _fields(path: MappingPath) -> Sequence[str]:
    """The fields of the part of the mapping at a path."""
    parts: dict[str, type[MappingPart]] = {
        "limits": LimitSpec,
        "late": LateSpec,
        "leave_out": LeaveOutSpec,
        "warn": WarnSpec,
        "when": CellCondition,
        "pauses": PauseSpec,
    }
    names = [key for key in path if isinstance(key, str)]
    part = parts.get(names[-1], MomentSpec) if names else BacktestMapping
    return [field.alias or name for name, field in part.model_fields.items()]
