"""The envelope: CloudEvents 1.0 on the wire, the same event again when read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.case.base import Event, Meta, Position, Recorded, Unknown
from shared.log.envelope import EventDecoder, encode_event
from shared.log.port import Malformed
from tests.support.log import DESK, address, recorded

CHINA = timezone(timedelta(hours=8))
PLACE = Position("LOG_5101", 7)


def full() -> Recorded[Event]:
    meta = Meta(
        command_id="command",
        time=datetime(2026, 3, 2, 17, 0, tzinfo=CHINA),
        recorded_at=datetime(2026, 3, 2, 9, 0, 1, tzinfo=UTC),
        actor=DESK,
        causation_id="cause",
        correlation_id="origin",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        references=("units:510104000000@12", "rules@3"),
    )
    one = recorded(address(), "command")
    return Recorded(one.id, one.address, meta, one.event, PLACE)


@pytest.mark.parametrize("one", [full(), recorded(address(), "command")])
def test_what_was_written_is_read_back_with_its_types(one: Recorded[Event]) -> None:
    again = EventDecoder().decode(encode_event(one), one.position)
    assert again == one
    assert again.meta.model_dump_json() == one.meta.model_dump_json()
    assert isinstance(again.meta.references, tuple)
    assert again.meta.time.utcoffset() == one.meta.time.utcoffset()
    assert again.meta.model_copy(update={"command_id": "x"}) != one.meta  # a whole model, not a shell of one


def test_the_wire_is_cloudevents_with_plain_attributes() -> None:
    wire = json.loads(encode_event(full()))
    assert wire["specversion"] == "1.0"
    assert (wire["source"], wire["type"], wire["version"]) == ("/intake", "case.supplemented", 1)
    assert wire["subject"] == "case.51.01.04.001.002.00000000-0000-0000-0000-000000000001"
    assert wire["time"] == "2026-03-02T17:00:00+08:00"
    assert wire["references"] == "units:510104000000@12 rules@3"
    for name, value in wire.items():
        assert (name.isalnum(), name.islower(), len(name) <= 20) == (True, True, True)  # CloudEvents 1.0, 3.1
        assert name == "data" or isinstance(value, str | int)


def test_unknown_attributes_fields_and_types_are_tolerated() -> None:
    wire = json.loads(encode_event(full()))
    wire["later"] = "x"
    wire["data"]["later"] = "x"
    assert EventDecoder().decode(json.dumps(wire).encode(), PLACE) == full()
    wire["version"] = 99
    assert EventDecoder().decode(json.dumps(wire).encode(), PLACE).event == Unknown(
        "case.supplemented", 99, wire["data"]
    )


def test_an_event_of_a_newer_program_cannot_be_written() -> None:
    one = full()
    with pytest.raises(TypeError, match="newer than this program"):
        encode_event(Recorded(one.id, one.address, one.meta, Unknown("case.later", 1, {})))


@pytest.mark.parametrize(
    "missing", ["id", "type", "version", "subject", "time", "recordedat", "commandid", "actorpost", "data"]
)
def test_a_message_that_lacks_something_is_malformed_and_the_error_says_what(missing: str) -> None:
    wire = json.loads(encode_event(full()))
    del wire[missing]
    with pytest.raises(Malformed, match=f"LOG_5101:7 is no event of ours: no {missing}"):
        EventDecoder().decode(json.dumps(wire).encode(), PLACE)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"note": "SECRET"}},
        {"time": "SECRET"},
        {"subject": "SECRET"},
        {"time": "2026-03-02T09:00:00"},
        {"data": 1},
    ],
)
def test_an_error_never_repeats_the_content(change: dict[str, object]) -> None:
    wire = {**json.loads(encode_event(full())), **change}
    with pytest.raises(Malformed) as refused:
        EventDecoder().decode(json.dumps(wire).encode(), PLACE)
    assert "SECRET" not in str(refused.value)
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'"x"', b"\xff"])
def test_bytes_that_are_no_envelope_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        EventDecoder().decode(data, PLACE)
