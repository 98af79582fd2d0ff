"""Submissions over the real servers: a platform publishes with its own user and hears of everything exactly once."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.errors import NoRespondersError

from shared.case.rights import Right
from shared.kit.failpoints import FailpointHit, Failpoints
from shared.log.connection import connect
from shared.log.streams import Streams
from shared.reference.documents import DocumentKind
from shared.reference.publish import publish
from shared.reference.reference_data import ReferenceData
from tests.support.platforms import World, open_world, services
from tests.support.polling import WAIT_S_MAX, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
WORDS = "电梯停运一个月没人修"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("retry", "submissions", "reactions"):
            patch.setattr(f"shared.kit.{module}.DELAY_S_MIN", 0.01)  # what fails comes again at once
        async with open_world() as opened:
            yield opened


def demand(**more: Any) -> dict[str, Any]:
    return {
        "channel": "app",
        "region": "510104017000",
        "nature": "complaint",
        "title": "物业不修电梯",
        "text": WORDS,
        "parties": [{"name": "张三丰", "phone": "13812345678"}],
    } | more


async def test_published_while_nobody_runs_then_followed_to_its_end(world: World) -> None:
    id, sequence = await world.submit("register", demand())
    assert await world.last(f"receipt.demo.{id}") is None
    async with services(world) as web:
        receipt = await world.receipt(id)
        assert (receipt["type"], receipt["sequence"]) == ("submission.accepted", sequence)
        number, case = receipt["data"]["number"], receipt["data"]["id"]
        assert WORDS not in json.dumps(receipt, ensure_ascii=False)
        await world.step(number, "assigned")
        unit = "510104000000-housing"
        for command, data in (
            ("sign-for", {"unit": unit, "person": "jj-housing-1"}),
            ("progress", {"unit": unit, "note": {"text": "已约谈物业公司"}, "contacted": True}),
            ("settle", {"outcome": "solved", "reply": {"text": "电梯已修复"}, "basis": "物业管理条例"}),
        ):
            other, _ = await submit_on(world, number, command, data)
            assert (await world.receipt(other))["type"] == "submission.accepted"
        called = {"contacted": True, "outcome": "solved", "satisfaction": "satisfied"}
        head = {"Authorization": "Bearer demo-jj-callback"}
        assert (await web.post(f"/intake/cases/{case}/call-back", json=called, headers=head)).status_code == 200
        closed = await world.step(number, "closed")
        assert closed["data"]["status"] == "closed"
    told = [one["data"] for one in await world.all("PROGRESS", f"progress.demo.{number}")]
    assert [one["step"] for one in told] == ["registered", "assigned", "handling", "progressed", "settled", "closed"]
    assert [one["version"] for one in told] == sorted({one["version"] for one in told})
    assert {one["number"] for one in told} == {number}


async def submit_on(world: World, number: str, command: str, data: Any, id: str = "") -> tuple[str, int]:
    """A command on a case: its number is the CloudEvent's subject."""
    return await world.submit(command, data, id=id, case=number)


