"""A submission is read without asking anybody: whatever is published is understood, or refused without an echo."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.case.base import Owner
from shared.kit.application import Answer
from shared.kit.bodies import RegisterBody
from shared.kit.problems import Problem
from shared.kit.submission import PARKED_CODE, ParsedSubmission, Receipt, is_submission_id, read, within
from shared.log.consumers import RawMessage

SUBJECT = "submit.demo.51.01.04.017.000"
MARKER = "unrepeatable-7391"
FORMS = {"register": RegisterBody}
DEMAND = {"channel": "app", "region": "510104017000", "nature": "complaint", "title": "t", "text": "x"}
GOOD = {"specversion": "1.0", "id": "a-1", "source": "demo", "type": "command.register", "data": DEMAND}
NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
ANSWER = Answer(id="c1", number="FJ5M-0003V-K", status="triaged", version=2, position="LOG_5101:4")
REFUSED = Problem(type="/problems/x", title="x", status=422, code="x", detail="x")


def told(body: Any, subject: str = SUBJECT) -> ParsedSubmission:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read(RawMessage(subject, 7, data, None), FORMS)


def test_a_good_one_is_read_whole() -> None:
    one = told(GOOD | {"time": "2026-03-02T09:00:00+08:00", "ourextension": 1})
    assert one.problem is None
    assert (one.source, one.id, one.name, one.region, one.owner) == (
        "demo",
        "a-1",
        "register",
        "510104017000",
        Owner.INTAKE,
    )
    assert one.body == RegisterBody.model_validate(DEMAND)


@pytest.mark.parametrize(
    ("command", "owner"),
    [
        ("withdraw", "intake"),
        ("settle", "routing"),
        ("request-extension", "supervision"),
        ("merge", "intake"),
        ("?", "intake"),
    ],
)
def test_each_owner_takes_its_own_and_intake_the_rest(command: str, owner: str) -> None:
    assert told(GOOD | {"type": f"command.{command}"}).owner == owner


def test_one_lane_for_what_one_platform_says_of_one_case() -> None:
    data = {"unit": "510104000000-housing", "note": {"text": "x"}}
    of_case = [
        told(GOOD | {"id": i, "type": "command.progress", "subject": "N", "data": data}).lane for i in ("a", "b")
    ]
    assert len(set(of_case)) == 1


@pytest.mark.parametrize(
    "subject", ["submit.demo", "submit.demo.51", "submit.demo.51.01.04.017.0x0", "submit.demo.5101.04"]
)
def test_a_subject_that_is_no_region_is_refused(subject: str) -> None:
    problem = told(GOOD, subject).problem
    assert problem is not None
    assert problem.code == "subject.malformed"


@pytest.mark.parametrize(
    ("id", "usable"),
    [("a", True), ("x" * 128, True), ("~!/:.", True), ("", False), ("a b", False), ("x" * 129, False), ("ü", False),
     ("seq-1", False), ("seq-x", True), (7, False), (None, False), ("a\n", False)],
)  # fmt: skip
def test_which_ids_a_receipt_can_stand_under(id: Any, usable: bool) -> None:
    assert is_submission_id(id) is usable
    one = told(GOOD | {"id": id})
    assert (one.id == id and one.problem is None) is usable
    assert one.by_sequence == "seq-7"


@pytest.mark.parametrize(
    ("media_type", "read"),
    [
        ("application/json", True), ("application/json; charset=utf-8", True),
        ("Application/JSON ;charset=UTF-8", True),
        ('application/json;charset="utf-8"', True), ("application/json; charset=gbk", False), ("text/json", False),
        ("application/xml", False), ("", False), (7, False), (None, False),
    ],
)  # fmt: skip
def test_a_media_type_counts_by_its_meaning(media_type: Any, read: bool) -> None:
    assert (told(GOOD | {"datacontenttype": media_type}).problem is None) is read


leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(MARKER)
json_values = leaves | st.lists(leaves, max_size=3) | st.dictionaries(st.text(max_size=8), leaves, max_size=3)
names = st.sampled_from([*GOOD, "time", "subject", "traceparent", "datacontenttype"])


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all_is_refused_under_its_sequence_or_id(data: bytes) -> None:
    one = told(data)
    assert one.problem is not None
    assert 400 <= one.problem.status < 500
    assert MARKER not in one.problem.model_dump_json()


@given(
    st.dictionaries(names, json_values, max_size=3),
    st.dictionaries(st.sampled_from([*DEMAND, "parties"]), json_values, max_size=3),
)
def test_a_field_that_is_wrong_is_named_and_never_quoted(attributes: dict[str, Any], facts: dict[str, Any]) -> None:
    one = told(GOOD | {"data": DEMAND | facts} | attributes)
    assert (one.problem is None) is (one.body is not None)
    if one.problem is not None:
        assert MARKER not in one.problem.model_dump_json()


def test_a_submission_of_another_service_is_not_checked() -> None:
    message = RawMessage(
        "submit.demo.51.01.04.017.000", 7, json.dumps(GOOD | {"data": {"nature": "joke"}}).encode(), None
    )
    assert read(message, FORMS, Owner.ROUTING) == ParsedSubmission("demo", 7, "a-1", "register")
    assert read(message, FORMS, Owner.INTAKE) == read(message, FORMS)
    assert read(message, FORMS).problem is not None
    nobodys = RawMessage("submit.demo.51.01.04.017.000", 7, b"{", None)
    assert read(nobodys, FORMS, Owner.INTAKE).problem is not None, "intake answers what no service can take"


def test_a_region_outside_the_subject_is_refused() -> None:
    county = told(GOOD, "submit.demo.51.01.04.000.000")
    within(county, "510104017001")
    with pytest.raises(Exception, match="outside"):
        within(county, "510105000000")


def receipt(sequence: int, data: Answer | Problem, command: str = "register", place: str = "a-1") -> Receipt:
    return Receipt.of(Owner.INTAKE, "demo", place, sequence, command, NOW, data)


def test_which_receipt_speaks_for_another() -> None:
    accepted, refused = receipt(1, ANSWER), receipt(2, REFUSED)
    assert accepted.answers(receipt(1, REFUSED))  # of the same message
    assert accepted.answers(receipt(9, ANSWER))  # the same decision, asked again
    assert not accepted.answers(receipt(9, ANSWER, "withdraw"))
    assert not accepted.answers(receipt(9, ANSWER.model_copy(update={"id": "c2"})))
    assert not accepted.answers(refused)
    assert not refused.answers(accepted)
    assert accepted.may_repeat("register")
    assert not accepted.may_repeat("withdraw")
    assert not refused.may_repeat("register")
    assert receipt(3, REFUSED.model_copy(update={"code": PARKED_CODE})).may_repeat("register")


def test_a_receipt_is_read_back_as_it_was_written() -> None:
    for one in (receipt(1, ANSWER), receipt(2, REFUSED)):
        assert Receipt.model_validate_json(one.model_dump_json(exclude_none=True)) == one
