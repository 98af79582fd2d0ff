"""Reporting over HTTP on real servers, with the other three services beside it: lists, search, counts, cases, flow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from infra.servers.embedded import Endpoints
from services.reporting import event_stream
from tests.support.client import COUNTY, HOUSING, LONG_AGO, MATTER, OTHER_COUNTY, POLICE, TOWNSHIP, new_key
from tests.support.stack import BACKDATE_S_MAX, in_process

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
VILLAGE = "510104017001"
NOTE = {"text": "说明"}
POLLS_MAX = 200


class Desk:
    """What people of the demo ask, without a socket."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(
        self, person: str | None, path: str, headers: dict[str, str] | None = None, **params: Any
    ) -> httpx.Response:
        token = {"Authorization": f"Bearer demo-{person}"} if person else {}
        return await self._client.get(f"/reporting{path}", params=params, headers=token | (headers or {}))

    async def told(self, person: str, path: str, **params: Any) -> Any:
        """The body of an answer that must be a success."""
        answer = await self.get(person, path, **params)
        assert answer.status_code == 200, f"{path} as {person}: {answer.status_code} {answer.text}"
        return answer.json()

    async def post(self, person: str, path: str, body: Any, **options: Any) -> Any:
        """A command that must stand, whatever stood before; its answer."""
        headers = {"Authorization": f"Bearer demo-{person}", "Idempotency-Key": new_key(), "If-Match": "*"}
        answer = await self._client.post(path, headers=headers, **({"json": body} | options))
        assert answer.status_code in (200, 201), f"{path} as {person}: {answer.status_code} {answer.text}"
        return answer.json()

    async def register(self, person: str = "jj-window", **changed: Any) -> Any:
        return await self.post(person, "/intake/cases", MATTER | changed)

    async def until(self, id: str, status: str) -> Any:
        """The case once reactions have brought it to a status."""
        for _ in range(POLLS_MAX):
            told = await self.told("cd-director", f"/cases/{id}")
            if told["status"] == status:
                return told
            await asyncio.sleep(0.02)
        raise AssertionError(f"{id} did not become {status}: {told['status']}")

    async def titles(self, person: str, position: str, **params: Any) -> list[str | None]:
        """The titles of a list, once the read model has seen a position."""
        for _ in range(POLLS_MAX):
            page = await self.told(person, "/cases", after=position, **params)
            if page["complete"]:
                return [case["title"] for case in page["cases"]]
        raise AssertionError(f"the read model did not see {position}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(servers: Endpoints) -> AsyncIterator[Desk]:
    async with in_process(servers, backdate_s_max=BACKDATE_S_MAX) as client:
        yield Desk(client)


@pytest.mark.clause("9.4a")
async def test_a_list_shows_each_what_is_theirs_with_its_title(desk: Desk) -> None:
    """By region, and jj-window because they were asked first."""
    case = await desk.register(title="树倒了压住电线", region=VILLAGE)
    position = case["position"]
    for person in (
        "jj-director",
        "cd-director",
        "jgy-director",
        "jgy-village",
        "jj-window",
    ):  # the last was asked first
        assert "树倒了压住电线" in await desk.titles(person, position), person
    for person in ("my-director", "jj-women", "jj-police", "jj-operator"):
        answer = await desk.get(person, "/cases", after=position)
        assert "树倒了压住电线" not in answer.text, person
    found = (await desk.told("jj-director", "/cases", after=position, limit=1))["cases"][0]
    assert (found["id"], found["number"]) == (case["id"], case["number"])
    assert (found["region"], found["in_charge"], found["nature"]) == (VILLAGE, VILLAGE, "complaint")


async def test_filters_say_what_a_list_holds(desk: Desk) -> None:
    case = await desk.register(title="过滤用的案件")
    position = (await desk.until(case["id"], "assigned"))["position"]

    async def has(person: str = "cd-director", **params: Any) -> bool:
        return "过滤用的案件" in await desk.titles(person, position, **params)

    now = datetime.now(UTC)
    for good in (
        {"region": TOWNSHIP}, {"region": COUNTY}, {"status": "assigned"}, {"open": "true"}, {"unit": HOUSING},
        {"person": "jj-window"}, {"nature": "complaint"}, {"late": "false"}, {"from": now - timedelta(hours=1)},
        {"to": now + timedelta(hours=1)}, {"region": COUNTY, "unit": HOUSING, "open": "true"},
    ):  # fmt: skip
        assert await has(**good), good
    for bad in (
        {"region": OTHER_COUNTY}, {"region": VILLAGE}, {"status": "closed"}, {"open": "false"}, {"unit": POLICE},
        {"person": "jj-police"}, {"nature": "praise"}, {"late": "true"}, {"from": now + timedelta(hours=1)},
        {"to": now - timedelta(hours=1)}, {"subject": "zzz"},
    ):  # fmt: skip
        assert not await has(**bad), bad
    assert await has("jj-housing"), "the responsible unit sees it"
    assert not await has("jj-police")


async def test_pages_follow_one_another_without_a_gap_or_a_twin(desk: Desk) -> None:
    made = [await desk.register(title=f"第{n}页", region="510104022000") for n in range(7)]
    ids: list[str] = []
    more: dict[str, Any] = {"after": made[-1]["position"]}
    while True:
        told = await desk.told("jj-director", "/cases", region="510104022000", limit=2, **more)
        ids += [case["id"] for case in told["cases"]]
        if told["next"] is None:
            break
        more = {"cursor": told["next"]}
    assert ids[:7] == [case["id"] for case in reversed(made)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"cursor": "nonsense"}, 400, "cursor.malformed"),
        ({"limit": "100000"}, 422, "limit.too_large"),
        ({"limit": "0"}, 422, "request.invalid"),
        ({"q": "水"}, 422, "search.too_short"),
        ({"q": ""}, 422, "search.too_short"),
        ({"regoin": TOWNSHIP}, 422, "parameter.unknown"),
        ({"region": "51"}, 422, "request.invalid"),
        ({"from": "2026-03-02T09:00:00"}, 422, "request.invalid"),
        ({"status": "gone"}, 422, "request.invalid"),
        ({"after": "here"}, 400, "after.malformed"),
        ({"after": "LOG_9999:1"}, 400, "after.unknown_stream"),
    ],
)
async def test_a_question_that_cannot_be_answered_says_why(
    desk: Desk, params: dict[str, Any], status: int, code: str
) -> None:
    answer = await desk.get("jj-director", "/cases", **params)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_position_that_is_not_reached_in_time_is_said_to_be_so(desk: Desk) -> None:
    told = await desk.told("jj-director", "/cases", after="LOG_5101:999999999")
    assert told["complete"] is False