async def test_many_kinds_of_rubbish_each_get_their_refusal(world: World) -> None:
    rows: dict[str, tuple[bytes, str, str]] = {}

    def add(name: str, code: str, place: str | None = None, raw: bytes | None = None, **event: Any) -> None:
        body = {"specversion": "1.0", "id": name, "source": "demo", "type": "command.register", "data": demand()}
        body |= event
        rows[name] = (raw if raw is not None else json.dumps(body).encode(), code, place or name)

    add("raw", "submission.not_json", "seq", raw=b"\xff{")
    add("empty", "submission.not_json", "seq", raw=b"")
    add("surrogate", "submission.not_json", "seq", raw=b'{"id": "\\ud800"}')
    add("deep", "submission.not_json", "seq", raw=b"[" * 20_000)
    add("list", "submission.not_cloudevent", "seq", raw=b"[1]")
    add("no-id", "submission.not_cloudevent", "seq", id=None)
    add("long-id", "submission.not_cloudevent", "seq", id="x" * 129)
    add("own-id", "submission.not_cloudevent", "seq", id="seq-1")
    add("old-version", "submission.not_cloudevent", specversion="0.3")
    add("no-data", "submission.not_cloudevent", data=None)
    add("time-words", "submission.not_cloudevent", time="gestern")
    add("naive-time", "submission.not_cloudevent", time="2026-03-02T09:00:00")
    add("xml", "submission.not_cloudevent", datacontenttype="application/xml")
    add("gbk-json", "submission.not_cloudevent", datacontenttype="application/json; charset=gbk")
    add("unknown", "command.unknown", type="command.fly")
    add("an-event", "submission.not_cloudevent", type="case.registered")
    add("internal", "command.internal", type="command.merge", subject="FJ5M-00001-X")
    add("other-source", "source.differs", source="other")
    add("no-case", "request.invalid", type="command.withdraw", data={"note": {"text": "x"}}, subject=None)
    add("absent-case", "not.found", type="command.withdraw", data={"note": {"text": "x"}}, subject="FJ5M-99999-X")
    add("extra", "request.invalid", data=demand(parent="x"))
    add("wrong-type", "request.invalid", data=demand(people_count="many"))
    add("sealed", "request.invalid", type="command.withdraw", data={"note": "seal1.AAAA.BBBB"}, subject="x")
    add("too-long", "request.invalid", data=demand(text="长" * 10_001))
    add("data-time", "request.invalid", data=demand(time="2026-03-02T09:00:00Z"))
    add("elsewhere", "region.outside", data=demand(region="510703000000"))
    add("no-region", "region.unknown", data=demand(region="510104017999"))
    add("future", "time.ahead", time="2999-01-01T00:00:00Z")
    add("long-ago", "time.too_far_back", time="2020-01-01T00:00:00Z")
    add("contact", "contact_after_registration", data=demand(contact_time="2999-01-01T00:00:00Z"))
    order: dict[str, Any] = {
        "kind": "ordinary",
        "region": "510104017000",
        "unit": "510104000000-housing",
        "cases": ["x"],
    }
    order |= {"note": {"text": "x"}, "due": "2999-01-01T00:00:00Z"}
    add("an-order", "command.not_for_platforms", type="command.issue-order", data=order)
    places = {name: (place, await world.publish(raw)) for name, (raw, _, place) in rows.items()}
    async with services(world):
        wrong = {}
        for name, (place, sequence) in places.items():
            receipt = await world.receipt(f"seq-{sequence}" if place == "seq" else place)
            assert receipt["type"] == "submission.refused", receipt
            if receipt["data"]["code"] != rows[name][1]:
                wrong[name] = receipt["data"]
            assert WORDS not in json.dumps(receipt, ensure_ascii=False)
            assert receipt["data"]["status"] < 500
            assert receipt["data"]["detail"]
        assert wrong == {}


async def test_another_name_or_area_is_refused_by_the_server(world: World) -> None:
    for subject in ("submit.other.51.01.04.017.000", "submit.demo.44.01.04.017.000"):
        with pytest.raises((TimeoutError, NoRespondersError)):
            await world.platform.request(subject, b"{}", timeout=0.3)


async def test_the_same_id_means_the_same_submission(world: World) -> None:
    async with services(world):
        id, first = await world.submit("register", demand())
        receipt = await world.receipt(id)
        number = receipt["data"]["number"]
        again, _ = await world.submit("register", demand(), id=id)
        assert again == id
        _, other = await world.submit("register", demand(title="另一件事"), id=id)
        refused = await world.receipt(f"seq-{other}")
        assert (refused["data"]["code"], refused["subject"]) == ("idempotency.key_reused", f"seq-{other}")
        _, crossing = await submit_on(world, number, "withdraw", {"note": {"text": "不要了"}}, id=id)
        assert (await world.receipt(f"seq-{crossing}"))["data"]["code"] == "idempotency.key_reused"
        _, routed = await submit_on(world, number, "progress", {"unit": "510104000000-housing"}, id=id)
        assert (await world.receipt(f"seq-{routed}"))["type"] == "submission.refused"
        await world.step(number, "assigned")
        done, _ = await submit_on(world, number, "supplement", {"note": {"text": "补充"}})
        assert (await world.receipt(done))["type"] == "submission.accepted"
        _, changed = await submit_on(world, number, "supplement", {"note": {"text": "别的"}}, id=done)
        assert (await world.receipt(f"seq-{changed}"))["data"]["code"] == "idempotency.key_reused"
        assert await world.receipt(id) == receipt
        assert receipt["sequence"] == first
    steps = Counter(one["data"]["step"] for one in await world.all("PROGRESS", f"progress.demo.{number}"))
    assert steps == {"registered": 1, "assigned": 1, "supplemented": 1}


