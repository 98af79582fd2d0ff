"""Names and fields on the wire are a storage format: a sample of every released version is read back for ever."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

import shared.case
from shared.case.base import SEAL_PREFIX, Event, Unknown
from shared.case.catalogue import EVENTS, decode
from shared.case.commands import COMMANDS
from shared.case.upcasts import UPCASTS

SAMPLES = Path(shared.case.__file__).parent / "samples"
NAMES = sorted(path.name for path in SAMPLES.glob("*.json"))
FACTS = {spec.event.TYPE: spec.facts for spec in COMMANDS.values()}


def _type(name: str) -> tuple[str, int]:
    """Behind a plus stands which sample of its version it is: optional fields came later, in a sample of their own."""
    type_, _, version = name.removesuffix(".json").rpartition(".v")
    return type_, int(version.partition("+")[0])


def _data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((SAMPLES / name).read_bytes())
    return data


def _newest(type_: str) -> str:
    """The sample that was released last; without a plus comes first."""
    of_today = (name for name in NAMES if _type(name) == (type_, EVENTS[type_].VERSION))
    return max(of_today, key=lambda name: int(name.removesuffix(".json").partition("+")[2] or 0))


def _nested(data: Any) -> list[dict[str, Any]]:
    """Every JSON object inside the data, itself included."""
    parts = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
    return ([data] if isinstance(data, dict) else []) + [found for part in parts for found in _nested(part)]


def test_every_version_of_every_event_has_a_sample() -> None:
    released = {(type_, version) for type_, cls in EVENTS.items() for version in range(1, cls.VERSION + 1)}
    assert {_type(name) for name in NAMES} == released


def test_released_samples_are_never_edited() -> None:
    """SHA256SUMS gets a line when a version is released; a line of it is never changed."""
    sums = [f"{sha256((SAMPLES / name).read_bytes()).hexdigest()}  {name}" for name in NAMES]
    assert (SAMPLES / "SHA256SUMS").read_text().splitlines() == sums


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_read_and_written_back_the_same(name: str) -> None:
    type_, version = _type(name)
    event = decode(type_, version, _data(name))
    assert type(event) is EVENTS[type_]
    if version == EVENTS[type_].VERSION:
        written = json.loads(to_json(event))
        assert _as_far_as_told(written, _data(name)) == _data(name)
        assert name != _newest(type_) or written == _data(name)


def _as_far_as_told(written: Any, told: Any) -> Any:
    """What was written back, without the optional fields that came after the sample."""
    if isinstance(written, dict) and isinstance(told, dict):
        return {key: _as_far_as_told(value, told[key]) for key, value in written.items() if key in told}
    if isinstance(written, list) and isinstance(told, list):
        return [_as_far_as_told(*both) for both in zip(written, told, strict=True)]
    return written


@pytest.mark.parametrize("type_", EVENTS)
def test_the_newest_sample_shows_every_field_another_one_what_it_was_written_with(type_: str) -> None:
    fields, version = EVENTS[type_].model_fields, EVENTS[type_].VERSION
    assert set(_data(_newest(type_))) == set(fields)
    for name in (name for name in NAMES if _type(name) == (type_, version)):
        assert all(not fields[field].is_required() for field in set(fields) - set(_data(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_shows_no_content(name: str) -> None:
    type_, _ = _type(name)
    assert all(_data(name)[field].startswith(SEAL_PREFIX) for field in EVENTS[type_].PRIVATE)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_fields_are_tolerated_on_read(name: str) -> None:
    type_, version = _type(name)
    data = _data(name)
    for part in _nested(data):
        part["a_field_of_tomorrow"] = {"x": 1}
    assert decode(type_, version, data) == decode(type_, version, _data(name))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_fields_are_refused_on_write(name: str) -> None:
    type_, version = _type(name)
    if version != EVENTS[type_].VERSION:
        return
    facts = FACTS[type_]
    assert facts.model_validate(_data(name))
    for index, _ in enumerate(_nested(_data(name))):
        data = _data(name)
        _nested(data)[index]["a_field_of_tomorrow"] = 1
        with pytest.raises(ValidationError, match="a_field_of_tomorrow"):
            facts.model_validate(data)


@pytest.mark.parametrize("type_", EVENTS)
def test_a_newer_version_is_unknown_and_kept_as_it_is(type_: str) -> None:
    data = {"whatever": ["it", "says"]}
    newer = EVENTS[type_].VERSION + 1
    assert decode(type_, newer, data) == Unknown(type_, newer, data)


def test_an_unheard_of_type_is_unknown() -> None:
    assert decode("case.dreamt", 1, {}) == Unknown("case.dreamt", 1, {})


def test_data_that_the_version_never_wrote_are_refused() -> None:
    with pytest.raises(ValidationError):
        decode("case.closed", 1, {"basis": 7})


def test_every_older_version_has_its_step_up() -> None:
    steps = {(type_, version) for type_, cls in EVENTS.items() for version in range(1, cls.VERSION)}
    assert set(UPCASTS) == steps


@pytest.mark.parametrize("cls", EVENTS.values(), ids=EVENTS)
def test_an_event_is_never_changed_after_it_is_made(cls: type[Event]) -> None:
    event = decode(cls.TYPE, cls.VERSION, _data(_newest(cls.TYPE)))
    assert isinstance(event, cls)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(event, next(iter(cls.model_fields)), None)


@pytest.mark.parametrize("cls", EVENTS.values(), ids=EVENTS)
def test_free_text_and_people_stand_in_private_fields_only(cls: type[Event]) -> None:
    """Whatever holds a title, a text or a party is sealed; in the open are codes, times, numbers and bases."""
    secret = {"Matter", "Note", "Parties", "Party", "PartMatters"}
    holding = {name for name, field in cls.model_fields.items() if any(one in str(field.annotation) for one in secret)}
    assert set(cls.PRIVATE) == holding
    assert issubclass(cls, BaseModel)