@pytest.mark.clause("9.4a")
async def test_a_search_finds_words_of_the_matter_and_only_for_who_may_see(desk: Desk) -> None:
    await desk.register(title="河道里有死鱼", text="上游化工厂夜里排放ＡＢＣ废水，气味刺鼻。")
    position = (await desk.register(title="河道清理", text="请清理河道。"))["position"]
    for words in ("死鱼", "化工厂夜里", "abc废水", "河道 刺鼻", "刺鼻 死 鱼"):
        assert await desk.titles("jj-director", position, q=words) == ["河道里有死鱼"], words
    assert await desk.titles("jj-director", position, q="河道") == ["河道清理", "河道里有死鱼"]
    assert await desk.titles("jj-director", position, q="鱼死了") == []
    assert await desk.titles("jj-director", position, q="河道", status="closed") == []
    for other in ("my-director", "jj-women", "sc-auditor"):
        assert await desk.titles(other, position, q="死鱼") == [], other


async def test_a_search_follows_corrections_and_forgets_what_is_erased(desk: Desk) -> None:
    demand = {"title": "井盖丢失", "nature": "help", "text": "路口的井盖不见了。", "contact_time": LONG_AGO}
    case = await desk.register(**demand)
    matter = {"title": "路灯不亮", "text": "路口的路灯坏了。"}
    fixed = await desk.post("jj-director", f"/intake/cases/{case['id']}/correct", {"matter": matter, "note": NOTE})
    assert await desk.titles("jj-director", fixed["position"], q="井盖") == []
    assert await desk.titles("jj-director", fixed["position"], q="路灯不亮") == ["路灯不亮"]
    withdrawal = {"note": NOTE, "time": LONG_AGO}
    ended = await desk.post("jj-window", f"/intake/cases/{case['id']}/withdraw", withdrawal)
    assert await desk.titles("jj-director", ended["position"], q="路灯不亮") == ["路灯不亮"]
    body = {"retention": "year_1", "basis": "9.4 b"}
    await desk.post("jj-records", f"/supervision/cases/{case['id']}/request-erasure", body)
    erased = await desk.post("jj-records-1", f"/supervision/cases/{case['id']}/erase", body)
    assert await desk.titles("jj-director", erased["position"], q="路灯不亮") == []
    rows = (await desk.told("jj-director", "/cases", after=erased["position"], status="withdrawn"))["cases"]
    assert next(row for row in rows if row["id"] == case["id"])["title"] is None
    told = await desk.told("jj-director", f"/cases/{case['id']}")
    assert (told["erased"], "路" in json.dumps(told, ensure_ascii=False)) == (True, False)
    assert told["timeline"][0]["sealed"] == ["matter", "reporter"]