POINTS = (
    "intake.register.claimed",
    "handle.loaded",
    "handle.decided",
    "handle.appended",
    "application.created",
    "intake.receipt.published",
)


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_between_any_two_steps_changes_nothing(world: World, point: str) -> None:
    id, sequence = await world.submit("register", demand(title=f"物业故障点 {POINTS.index(point)}"))
    left = [1 if point == "intake.receipt.published" else 2]  # the second try breaks too, while there is one to break

    async def hook(name: str) -> None:
        if name == point and left[0]:
            left[0] -= 1
            raise FailpointHit(name)

    async with services(world, Failpoints(hook)):
        receipt = await world.receipt(id)
        assert receipt["type"] == "submission.accepted"
        number = receipt["data"]["number"]
        await world.step(number, "assigned")
        await until(lambda: gone(world, sequence))
    assert left == [0]
    assert len(await world.all("RECEIPTS", f"receipt.demo.{id}")) == 1
    assert len(await world.all("RECEIPTS", f"receipt.demo.seq-{sequence}")) == 0
    steps = Counter(one["data"]["step"] for one in await world.all("PROGRESS", f"progress.demo.{number}"))
    assert steps == {"registered": 1, "assigned": 1}


async def gone(world: World, sequence: int) -> bool:
    """Whether the submission is wiped from the stream."""
    try:
        await world.admin.jetstream().get_msg("SUBMISSIONS", seq=sequence)
    except nats.js.errors.NotFoundError:
        return True
    return False


async def test_poison_is_parked_with_a_receipt_that_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.kit.submissions.ATTEMPTS_COUNT_MAX", 2)
    id, sequence = await world.submit("register", demand())

    async def hook(name: str) -> None:
        if name == "intake.register.claimed":
            raise RuntimeError(WORDS)

    failpoints = Failpoints(hook)
    async with services(world, failpoints):
        receipt = await world.receipt(id)
        await until(lambda: gone(world, sequence))
        assert receipt["data"]["code"] == "submission.parked"
        failpoints.hook = None  # repaired
        _, later = await world.submit("register", demand(), id=id)
        assert (await world.receipt(f"seq-{later}"))["type"] == "submission.accepted"
    parked = await world.all("PARKED", "parked.intake.submissions")
    assert parked[-1] == {"source": "demo", "sequence": sequence, "command": "register", "reason": "RuntimeError"}


async def test_a_durable_that_is_deleted_is_made_anew_and_nothing_is_done_twice(world: World) -> None:
    async with services(world):
        first, _ = await world.submit("register", demand(title="删除之前"))
        number = (await world.receipt(first))["data"]["number"]
        for owner in ("intake", "routing"):
            assert await world.admin.jetstream().delete_consumer("SUBMISSIONS", f"{owner}-submissions")
        again, sequence = await world.submit("register", demand(title="删除之后"))
        assert (await world.receipt(again))["sequence"] == sequence
        done, _ = await submit_on(world, number, "supplement", {"note": {"text": "补充"}})
        assert (await world.receipt(done))["type"] == "submission.accepted"


async def test_a_platform_has_only_its_own_cases_in_hand(world: World) -> None:
    async with services(world) as web:
        head = {"Authorization": "Bearer demo-jj-window"}
        made = (await web.post("/intake/cases", json=demand(), headers=head)).json()
        id, _ = await submit_on(world, made["number"], "withdraw", {"note": {"text": "撤回"}})
        receipt = await world.receipt(id)
        assert (receipt["type"], receipt["data"]["code"]) == ("submission.refused", "access.refused")


async def test_commands_on_one_case_keep_their_order(world: World) -> None:
    """All three at once, without waiting for receipts; the first is broken once and the rest wait for it."""
    async with services(world):
        id, _ = await world.submit("register", demand())
        number = (await world.receipt(id))["data"]["number"]
        await world.step(number, "assigned")
    unit = "510104000000-housing"
    ids = [
        (await submit_on(world, number, command, data))[0]
        for command, data in (
            ("sign-for", {"unit": unit, "person": "jj-housing-1"}),
            ("progress", {"unit": unit, "note": {"text": "已约谈"}}),
            ("settle", {"outcome": "solved", "reply": {"text": "好了"}, "basis": "条例"}),
        )
    ]
    broken = [True]

    async def hook(name: str) -> None:
        if name == "handle.decided" and broken:
            broken.clear()
            raise FailpointHit(name)

    async with services(world, Failpoints(hook)):
        for id in ids:
            assert (await world.receipt(id))["type"] == "submission.accepted"
    assert not broken


