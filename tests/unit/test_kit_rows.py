"""Rows of read models: one declaration gives columns, types and the conflict set of a statement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from shared.kit.rows import FIXED, BigInteger, Codes, Id, Json, String, arrays_of, columns_of, parts_of
from shared.kit.sql import BadStatements, Statements


@dataclass(frozen=True, slots=True)
class ThingRow:
    id: Id
    region: Annotated[String, FIXED]
    sequence: BigInteger
    units: Codes
    state: Json


def test_a_declaration_is_column_list_types_and_conflict_set() -> None:
    assert parts_of(ThingRow) == {
        "columns": "id, region, sequence, units, state",
        "arrays": "$1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[]",
        "values": "id, region, sequence, string_to_array(units, ' '), state::jsonb",
        "updates": "sequence = excluded.sequence, units = excluded.units, state = excluded.state",
    }


def test_rows_as_one_array_for_each_column() -> None:
    rows = [ThingRow("a", "51", 1, "u v", "{}"), ThingRow("b", "52", 2, "", "{}")]
    assert arrays_of(rows) == [["a", "b"], ["51", "52"], [1, 2], ["u v", ""], ["{}", "{}"]]
    assert arrays_of([]) == []


def test_a_field_without_a_column_type_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Untyped:
        id: str

    with pytest.raises(TypeError, match="has no column type"):
        columns_of(Untyped)


def write(folder: Path, text: str) -> Path:
    path = folder / "queries.sql"
    path.write_text(text)
    return path


def test_a_statement_names_its_rows_and_leaves_the_lists_out(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "-- name: put\n-- rows: ThingRow\n-- Put things.\n"
        "insert into things (<columns>) select <values> from unnest(<arrays>) as given (<columns>)\n"
        "on conflict (id) do update set <updates>;\n",
    )
    assert Statements.load(path, rows=(ThingRow,))["put"].startswith("insert into things (id, region, sequence, units")
    with pytest.raises(BadStatements, match="names the rows ThingRow, which are not given"):
        Statements.load(path)


def test_parameters_have_names_and_the_casts_stay(tmp_path: Path) -> None:
    text = "-- name: find\n-- Find.\nselect :late::boolean, a::text from t where b = :region or :late is null;\n"
    statements = Statements.load(write(tmp_path, text))
    assert statements["find"] == "select $1::boolean, a::text from t where b = $2 or $1 is null"
    assert statements.arguments("find", {"region": "51", "late": None}) == (None, "51")
    with pytest.raises(TypeError, match="takes \\['late', 'region'\\], got \\['late', 'regions'\\]"):
        statements.arguments("find", {"regions": "51", "late": None})