async def test_a_long_search_goes_on_page_by_page(desk: Desk) -> None:
    made = [await desk.register(title=f"锅炉 {n}", region="510104022000") for n in range(5)]
    first = await desk.told("jj-director", "/cases", q="锅炉", limit=3, after=made[-1]["position"])
    rest = await desk.told("jj-director", "/cases", q="锅炉", limit=3, cursor=first["next"])
    assert [case["title"] for case in first["cases"] + rest["cases"]] == [f"锅炉 {n}" for n in (4, 3, 2, 1, 0)]
    assert rest["next"] is None


@pytest.mark.clause("5.1.2a")
async def test_one_case_is_told_from_its_beginning_by_id_and_by_number(desk: Desk) -> None:
    case = await desk.register(title="电梯故障")
    told = await desk.until(case["id"], "assigned")
    done = [entry["type"] for entry in told["timeline"] if entry["type"] != "case.deadlines_set"]
    assert done[:3] == ["case.registered", "case.triaged", "case.assigned"]
    first = told["timeline"][0]
    assert (first["facts"]["matter"]["title"], first["sealed"]) == ("电梯故障", [])
    assert (first["actor"]["person"], first["position"]) == ("jj-window", case["position"])
    assert first["references"], "the documents in force are cited"
    assert (told["number"], told["state"]["unit"], told["position"]) == (
        case["number"], HOUSING, told["timeline"][-1]["position"],
    )  # fmt: skip
    assert (await desk.told("cd-director", f"/cases/{case['number'].lower()}"))["id"] == case["id"]
    answer = await desk.get("cd-director", f"/cases/{case['id']}")
    etag = answer.headers["etag"]
    again = await desk.get("cd-director", f"/cases/{case['id']}", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert (await desk.get("cd-director", f"/cases/{case['id']}", headers={"If-None-Match": '"0"'})).status_code == 200


@pytest.mark.clause("9.4a")
@pytest.mark.clause("9.5b")
async def test_a_case_is_refused_to_strangers_and_an_auditor_gets_its_flow(desk: Desk) -> None:
    case = await desk.register(title="不该外传", text="不该外传的内容")
    for person, status in (("jj-police", 403), ("my-director", 403), (None, 401), ("nobody", 401)):
        assert (await desk.get(person, f"/cases/{case['id']}")).status_code == status, person
    answer = await desk.get("sc-auditor", f"/cases/{case['id']}")
    assert answer.status_code == 200
    assert "外传" not in answer.text
    assert "张三" not in answer.text
    assert "seal1." not in answer.text
    assert sorted(answer.json()["timeline"][0]["sealed"]) == ["matter", "reporter"]
    rows = (await desk.told("sc-auditor", "/cases", after=case["position"], limit=5))["cases"]
    assert (rows[0]["id"], rows[0]["title"]) == (case["id"], None)


@pytest.mark.parametrize(
    "id", ["x", "FJ4M-0003V-Z", "00000000-0000-0000-0000-000000000000", "33010000-0000-8000-8000-000000000000"]
)
async def test_a_case_that_is_not_there_is_not_found(desk: Desk, id: str) -> None:
    for kind in ("cases", "orders"):
        answer = await desk.get("cd-director", f"/{kind}/{id}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_an_attachment_comes_back_as_it_was_under_its_name_to_who_may_see(desk: Desk) -> None:
    data = b"%PDF-1.7 \x00 whatever <script>alert(1)</script>"
    files = [("files", ("照片 1.pdf", data, "application/pdf")), ("files", ("b.html", b"<p>", "text/html"))]
    form = {"case": json.dumps(MATTER | {"title": "有附件"})}
    case = await desk.post("jj-window", "/intake/cases-with-attachments", None, json=None, data=form, files=files)
    told = await desk.told("cd-director", f"/cases/{case['id']}")
    first, second = told["timeline"][0]["facts"]["attachments"]
    answer = await desk.get("cd-director", f"/cases/{case['id']}/attachments/{first['object']}")
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%E7%85%A7%E7%89%87%201.pdf"
    html = await desk.get("cd-director", f"/cases/{case['id']}/attachments/{second['object']}")
    assert html.headers["content-disposition"].startswith("attachment;")
    assert html.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in html.headers["content-security-policy"]
    assert "no-store" in html.headers["cache-control"]
    for person in ("jj-police", "my-director", "sc-auditor"):
        assert (await desk.get(person, f"/cases/{case['id']}/attachments/{first['object']}")).status_code == 403
    other = await desk.register()
    assert (await desk.get("cd-director", f"/cases/{other['id']}/attachments/{first['object']}")).status_code == 404


@pytest.mark.clause("5.1.1a")
async def test_counts_add_up_by_region_and_a_share_of_nothing_is_not_said(desk: Desk) -> None:
    township = "510104018000"

    async def count(person: str, region: str) -> Any:
        return await desk.told(person, "/counts", region=region, after=case["position"])

    case = await desk.register(region=township, title="数一数")
    case = await desk.until(case["id"], "assigned")
    told = await count("cd-director", township)
    assert told["all"] == {
        "region": township, "statuses": {"assigned": 1}, "total": 1, "open": 1,
        "late": 0, "late_open": 0, "late_share": 0,
    }  # fmt: skip
    above = await count("cd-director", COUNTY)
    assert sum(one["total"] for one in above["regions"]) == above["all"]["total"]
    assert next(one for one in above["regions"] if one["region"] == township)["total"] == 1
    empty = await count("cd-director", "510105000000")
    assert (empty["regions"], empty["all"]["total"], empty["all"]["late_share"]) == ([], 0, None)
    kept = await desk.register(region=township, title="与我有关", complained_unit="510104000000-centre")
    kept = await desk.until(kept["id"], "assigned")
    case = kept
    assert (await count("cd-director", township))["all"]["total"] == 2
    assert (await count("jj-director", township))["all"]["total"] == 1, "what is kept from the caller is not counted"
    for person, region in (("jj-director", "510100000000"), ("jj-police", COUNTY), ("my-director", COUNTY)):
        assert (await desk.get(person, "/counts", region=region)).status_code == 403, person


async def flow(desk: Desk, person: str, **params: Any) -> list[dict[str, Any]]:
    answer = await desk.get(person, "/events", **params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson"), answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_a_line_of_the_flow_is_one_line_for_every_reader(desk: Desk) -> None:
    case = await desk.register(title="一件小事", nature="help", text="想请工作人员帮忙看看。")
    path = "锦江区\u2028人民法院\x85立案庭\u2029"
    body = {"reason": "in_litigation", "legal_path": path, "note": NOTE}
    await desk.post("jj-triage", f"/routing/cases/{case['id']}/decline", body)
    events = await flow(desk, "jj-director", after=case["position"])
    assert path in [event["facts"].get("legal_path") for event in events if "facts" in event]


@pytest.mark.clause("9.4a")
async def test_the_flow_is_told_in_order_without_content_to_who_may_see(desk: Desk) -> None:
    case = await desk.register(title="流水")
    await desk.until(case["id"], "assigned")
    lines = await flow(desk, "jj-director")
    own = [line for line in lines if line.get("aggregate_id") == case["id"]]
    done = [line["type"] for line in own if line["type"] != "case.deadlines_set"]
    assert done[:3] == ["case.registered", "case.triaged", "case.assigned"]
    assert own[0]["facts"]["nature"] == "complaint"
    for secret in ("流水", "停车费", "张三", "seal1.", "matter"):
        assert secret not in json.dumps(lines, ensure_ascii=False), secret
    assert lines[-1]["kind"] == "end"
    *later, end = await flow(desk, "jj-director", after=lines[-1]["after"])
    assert end["kind"] == "end"
    assert {line["type"] for line in later} <= {"case.deadlines_set"}, "nothing else comes"
    rest = await flow(desk, "jj-director", after=own[0]["after"])
    told = [line["id"] for line in rest if line.get("aggregate_id") == case["id"]]
    assert told[: len(own) - 1] == [line["id"] for line in own[1:]]
    others: list[tuple[str, dict[str, Any]]] = [("my-director", {}), ("jj-women", {})]
    for person, params in (*others, ("jj-director", {"region": "510104022000"})):
        assert case["id"] not in json.dumps(await flow(desk, person, **params)), person
    assert case["id"] in json.dumps(await flow(desk, "sc-auditor", region=TOWNSHIP))


@pytest.mark.parametrize(
    ("after", "code"),
    [
        ("here", "after.malformed"),
        ("LOG_9999:1", "after.unknown_stream"),
        ("LOG_5101:0,LOG_5107:999999999", "after.beyond_end"),
    ],
)
async def test_a_place_in_the_flow_that_cannot_be_is_refused(desk: Desk, after: str, code: str) -> None:
    answer = await desk.get("jj-director", "/events", after=after)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    again = await desk.get("jj-director", "/events", headers={"Last-Event-ID": after})
    assert (again.status_code, again.json()["code"]) == (400, code)


async def test_server_sent_events_go_on_live_with_heartbeats(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "EVENT_HEARTBEAT_S", 0.2)
    monkeypatch.setattr(event_stream, "EVENT_LISTEN_S_MAX", 2.5)
    place = (await flow(desk, "jj-director"))[-1]["after"]
    headers = {"Accept": "text/event-stream", "Last-Event-ID": place}
    listening = asyncio.create_task(desk.get("jj-director", "/events", headers=headers))
    await asyncio.sleep(0.5)
    case = await desk.register(title="现在发生")
    answer = await listening
    assert answer.headers["content-type"].startswith("text/event-stream")
    messages = [dict(line.split(": ", 1) for line in one.splitlines()) for one in answer.text.strip().split("\n\n")]
    beats = [one for one in messages if one["event"] == "heartbeat"]
    assert beats, "a heartbeat says where it is"
    assert all(one["data"] == "{}" and one["id"].startswith("LOG_") for one in beats)
    told = [json.loads(one["data"]) for one in messages if one["event"] == "event"]
    events = [one for one in told if one["aggregate_id"] == case["id"]]  # clocks of other cases may follow late
    assert (events[0]["type"], messages[-1]["event"]) == ("case.registered", "end")
    assert "现在发生" not in answer.text


@pytest.mark.clause("5.1.1f")
async def test_orders_are_listed_and_told_to_those_they_concern(desk: Desk) -> None:
    case = await desk.register(title="督办的案件")
    await desk.until(case["id"], "assigned")
    due = datetime.now(UTC) + timedelta(days=3)
    body = {
        "kind": "ordinary", "region": COUNTY, "unit": HOUSING, "cases": [case["id"]], "due": due.isoformat(),
        "note": {"text": "限期督办"},
    }  # fmt: skip
    order = await desk.post("jj-supervisor", "/supervision/orders", body)
    for person in ("jj-supervisor", "cd-director", "jj-housing"):
        told = await desk.told(person, "/orders", after=order["position"])
        assert told["orders"][0]["id"] == order["id"], person
        assert (told["orders"][0]["case_count"], told["orders"][0]["overdue"]) == (1, False)
        one = await desk.told(person, f"/orders/{order['id']}")
        assert one["timeline"][0]["facts"]["note"]["text"] == "限期督办"
    assert (await desk.told("jj-supervisor", "/orders", status="accepted"))["orders"] == []
    assert (await desk.told("jj-supervisor", "/orders", unit=POLICE))["orders"] == []
    assert (await desk.told("jj-police", "/orders"))["orders"] == []
    assert (await desk.get("jj-police", f"/orders/{order['id']}")).status_code == 403
    audited = await desk.get("sc-auditor", f"/orders/{order['id']}")
    assert (audited.status_code, "限期督办" in audited.text) == (200, False)


async def test_the_openapi_names_every_operation_once(desk: Desk) -> None:
    paths = (await desk.told("jj-director", "/openapi.json"))["paths"]
    names = [verb["operationId"] for path in paths.values() for verb in path.values()]
    assert sorted(names) == sorted(set(names))
    assert all(verb["get"] for verb in paths.values()), "reporting only reads"
