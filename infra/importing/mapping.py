"""What the columns of a file mean: the mapping, a YAML file, read strictly and checked against the file's heading."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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

from infra.importing.mapping_tree import BadMapping, nearest_name_hint, read_mapping_tree
from shared.case.base import Code, PersonId
from shared.case.facts import Channel, Nature, Outcome, Retention

UNNAMED = "not-named"  # the person of a unit for whom the file and the documents name nobody
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Ground = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]
TextField = Literal["title", "text", "reporter", "reply"]


class MappingPart(BaseModel):
    """A part of a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ValueChoice(MappingPart):
    """A value by row: `fixed`; or by the cells of a `column` and its `values`; or by `words` found in the text.

    `words` is read in order and the first value one of whose words is found wins; a word between slashes is a regular
    expression. What nothing gives is `otherwise`. A mapping may write the fixed value alone.
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
        self.patterns  # noqa: B018  a bad expression is found now, not at some row
        return self

    @cached_property
    def patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """Each value with the one expression that finds any of its words."""
        found = []
        for value, words in self.words.items():
            parts = [word[1:-1] if len(word) > 2 and word[0] == word[-1] == "/" else re.escape(word) for word in words]
            try:
                found.append((value, re.compile("|".join(parts))))
            except re.error as error:
                raise ValueError(f"the words of {value} hold no regular expression: {error}") from None
        return tuple(found)

    def results(self) -> Iterator[str]:
        """Every value that it may give."""
        given = (self.fixed, self.otherwise, *self.values.values(), *self.words)
        return (one for one in given if one is not None)

    def of(self, cells: dict[str, str], text: dict[str, str]) -> str | None:
        """The value for a row: its cells by column, its mapped text by field. None when nothing gives one."""
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
    """Which column says what."""

    title: ColumnName
    text: ColumnName
    time: ColumnName
    reporter: ColumnName | None = None
    phone: ColumnName | None = None
    address: ColumnName | None = None
    reply: ColumnName | None = None
    reply_time: ColumnName | None = None


class SettleSpec(MappingPart):
    """What becomes of a row with a reply. `by`: `first` active person of the unit who may sign, or a person's id."""

    by: Literal["first"] | PersonId = "first"
    otherwise: PersonId = UNNAMED
    outcome: ValueField = ValueChoice(fixed=Outcome.EXPLAINED)
    basis: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)] = (
        "as the reply states"
    )
    close: bool = True


class RepeatsSpec(MappingPart):
    """When a row is a repeat of an earlier one's open case: the same in all of these fields, spaces aside."""

    same: Annotated[tuple[TextField, ...], Field(min_length=1)] = ("reporter", "title")


class ImportMapping(MappingPart):
    """The whole mapping. `source` names the import for ever: (source, row id) is registered once."""

    source: Code
    id: ColumnName
    columns: ColumnMapping
    time_zone: str = "Asia/Shanghai"
    time_formats: tuple[str, ...] = ()
    encoding: Literal["utf-8", "gb18030"] = "utf-8"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    sheet: str | None = None
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
            _among(name, getattr(self, name), [one.value for one in allowed])
        for region in self.region.results():
            if not re.fullmatch(r"[0-9]{12}", region):
                raise ValueError(f"region: {region!r} is not a code of twelve digits")
        if self.settle is not None:
            _among("settle.outcome", self.settle.outcome, [one.value for one in Outcome])
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

    def named(self) -> Iterator[tuple[str, str]]:
        """Every column that the mapping names, with the place where it does."""
        yield "id", self.id
        for name in ColumnMapping.model_fields:
            if (column := getattr(self.columns, name)) is not None:
                yield f"columns.{name}", column
        outcome = self.settle.outcome if self.settle else None
        choices = {"channel": self.channel, "nature": self.nature, "region": self.region, "subject": self.subject}
        for name, choice in {**choices, "retention": self.retention, "settle.outcome": outcome}.items():
            if choice is not None and choice.column is not None:
                yield f"{name}.column", choice.column

    def check(self, heading: Sequence[str]) -> None:
        """Whether the file has the columns. Raises BadMapping with the nearest name for each that it lacks."""
        faults = []
        for place, column in self.named():
            if column not in heading:
                faults.append(f"{place}: the file has no column {column!r}; {nearest_name_hint(column, heading)}")
        if faults:
            raise BadMapping("\n".join(faults))


def _zone(name: str) -> tzinfo:
    """A zone by name, or a fixed one such as `+08:00`. Raises ValueError."""
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
    """The mapping of a YAML file. Raises BadMapping with every fault, OSError when the file cannot be read."""
    tree = read_mapping_tree(path, "`source:`, `id:` and `columns:`")
    try:
        return ImportMapping.model_validate(tree.value)
    except ValidationError as error:
        raise BadMapping("\n".join(tree.faults(error, _fields, "docs/import.md"))) from None


def _fields(loc: Sequence[Any]) -> list[str]:
    """The fields of the part of the mapping at a place."""
    parts: dict[str, type[MappingPart]] = {"columns": ColumnMapping, "settle": SettleSpec, "repeats": RepeatsSpec}
    if not loc:
        return list(ImportMapping.model_fields)
    return list(parts.get(str(loc[-1]), ValueChoice).model_fields)
