"""Webhooks and notices over HTTP, with all four services behind them: from a registration to the receiver and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from infra.servers.embedded import Endpoints
from services.supervision.feed import webhook_store, webhooks
from tests.support import polling
from tests.support.client import CITY, COUNTY, HOUSING, MATTER, NOTE, OTHER_COUNTY, SETTLE, new_key
from tests.support.receivers import Receiver, receiving
from tests.support.stack import in_process

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
HOOKS = "/supervision/webhooks"
NUMBER = "13800000000"  # the reporter's of MATTER
Ask = Callable[..., Awaitable[httpx.Response]]
WAIT_S_MAX = 10.0
CENTRE = "锦官驿街道综治中心"
TEXTS = {
    "registered": "您反映的事项已登记，编号{number}，由{unit}受理。凭编号和查询码可查询办理进度。",
    "settled": "您反映的事项（编号{number}）已由{unit}办理并答复。凭编号和查询码可查看答复并评价。",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(servers: Endpoints) -> AsyncIterator[httpx.AsyncClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhooks, "CHECK_S", 0.05)  # what is told to another process is noticed at once
        async with in_process(servers) as client:
            yield client


@pytest_asyncio.fixture(loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def ask(web: httpx.AsyncClient) -> AsyncIterator[Ask]:
    """A request as a person; the webhooks that it makes are deleted afterwards."""
    made: list[tuple[str, str]] = []

    async def asked(person: str, method: str, path: str, body: Any = None) -> httpx.Response:
        own = {"Idempotency-Key": new_key()} if path == "/intake/cases" else {}
        answer = await web.request(method, path, json=body, headers={"Authorization": f"Bearer demo-{person}"} | own)
        if (method, path, answer.status_code) == ("POST", HOOKS, 201):
            made.append((person, answer.json()["id"]))
        return answer

    yield asked
    for person, id in made:
        await asked(person, "DELETE", f"{HOOKS}/{id}")


async def told(answer: Awaitable[httpx.Response], status: int = 200) -> Any:
    found = await answer
    assert found.status_code == status, found.text
    return found.json()


async def refused(answer: Awaitable[httpx.Response], status: int, code: str) -> str:
    problem = await told(answer, status)
    assert problem["code"] == code
    return str(problem["detail"])


async def until(ask: Ask, path: str, person: str, ready: Callable[[Any], bool]) -> Any:
    async def read() -> Any:
        page = await told(ask(person, "GET", path))
        return page if ready(page) else None

    return await polling.until(read)


async def test_what_happens_in_a_region_comes_signed_to_who_asked_for_it(ask: Ask, receiver: Receiver) -> None:
    kinds = ["arrived", "settled"]
    made = await ask("jj-supervisor", "POST", HOOKS, {"url": receiver.url, "kinds": kinds})
    place = await told(asyncio.sleep(0, made), 201)
    assert made.headers["Location"] == f"{HOOKS}/{place['id']}"
    assert (place["region"], place["creator"], place["status"], place["cursor"]) == (
        COUNTY, "jj-supervisor", "active", place["feed"],
    )  # fmt: skip
    case = await told(ask("jj-window", "POST", "/intake/cases", MATTER), 201)
    (got,) = await receiver.until(1)
    assert got.is_signed_by(place["secret"])
    assert (got.item["type"], got.item["subject"], got.item["data"]["number"]) == (
        "feed.arrived", case["id"], case["number"],
    )  # fmt: skip
    for private in (MATTER["title"], "张三", NUMBER, "seal1."):
        assert private.encode() not in got.body
    path = f"{HOOKS}/{place['id']}"
    state = await until(ask, path, "jj-supervisor", lambda one: one["taken_at"] is not None)
    assert (state["waiting"], state["parked"], state["last_error"]) == (0, 0, None)
    for person in ("jj-supervisor", "jj-director", "cd-supervisor"):
        answer = await ask(person, "GET", HOOKS)
        assert place["id"] in answer.text, person
        assert "secret" not in answer.text
    assert place["id"] in (await ask("cd-supervisor", "GET", f"{HOOKS}?region={COUNTY}")).text
    assert place["id"] not in (await ask("cd-supervisor", "GET", f"{HOOKS}?region=510105000000")).text
    await refused(ask("cd-supervisor", "GET", f"{HOOKS}?region={OTHER_COUNTY}"), 403, "access.refused")
    for person in ("my-supervisor", "jgy-director"):
        assert place["id"] not in (await ask(person, "GET", HOOKS)).text, person
        await refused(ask(person, "GET", path), 404, "not.found")
        await refused(ask(person, "POST", f"{path}/pause"), 404, "not.found")


@pytest.mark.clause("9.4a")
async def test_who_may_have_what_sent_where(ask: Ask, receiver: Receiver) -> None:
    good = {"url": receiver.url, "kinds": ["overdue"]}
    await refused(ask("jj-window", "POST", HOOKS, good), 403, "access.refused")
    await refused(ask("jj-window", "GET", HOOKS), 403, "access.refused")
    for region in (CITY, OTHER_COUNTY, "510104999000"):
        await refused(ask("jj-supervisor", "POST", HOOKS, good | {"region": region}), 403, "access.refused")
    await refused(ask("jj-supervisor", "POST", HOOKS, good | {"numbers": True}), 403, "access.refused")
    await refused(ask("sms-demo", "POST", HOOKS, good | {"numbers": True}), 422, "webhook.numbers")
    past = {"kinds": ["notice"], "numbers": True, "after": 0}
    await refused(ask("sms-demo", "POST", HOOKS, good | past), 422, "webhook.numbers")
    await refused(ask("jj-supervisor", "POST", HOOKS, good | {"after": 10**12}), 422, "feed.beyond_end")
    wrongs: tuple[dict[str, Any], ...] = (
        {"kinds": []}, {"kinds": ["weather"]}, {"level": 6}, {"url": ""}, {"url": "https://a b/"}, {"x": 1},
    )  # fmt: skip
    for wrong in wrongs:
        await refused(ask("jj-supervisor", "POST", HOOKS, good | wrong), 422, "request.invalid")
    made = await told(ask("jj-supervisor", "POST", HOOKS, good), 201)
    await refused(ask("jj-director", "POST", f"{HOOKS}/{made['id']}/secret"), 403, "access.refused")
    new = await told(ask("jj-supervisor", "POST", f"{HOOKS}/{made['id']}/secret"))
    assert new["secret"].startswith("whsec_")
    assert new["secret"] != made["secret"]
    assert (await ask("jj-director", "DELETE", f"{HOOKS}/{made['id']}")).status_code == 204
    await refused(ask("jj-supervisor", "GET", f"{HOOKS}/{made['id']}"), 404, "not.found")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://10.1.2.3/hook", "private or reserved network"),
        ("https://192.168.0.1:8443/", "private or reserved network"),
        ("https://169.254.169.254/latest/meta-data", "private or reserved network"),
        ("https://[fe80::1]/", "private or reserved network"),
        ("https://[fd00::1]/", "private or reserved network"),
        ("https://[::ffff:10.0.0.1]/", "private or reserved network"),
        ("https://[64:ff9b::a00:1]/", "private or reserved network"),
        ("https://[2002:a00:1::]/", "private or reserved network"),
        ("https://0.0.0.0/", "private or reserved network"),
        ("https://167837953/", "private or reserved network"),  # 10.1.1.1 as one number
        ("https://224.0.0.1/", "private or reserved network"),
        ("http://8.8.8.8/", "begins with https://"),
        ("ftp://example.org/", "begins with https://"),
        ("file:///etc/passwd", "begins with https://"),
        ("https://user:word@8.8.8.8/", "no user, password or fragment"),
        ("https://8.8.8.8/#part", "no user, password or fragment"),
        ("https://no-such-host.invalid/", "cannot be found"),
    ],
)
async def test_no_webhook_leads_into_our_own_network(ask: Ask, url: str, said: str) -> None:
    body = {"url": url, "kinds": ["overdue"]}
    assert said in await refused(ask("jj-supervisor", "POST", HOOKS, body), 422, "webhook.not_allowed")


async def test_one_person_makes_only_so_many(ask: Ask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_store, "WEBHOOKS_PER_PERSON_MAX", 2)
    body = {"url": receiver.url, "kinds": ["overdue"]}
    answers = await asyncio.gather(*(ask("jj-deputy", "POST", HOOKS, body) for _ in range(4)))
    assert [one.status_code for one in answers] == [403] * 4, "the deputy's post lacks the right"
    answers = await asyncio.gather(*(ask("jj-supervisor", "POST", HOOKS, body) for _ in range(4)))
    assert sorted(one.status_code for one in answers) == [201, 201, 409, 409]


async def test_it_pauses_goes_on_is_replayed_and_shows_what_was_given_up(
    ask: Ask, receiver: Receiver, servers: Endpoints
) -> None:
    place = await told(ask("jj-supervisor", "POST", HOOKS, {"url": receiver.url, "kinds": ["arrived"]}), 201)
    path = f"{HOOKS}/{place['id']}"
    assert (await told(ask("jj-supervisor", "POST", f"{path}/pause")))["status"] == "paused"
    cases = [await told(ask("jj-window", "POST", "/intake/cases", MATTER), 201) for _ in range(2)]
    await until(ask, path, "jj-supervisor", lambda one: one["feed"] > place["feed"] + 3)
    assert receiver.got == []
    receiver.answers(422)
    assert (await told(ask("jj-supervisor", "POST", f"{path}/resume")))["status"] == "active"
    await receiver.until(2)
    state = await until(ask, path, "jj-supervisor", lambda one: one["waiting"] == 1)
    assert (state["last_error"], state["tries"]) == ("answered 422", 0)
    assert {one.item["subject"] for one in receiver.got} == {case["id"] for case in cases}
    admin = await asyncpg.connect(servers.postgres["admin"])
    await admin.execute("update supervision.webhook_items set parked_at = now(), next_at = null, attempts = 10")
    await admin.close()
    (parked,) = (await told(ask("jj-supervisor", "GET", f"{path}/parked")))["parked"]
    assert (parked["reason"], parked["kind"]) == ("answered 422", "arrived")
    await refused(ask("jj-supervisor", "POST", f"{path}/parked/1/retry"), 404, "webhook.not_parked")
    assert await told(ask("jj-supervisor", "POST", f"{path}/parked/{parked['sequence']}/retry")) == {"count": 1}
    await receiver.until(3)
    assert receiver.got[2].id == parked["item"]
    await refused(ask("jj-supervisor", "POST", f"{path}/replay", {"after": 10**12}), 422, "feed.beyond_end")
    await told(ask("jj-supervisor", "POST", f"{path}/replay", {"after": place["feed"]}))
    await receiver.until(5)
    assert len(set(receiver.ids)) == 2, "again, and with the same ids"


async def test_a_resident_is_told_by_a_gateway_that_reports_back(ask: Ask, receiver: Receiver) -> None:
    body = {"url": receiver.url, "kinds": ["notice"], "region": CITY, "numbers": True}
    gateway = await told(ask("sms-demo", "POST", HOOKS, body), 201)
    await refused(ask("sms-demo", "POST", HOOKS, body | {"region": COUNTY}), 409, "webhook.second_gateway")
    case = await told(ask("jj-window", "POST", "/intake/cases", MATTER), 201)
    (got,) = await receiver.until(1)
    assert got.is_signed_by(gateway["secret"])
    data = got.item["data"]
    assert (data["to"], data["template"]) == (NUMBER, "registered")
    assert data["text"] == TEXTS["registered"].format(number=case["number"], unit=CENTRE)
    path = f"/supervision/cases/{case['id']}/notices"
    shown = await until(ask, path, "jj-director", lambda one: one["notices"][0]["status"] == "sent")
    assert [one["id"] for one in shown["notices"]] == [got.id]
    assert NUMBER not in str(shown)
    await refused(ask("my-director", "GET", path), 403, "access.refused")
    report = f"/supervision/notices/{got.id}/delivery"
    now = datetime.now(UTC)
    word = {"status": "failed", "at": now.isoformat(), "reason": "blocked"}
    await refused(ask("jj-director", "POST", report, word), 403, "access.refused")
    await refused(ask("sms-demo", "POST", report, word | {"reason": f"no-{NUMBER}"}), 422, "request.invalid")
    await refused(ask("sms-demo", "POST", report, word | {"at": "2099-01-01T00:00:00Z"}), 422, "time.ahead")
    await refused(ask("sms-demo", "POST", report.replace(got.id, case["id"]), word), 404, "notice.unknown")
    for _ in range(2):
        said = await told(ask("sms-demo", "POST", report, word))
        assert (said["status"], said["reason"]) == ("failed", "blocked")
    later = {"status": "delivered", "at": (now + timedelta(seconds=5)).isoformat()}
    assert (await told(ask("sms-demo", "POST", report, later)))["status"] == "delivered"
    assert (await told(ask("sms-demo", "POST", report, word)))["status"] == "delivered", "the latest word stands"
    assert (await told(ask("jj-director", "GET", path)))["notices"][0]["status"] == "delivered"


async def test_a_gateway_may_report_before_we_have_its_answer(ask: Ask, receiver: Receiver) -> None:
    body = {"url": receiver.url, "kinds": ["notice"], "region": CITY, "numbers": True}
    await told(ask("sms-demo", "POST", HOOKS, body), 201)
    reported: list[httpx.Response] = []

    async def answer(got: Any, _: asyncio.StreamWriter) -> bytes:
        word = {"status": "delivered", "at": datetime.now(UTC).isoformat()}
        reported.append(await ask("sms-demo", "POST", f"/supervision/notices/{got.id}/delivery", word))
        return b"HTTP/1.1 204 Taken\r\n\r\n"

    receiver.answer = answer
    case = await told(ask("jj-window", "POST", "/intake/cases", MATTER), 201)
    path = f"/supervision/cases/{case['id']}/notices"
    await until(ask, path, "jj-director", lambda one: one["notices"][:1] and one["notices"][0]["status"] == "delivered")
    await polling.until(lambda: reported)
    assert [one.status_code for one in reported] == [200]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"informant": True}, "informant"),
        ({"parties": []}, "no_number"),
        ({"parties": [{"name": "张三"}]}, "no_number"),
        ({"parties": [{"role": "other", "phone": NUMBER}]}, "no_number"),
        ({"parties": [{"phone": "请打邻居电话"}]}, "no_number"),
    ],
)
async def test_who_cannot_or_must_not_be_told_is_not(
    ask: Ask, receiver: Receiver, changed: dict[str, Any], why: str
) -> None:
    body = {"url": receiver.url, "kinds": ["notice"], "region": CITY, "numbers": True}
    await told(ask("sms-demo", "POST", HOOKS, body), 201)
    case = await told(ask("jj-window", "POST", "/intake/cases", MATTER | changed), 201)
    path = f"/supervision/cases/{case['id']}/notices"
    found = await until(
        ask,
        path,
        "jj-director",
        lambda one: one["notices"][:1] and one["notices"][0]["status"] not in ("waiting", "sending"),
    )
    assert [(one["status"], one["reason"]) for one in found["notices"]] == [("none", why)]
    assert receiver.got == []


async def test_without_the_right_to_numbers_a_notice_is_the_bare_item(ask: Ask, receiver: Receiver) -> None:
    await told(ask("jj-supervisor", "POST", HOOKS, {"url": receiver.url, "kinds": ["notice"]}), 201)
    case = await told(ask("jj-window", "POST", "/intake/cases", MATTER), 201)
    (got,) = await receiver.until(1)
    assert (got.item["data"]["number"], got.item["data"]["template"]) == (case["number"], "registered")
    assert not {"to", "text"} & set(got.item["data"])
    assert NUMBER.encode() not in got.body


async def test_the_settled_notice_names_the_unit(ask: Ask, receiver: Receiver) -> None:
    case = await told(ask("jj-window", "POST", "/intake/cases", MATTER), 201)
    await until(ask, f"/reporting/cases/{case['id']}", "cd-director", lambda one: one["state"]["status"] == "assigned")
    body = {"url": receiver.url, "kinds": ["notice"], "region": CITY, "numbers": True}
    await told(ask("sms-demo", "POST", HOOKS, body), 201)
    head = f"/routing/cases/{case['id']}"
    await told(ask("jj-housing", "POST", f"{head}/sign-for", {"unit": HOUSING, "person": "jj-housing-1"}))
    await told(ask("jj-housing-1", "POST", f"{head}/settle", SETTLE))
    await receiver.until(1)
    texts = [one.item["data"]["text"] for one in receiver.got if one.item["subject"] == case["id"]]
    assert texts == [TEXTS["settled"].format(number=case["number"], unit="成都市锦江区住房和城乡建设局")]


async def test_an_order_is_told_to_who_watches_the_region(ask: Ask, receiver: Receiver) -> None:
    case = await told(ask("jj-window", "POST", "/intake/cases", MATTER), 201)
    await told(ask("jj-supervisor", "POST", HOOKS, {"url": receiver.url, "kinds": ["ordered"]}), 201)
    due = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    body = {"kind": "ordinary", "region": COUNTY, "unit": HOUSING, "cases": [case["id"]], "due": due, "note": NOTE}
    order = await told(ask("jj-supervisor", "POST", "/supervision/orders", body), 201)
    await receiver.until(2)
    assert {one.item["subject"] for one in receiver.got} == {order["id"], case["id"]}
