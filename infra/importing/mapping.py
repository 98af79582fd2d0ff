"""The mapping, a YAML file with the meaning of the columns, read strictly and checked against the file's heading."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta, timezone, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from infra.importing.file_times import TimeReader
from infra.importing.mapping_tree import BadMapping, nearest_name_hint, read_mapping_tree
from infra.importing.rows import HEADING_ROW_MAX
from shared.case.base import Code, PersonId
from shared.case.facts import Channel, Nature, Outcome, Retention

UNNAMED = "not-named"  # the person of a unit when neither file nor documents name one
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
CellText = Annotated[str, StringConstraints(strip_whitespace=True)]
HeadingRow = Annotated[int, Field(ge=1, le=HEADING_ROW_MAX)]
TextField = Literal["title", "text", "reporter", "reply"]


class MappingPart(BaseModel):
    """A part of a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ValueChoice(MappingPart):
    """A value for each row: `fixed`, by the cell of a `column` and its `values`, or by `words` in the text.

    The first entry of `words` with a word that occurs in the text gives the value; a word between slashes is a regular
    expression. `otherwise` is the value for other rows. A mapping may state a fixed value alone.
    """

    fixed: str | None = None
    column: ColumnName | None = None
    values: dict[str, str] = {}
    words: dict[str, tuple[str, ...]] = {}
    within: tuple[TextField, ...] = ("title", "text")
    otherwise: str | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if (self.fixed is not None) + bool(self.column) + bool(self.words) != 1:
            raise ValueError("give one of a plain value, `column` with `values`, or `words`")
        self.patterns  # noqa: B018  a bad expression is reported now, not at a later row
        return self

    @cached_property
    def patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """Each value with one expression for all of its words."""
        patterns = []
        for value, words in self.words.items():
            parts = [word[1:-1] if len(word) > 2 and word[0] == word[-1] == "/" else re.escape(word) for word in words]
            try:
                patterns.append((value, re.compile("|".join(parts))))
            except re.error as error:
                raise ValueError(f"the words of {value} hold no regular expression: {error}") from None
        return tuple(patterns)

    def results(self) -> Iterator[str]:
        """All values that are possible."""
        given = (self.fixed, self.otherwise, *self.values.values(), *self.words)
        return (value for value in given if value is not None)

    def of(self, cells: dict[str, str], text: dict[str, str]) -> str | None:
        """The value for a row with these cells by column and texts by field; None when it has none."""
        if self.fixed is not None:
            return self.fixed
        if self.column is not None:
            cell = cells.get(self.column, "")
            return self.values.get(cell) or (self.otherwise if self.values else cell or self.otherwise)
        whole = "\n".join(text.get(name, "") for name in self.within)
        return next((value for value, pattern in self.patterns if pattern.search(whole)), self.otherwise)


def _plain(value: Any) -> Any:
    return {"fixed": value} if isinstance(value, str) else value


ValueField = Annotated[ValueChoice, BeforeValidator(_plain)]


class ColumnMapping(MappingPart):
    """The columns of the fields of a case."""

    title: ColumnName
    text: ColumnName
    time: ColumnName
    reporter: ColumnName | None = None
    phone: ColumnName | None = None
    address: ColumnName | None = None
    reply: ColumnName | None = None
    reply_time: ColumnName | None = None


class SettleSpec(MappingPart):
    """The settlement of rows with a reply. `by` is a person's id, or `first`: the first active person who may sign.

    `when` gives the cells, by column, of the rows that are settled; the others stay open.
    """

    when: dict[ColumnName, Annotated[tuple[CellText, ...], Field(min_length=1)]] = {}
    by: Literal["first"] | PersonId = "first"
    otherwise: PersonId = UNNAMED
    outcome: ValueField = ValueChoice(fixed=Outcome.EXPLAINED)
    basis: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)] = (
        "as the reply states"
    )
    close: bool = True

    def ends(self, cells: Mapping[str, str]) -> bool:
        """Whether a row with these cells by column is one that is settled."""
        return all(cells.get(column, "") in values for column, values in self.when.items())


class RepeatsSpec(MappingPart):
    """A row repeats the open case of an earlier row when all of these fields are equal, apart from blanks."""

    same: Annotated[tuple[TextField, ...], Field(min_length=1)] = ("reporter", "title")