async def test_what_is_answered_lies_in_no_stream_in_the_open(world: World) -> None:
    marker = "标记词七三九一"
    await world.submit("register", demand(text=marker))
    bad, _ = await world.submit("register", demand(title=marker, people_count="many"))
    sequence = await world.publish(f'{{"text": "{marker}"'.encode())
    js = world.admin.jetstream()
    assert any(marker.encode() in one for one in await everything(world)) or b"\\u6807" in b"".join(
        await everything(world)
    ), "the search finds what is there"
    async with services(world):
        await world.receipt(bad)
        await world.receipt(f"seq-{sequence}")
        await until(lambda: empty(world))
    escaped = json.dumps(marker)[1:-1].encode()
    assert [one for one in await everything(world) if marker.encode() in one or escaped in one] == []
    assert (await js.stream_info("SUBMISSIONS")).state.messages == 0


async def empty(world: World) -> bool:
    return (await world.admin.jetstream().stream_info("SUBMISSIONS")).state.messages == 0


async def everything(world: World) -> list[bytes]:
    """Every message of every stream, as it lies there."""
    js, found = world.admin.jetstream(), []
    for stream in await js.streams_info():
        assert stream.config.name is not None
        for sequence in range(1, stream.state.last_seq + 1):
            try:
                message = await js.get_msg(stream.config.name, seq=sequence)
            except nats.js.errors.NotFoundError:
                continue
            found.append(message.data or b"")
    return found


async def test_what_a_service_fills_in_over_http_it_fills_in_here_too(world: World) -> None:
    await grant(world, Right.SUSPEND)
    async with services(world) as web:
        id, _ = await world.submit("register", demand(nature="help", title="一件小事", text="想请人帮忙看看。"))
        told = (await world.receipt(id))["data"]
        path = f"/supervision/cases/{told['id']}/deadlines"

        async def clocks() -> Any:
            answer = await web.get(path, headers={"Authorization": "Bearer demo-jj-director"})
            return answer.json()["clocks"]

        (before,) = await until(clocks)
        pause = {"stage": "triage", "cause": "papers", "note": {"text": "等材料"}}
        paused, _ = await submit_on(world, told["number"], "suspend", pause)
        assert (await world.receipt(paused))["type"] == "submission.accepted"
        own, _ = await submit_on(world, told["number"], "resume", {"deadline": {"due": "2099-01-01T00:00:00Z"}})
        assert (await world.receipt(own))["data"]["code"] == "request.invalid"
        goes_on, _ = await submit_on(world, told["number"], "resume", {})
        assert (await world.receipt(goes_on))["type"] == "submission.accepted"
        again, _ = await submit_on(world, told["number"], "resume", {})
        assert (await world.receipt(again))["data"]["code"] == "not_suspended"
        (after,) = await clocks()
        assert (after["state"], after["pauses"], after["due"]) == ("running", 1, before["due"])


async def grant(world: World, right: Right) -> None:
    """Platforms may do this from now on."""
    connection = await connect(world.endpoints.nats["admin"], name="test")
    try:
        library = ReferenceData()
        await library.load(Streams(connection))
        posts = library.document(DocumentKind.POSTS, "510000000000")
        assert posts is not None
        rows = [r.model_copy(update={"rights": (*r.rights, right)}) if r.key == "platform" else r for r in posts.rows]
        await publish(Streams(connection), [posts.model_copy(update={"rows": tuple(rows)})])
    finally:
        await connection.close()


def snippet(number: int) -> str:
    """The Python of the page for platforms, as it is written there."""
    page = (Path(__file__).parents[2] / "docs" / "platforms.md").read_text()
    return page.split("```python\n")[number].split("```", 1)[0]


async def test_the_page_for_platforms_runs_as_it_is_written(world: World, tmp_path: Path) -> None:
    (tmp_path / "platform_demo.py").write_text(snippet(1))
    environment = {**os.environ, "PLATFORM_URL": world.endpoints.platforms["demo"]}
    pipe = asyncio.subprocess.PIPE
    async with services(world):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "platform_demo.py", stdout=pipe, stderr=pipe, cwd=tmp_path, env=environment
        )
        async with asyncio.timeout(WAIT_S_MAX):
            out, problems = await process.communicate()
    assert process.returncode == 0, problems.decode()
    assert "submission.accepted" in out.decode()
    assert "assigned to 510104000000-housing" in out.decode()


async def test_the_test_of_the_page_for_platforms_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snippet_of_the_page.py").write_text(snippet(2))
    monkeypatch.syspath_prepend(tmp_path)
    await importlib.import_module("snippet_of_the_page").test_a_complaint_and_its_receipt()
