"""Files of a case: sealed in the object store, their digest in the event, bounded in size and kind."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from typing import Any

import pytest

from shared.log.streams import Streams
from tests.support.client import ERASE, HOUSING, LONG_AGO, MATTER, NOTE, SETTLE, TOWNSHIP, Case, Desk, new_key
from tests.support.pictures import DEVICE, LATITUDE, PLACE_MARK, photo, png_of_noise
from tests.support.stack import Stack, until

PICTURE = png_of_noise()
NAME = "楼道照片.png"
MIB = 1024 * 1024


def register_with(
    desk: Desk, *files: tuple[str, tuple[str, bytes, str]], key: str | None = None, **changed: Any
) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    form = {"case": json.dumps({**MATTER, **changed})}
    return desk.send("POST", "jj-window", "/intake/cases-with-attachments", data=form, files=files, headers=headers)


def picture(name: str = NAME, data: bytes = PICTURE, media_type: str = "image/png") -> Any:
    return ("files", (name, data, media_type))


def attachment_of(desk: Desk, case_id: str) -> dict[str, Any]:
    found: dict[str, Any] = desk.timeline(case_id)["timeline"][0]["facts"]["attachments"][0]
    return found


async def stored(stack: Stack, name: str) -> bytes | None:
    async with stack.connection() as connection:
        return await Streams(connection).get(name)


def test_a_file_is_sealed_in_the_store_and_its_digest_stands_in_the_event(desk: Desk, stack: Stack) -> None:
    told = register_with(desk, picture()).json()
    file = attachment_of(desk, told["id"])
    assert (file["digest"], file["size_bytes"], file["media_type"]) == (
        sha256(PICTURE).hexdigest(), len(PICTURE), "image/png",
    )  # fmt: skip
    sealed = asyncio.run(stored(stack, file["object"]))
    assert sealed is not None
    assert PICTURE[:64] not in sealed
    assert PICTURE[300:364] not in sealed
    got = desk.get("jj-director", f"/reporting/cases/{told['id']}/attachments/{file['object']}")
    assert got.content == PICTURE
    assert got.headers["content-type"] == "image/png"
    assert "%E6%A5%BC%E9%81%93" in got.headers["content-disposition"], "it comes back under its own name"


def test_files_are_part_of_what_an_idempotency_key_stands_for(desk: Desk) -> None:
    key = new_key()
    first = register_with(desk, picture(), key=key)
    again = register_with(desk, picture(), key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert {n: again.json()[n] for n in ("id", "number", "secret")} == {
        n: first.json()[n] for n in ("id", "number", "secret")
    }
    other = register_with(desk, picture(data=png_of_noise(1)), key=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.key_reused")


def test_a_file_sent_first_is_named_in_the_command_that_it_answers(desk: Desk) -> None:
    case = desk.handled()
    keep = f"/intake/cases/{case.id}/attachments"
    sent = desk.send("POST", "jj-housing-1", keep, files={"file": ("回复.pdf", b"%PDF-1.7 ...", "application/pdf")})
    assert sent.status_code == 201, sent.text
    desk.ok("jj-housing-1", f"/routing/cases/{case.id}/settle", {**SETTLE, "attachments": [sent.json()]})
    got = desk.get("jj-director", f"/reporting/cases/{case.id}/attachments/{sent.json()['object']}")
    assert got.content == b"%PDF-1.7 ..."


def test_a_command_cannot_name_a_file_of_another_case_or_one_never_sent(desk: Desk) -> None:
    told = register_with(desk, picture()).json()
    foreign = attachment_of(desk, told["id"])
    case = desk.handled()
    progress = f"/routing/cases/{case.id}/progress"
    body = {"unit": HOUSING, "note": NOTE, "attachments": [foreign]}
    desk.refused(422, "attachment.unknown", "jj-housing-1", progress, body)
    never = {**foreign, "object": f"{case.id}.{'0' * 24}"}
    desk.refused(422, "attachment.unknown", "jj-housing-1", progress, {**body, "attachments": [never]})


def test_only_who_sees_the_case_may_add_and_read_its_files(desk: Desk) -> None:
    told = register_with(desk, picture()).json()
    file = attachment_of(desk, told["id"])
    path = f"/reporting/cases/{told['id']}/attachments/{file['object']}"
    assert desk.get("fc-director", path).status_code == 403
    assert desk.get("sc-auditor", path).status_code == 403, "an auditor reads the flow and never the content"
    keep = f"/intake/cases/{told['id']}/attachments"
    assert desk.send("POST", "fc-window", keep, files={"file": ("a.txt", b"a", "text/plain")}).status_code == 403
    assert desk.send("POST", None, keep, files={"file": ("a.txt", b"a", "text/plain")}).status_code == 401


def test_a_photo_is_stored_and_served_without_its_metadata_which_lies_sealed_beside_it(
    desk: Desk, stack: Stack
) -> None:
    data = photo("JPEG")
    case = register_with(desk, picture("现场.jpg", data, "image/jpeg")).json()
    file = attachment_of(desk, case["id"])
    path = f"/reporting/cases/{case['id']}/attachments/{file['object']}"
    served = desk.get("jj-director", path).content
    assert PLACE_MARK in data
    assert PLACE_MARK not in served
    assert sha256(served).hexdigest() == file["digest"]
    record = desk.get("jj-director", f"{path}/metadata").json()
    assert (record["latitude"], record["device"]) == (LATITUDE, f"{DEVICE} X1")
    sealed = asyncio.run(stored(stack, f"{file['object']}.metadata"))
    assert sealed is not None
    assert DEVICE.encode() not in sealed
    assert desk.get("sc-auditor", f"{path}/metadata").status_code == 403
    assert desk.get("fc-director", f"{path}/metadata").status_code == 403
    assert desk.get("jj-director", f"{path}.metadata").status_code == 422, "a record is no attachment"


def test_a_record_cannot_be_named_as_an_attachment(desk: Desk) -> None:
    case = desk.handled()
    file = {"file": ("现场.jpg", photo("JPEG"), "image/jpeg")}
    sent = desk.send("POST", "jj-housing-1", f"/intake/cases/{case.id}/attachments", files=file).json()
    body = {"unit": HOUSING, "note": NOTE, "attachments": [{**sent, "object": f"{sent['object']}.metadata"}]}
    desk.refused(422, "request.invalid", "jj-housing-1", f"/routing/cases/{case.id}/progress", body)


@pytest.mark.clause("9.4a")
def test_an_informants_photo_leaves_no_record_and_a_later_mark_hides_it(desk: Desk, stack: Stack) -> None:
    sent = picture("现场.jpg", photo("JPEG"), "image/jpeg")
    informed = register_with(desk, sent, informant=True).json()
    file = attachment_of(desk, informed["id"])
    assert asyncio.run(stored(stack, file["object"])) is not None
    assert asyncio.run(stored(stack, f"{file['object']}.metadata")) is None
    case = desk.handled()
    attached = {"file": ("现场.jpg", photo("JPEG"), "image/jpeg")}
    reply = desk.send("POST", "jj-housing-1", f"/intake/cases/{case.id}/attachments", files=attached).json()
    body = {"unit": HOUSING, "note": NOTE, "attachments": [reply]}
    desk.ok("jj-housing-1", f"/routing/cases/{case.id}/progress", body)
    record = f"/reporting/cases/{case.id}/attachments/{reply['object']}/metadata"
    assert desk.get("jj-director", record).status_code == 200
    desk.ok("jj-window", f"/intake/cases/{case.id}/correct", {"informant": True, "note": NOTE})
    for person in ("jj-director", "jj-window", "jj-housing-1"):
        assert desk.get(person, record).status_code == 403


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        (picture(data=b""), 422, "attachment.empty"),
        (picture(media_type="nonsense"), 422, "attachment.type"),
        (picture(media_type="image/png\\x"), 422, "attachment.type"),
        (picture(data=b"x" * (20 * MIB + 1)), 413, "too.large"),
        (picture(data=PICTURE[:200]), 422, "attachment.picture"),
    ],
    ids=["empty", "no media type", "strange media type", "too large", "a damaged picture"],
)
def test_a_file_that_is_empty_too_large_damaged_or_of_no_media_type_is_refused(
    desk: Desk, file: Any, status: int, code: str
) -> None:
    answer = register_with(desk, file)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_more_files_than_a_demand_may_have_are_refused(desk: Desk) -> None:
    answer = register_with(desk, *(picture(f"{n}.txt", b"x%d" % n, "text/plain") for n in range(21)))
    assert answer.status_code == 422, answer.text


def test_the_case_beside_the_files_is_judged_like_any_other(desk: Desk) -> None:
    answer = register_with(desk, picture(), nature="rumour")
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "nature")
    form = {"case": "{"}
    answer = desk.send("POST", "jj-window", "/intake/cases-with-attachments", data=form, files=[picture()])
    assert answer.status_code == 422
    assert answer.json()["fields"][0]["code"] == "json_invalid"


@pytest.mark.clause("9.4b")
def test_the_files_of_an_erased_case_are_gone_from_the_store(desk: Desk, stack: Stack) -> None:
    sent = picture("现场.jpg", photo("JPEG"), "image/jpeg")
    registration = register_with(desk, sent, region=TOWNSHIP, answer="已当场答复。", contact_time=LONG_AGO).json()
    case = Case(registration["id"], registration["number"], registration["secret"], registration["position"])
    file = attachment_of(desk, case.id)
    desk.ok("jj-director", f"/routing/cases/{case.id}/close", {"time": LONG_AGO})
    desk.ok("jj-records", f"/supervision/cases/{case.id}/request-erasure", ERASE)
    desk.ok("jj-records-1", f"/supervision/cases/{case.id}/erase", ERASE)
    until(lambda: asyncio.run(stored(stack, file["object"])) is None, "the file is gone")
    assert asyncio.run(stored(stack, f"{file['object']}.metadata")) is None
    answer = desk.get("jj-director", f"/reporting/cases/{case.id}/attachments/{file['object']}")
    assert answer.status_code in (404, 410)