class ImportMapping(MappingPart):
    """The whole mapping. `source` names the import permanently: (source, row id) is registered once."""

    source: Code
    id: ColumnName
    columns: ColumnMapping
    time_zone: str = "Asia/Shanghai"
    time_formats: tuple[str, ...] = ()
    encoding: Literal["utf-8", "gb18030", "utf-16", "utf-16-le", "utf-16-be"] = "utf-8"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    sheet: str | None = None
    heading: HeadingRow = 1
    channel: ValueField = ValueChoice(fixed=Channel.WEB)
    nature: ValueField
    region: ValueField
    subject: ValueField | None = None
    retention: ValueField = ValueChoice(fixed=Retention.YEAR_1)
    first_asked: Annotated[dict[str, PersonId], BeforeValidator(lambda v: {"": v} if isinstance(v, str) else v)]
    fallback: str | None = None
    settle: SettleSpec | None = None
    repeats: RepeatsSpec | None = None

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, name: str) -> str:
        _zone(name)
        return name

    @field_validator("first_asked")
    @classmethod
    def _prefixes(cls, people: dict[str, str]) -> dict[str, str]:
        for prefix in people:
            if not re.fullmatch(r"([0-9]{2,12})?", prefix):
                raise ValueError(f"{prefix!r} is no beginning of a region code; write `510104: person`")
        return people

    @model_validator(mode="after")
    def _closed_lists(self) -> Self:
        for name, allowed in (("channel", Channel), ("nature", Nature), ("retention", Retention)):
            _among(name, getattr(self, name), [member.value for member in allowed])
        for region in self.region.results():
            if not re.fullmatch(r"[0-9]{12}", region):
                raise ValueError(f"region: {region!r} is not a code of twelve digits")
        if self.settle is not None:
            _among("settle.outcome", self.settle.outcome, [outcome.value for outcome in Outcome])
            if self.columns.reply is None or self.columns.reply_time is None:
                raise ValueError("settle: name the columns `reply` and `reply_time`, or leave settle out")
        for name in self.repeats.same if self.repeats else ():
            if getattr(self.columns, name) is None:
                raise ValueError(f"repeats.same: there is no column {name}; name it under columns")
        if self.fallback is not None and not _UNIT.fullmatch(self.fallback):
            raise ValueError(f"fallback: {self.fallback!r} is no unit; write one like {{county}}-petitions")
        return self

    @property
    def zone(self) -> tzinfo:
        return _zone(self.time_zone)

    @property
    def times(self) -> TimeReader:
        """The reader of the times of the file."""
        return TimeReader(self.zone, self.time_formats)

    @property
    def used_columns(self) -> frozenset[str]:
        """The columns that the mapping names. The others are no part of a case, nor of its identity."""
        return frozenset(column for _, column in self.named())

    def named(self) -> Iterator[tuple[str, str]]:
        """Every column that the mapping names, with its path in the mapping."""
        yield "id", self.id
        for name in ColumnMapping.model_fields:
            if (column := getattr(self.columns, name)) is not None:
                yield f"columns.{name}", column
        outcome = self.settle.outcome if self.settle else None
        choices = {"channel": self.channel, "nature": self.nature, "region": self.region, "subject": self.subject}
        for name, choice in {**choices, "retention": self.retention, "settle.outcome": outcome}.items():
            if choice is not None and choice.column is not None:
                yield f"{name}.column", choice.column

        for column in self.settle.when if self.settle else ():
            yield f"settle.when.{column}", column

    def check(self, heading: Sequence[str]) -> None:
        """Check that the file has the columns. Raises BadMapping with the nearest name for each missing one."""
        faults = []
        for path, column in self.named():
            if column not in heading:
                faults.append(f"{path}: the file has no column {column!r}; {nearest_name_hint(column, heading)}")
        if faults:
            raise BadMapping("\n".join(faults))


def _zone(name: str) -> tzinfo:
    """A time zone by name, or by offset as `+08:00`. Raises ValueError."""
    if fixed := re.fullmatch(r"([+-])([01][0-9]):([0-5][0-9])", name):
        sign = -1 if fixed[1] == "-" else 1
        return timezone(sign * timedelta(hours=int(fixed[2]), minutes=int(fixed[3])))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is no time zone; write one like Asia/Shanghai or +08:00") from None


_UNIT = re.compile(r"([0-9]{12}|\{(province|city|county|township|village)\})-[a-z0-9-]{1,32}")


def _among(name: str, choice: ValueChoice, allowed: Sequence[str]) -> None:
    for value in choice.results():
        if value not in allowed:
            raise ValueError(f"{name}: {value!r} is none of {', '.join(allowed)}; {nearest_name_hint(value, allowed)}")


def load_mapping(path: Path) -> ImportMapping:
    """The mapping of a YAML file. Raises BadMapping with all faults, OSError for an unreadable file."""
    tree = read_mapping_tree(path, "`source:`, `id:` and `columns:`")
    try:
        return ImportMapping.model_validate(tree.value)
    except ValidationError as error:
        raise BadMapping("\n".join(tree.faults(error, _fields, "docs/import.md"))) from None


def _fields(path: Sequence[Any]) -> list[str]:
    """The fields of the part of the mapping at a path."""
    parts: dict[str, type[MappingPart]] = {"columns": ColumnMapping, "settle": SettleSpec, "repeats": RepeatsSpec}
    if not path:
        return list(ImportMapping.model_fields)
    return list(parts.get(str(path[-1]), ValueChoice).model_fields)
