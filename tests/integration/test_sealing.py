"""Facts in the open, content sealed: nothing a resident, a desk or a platform wrote stands in the clear anywhere.

Everything runs: the servers, the services, HTTP, NATS, traces to a collector. Then all that is left behind is searched.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest

from infra.servers.partners import DEMO_PLATFORM
from shared.case.base import Actor, Address, Meta, Owner, new_id
from shared.case.commands import COMMANDS
from shared.kit.clock import SystemClock
from shared.kit.command_handler import CommandHandler, Committed, command
from shared.kit.runtime import Runtime
from shared.kit.vault import MasterKeys, MemoryVault
from shared.log.port import for_owner
from shared.log.streams import Streams
from tests.support.client import COUNTY, HOUSING, POLICE, TOWNSHIP, Desk
from tests.support.leaks import CHINESE, CORES, DIGITS, LATIN, everywhere, files, forms, leaks, messages, tables
from tests.support.stack import Stack, stack_in, until

BOTH = f"{CHINESE} {LATIN} {DIGITS}"
NOTE = {"text": f"备注 {BOTH}", "file_names": [f"{BOTH}.txt"]}
PARTY = {"name": CHINESE, "phone": DIGITS, "id_number": f"{DIGITS}0", "address": f"{LATIN} 路 {DIGITS} 号"}
MATTER = {"title": f"小区物业 {BOTH}", "text": f"文 {BOTH} 物业", "address": BOTH}
DEMAND: dict[str, Any] = {"channel": "visit", "region": TOWNSHIP, "nature": "complaint", "parties": [PARTY], **MATTER}
FILE = (f"{BOTH}.pdf", BOTH.encode() * 50 + BOTH.encode("utf-16-le"), "application/pdf")
BIRTHS = ("/intake/cases", "/intake/cases-with-attachments")
FAR = "2099-01-01T00:00:00+08:00"


class Collector:
    """Takes what an OTLP exporter sends, and keeps it."""

    def __init__(self) -> None:
        kept = self.kept = bytearray()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.extend(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


@pytest.fixture
def gateway() -> Iterator[Collector]:
    """A gateway for text messages: the one who may know the resident's number, and takes whatever comes."""
    one = Collector()
    yield one
    one.close()


@pytest.fixture(scope="module")
def stack(collector: Collector) -> Iterator[Stack]:
    with stack_in("sealing", CASEFLOW_OTLP_ENDPOINT=collector.url) as one:
        one.start(log_level="debug")
        yield one


@pytest.fixture(scope="module")
def desk(stack: Stack) -> Iterator[Desk]:
    with closing(Desk(stack.url)) as one:
        yield one


def all_that_is_written(desk: Desk) -> str:
    """One case and its kin through every command that takes words; the id of the case."""
    form, upload = {"case": json.dumps(DEMAND)}, [("files", FILE)]
    told = desk.send("POST", "jj-window", "/intake/cases-with-attachments", data=form, files=upload)
    assert told.status_code == 201, told.text
    id = told.json()["id"]
    desk.until(id, status="assigned")
    contact = desk.timeline(id)["timeline"][0]["facts"]["contact_time"]
    note = {"note": NOTE}
    repeat = {"channel": "call", "contact_time": contact, "matter": MATTER, "reporter": {"parties": [PARTY]}}
    back = {"unit": HOUSING, "basis": "职责", **note}
    reply = {"outcome": "solved", "reply": NOTE, "basis": "条例"}
    for person, service, name, body in (
        ("jj-window", "intake", "supplement", note),
        ("jj-window", "intake", "correct", {"matter": MATTER, **note}),
        ("jj-window", "intake", "attach", repeat),
        ("jj-housing", "routing", "hand-back", back),
        ("jj-director", "routing", "rule", {**back, "co_units": [POLICE]}),
        ("jj-housing", "routing", "sign-for", {"unit": HOUSING, "person": "jj-housing-1"}),
        ("jj-housing", "routing", "reassign", {"unit": HOUSING, "person": "jj-housing", **note}),
        ("jj-housing", "routing", "progress", {"unit": HOUSING, **note}),
        ("jj-police", "routing", "co-report", {"unit": POLICE, **note}),
        ("jj-supervisor", "supervision", "urge", {"unit": HOUSING, **note}),
        ("jj-director", "supervision", "hold", {"hold": "legal", **note}),
        ("jj-housing", "routing", "settle", reply),
        ("jj-callback", "intake", "call-back", {"contacted": False, **note}),
        ("jj-director", "routing", "send-back", note),
        ("jj-police", "routing", "co-report", {"unit": POLICE, **note}),
        ("jj-housing", "routing", "settle", reply),
        ("jj-director", "routing", "close", {}),
        ("jj-director", "routing", "reopen", note),
        ("jj-director", "supervision", "escalate", {"to": COUNTY, **note}),
        ("jj-director", "supervision", "hand-down", {"to": TOWNSHIP, **note}),
        ("jj-director", "routing", "transfer", {"to": COUNTY, **note}),
    ):
        desk.ok(person, f"/{service}/cases/{id}/{name}", body)
    rating = {"satisfaction": "satisfied", "text": BOTH}
    other = desk.register(**{**DEMAND, "answer": BOTH})
    rated = desk.send("POST", None, f"/intake/public/{other.number}/rate", params={"secret": other.secret}, json=rating)
    assert rated.status_code == 200, rated.text
    ends(desk)
    return str(id)


def gateway_to(desk: Desk, url: str) -> str:
    """Notices to residents go there, with their numbers; the secret that signs them."""
    body = {"url": url, "kinds": ["notice"], "region": COUNTY, "numbers": True}
    return str(desk.ok("sms-demo", "/supervision/webhooks", body)["secret"])


def secret_leaks(stack: Stack, secret: str) -> list[str]:
    """Where a webhook's secret stands in the clear."""
    key = b64decode(secret.removeprefix("whsec_"))
    needles = key, key.hex().encode(), secret.removeprefix("whsec_").encode()
    places = [*files(stack.data), *asyncio.run(tables(stack)), (str(stack.output), stack.output.read_bytes())]
    return [name for name, data in places if any(needle in data for needle in needles)]


def ends(desk: Desk) -> None:
    """The ways a case may end other than by closing, and an order with its answer."""
    plain = {"title": BOTH, "text": BOTH}
    note = {"note": NOTE}
    declined, withdrawn, split, ordered = (desk.waiting(**plain) for _ in range(4))
    desk.ok("jj-triage", f"/routing/cases/{declined.id}/decline",
            {"reason": "in_litigation", "legal_path": "法院", **note})  # fmt: skip
    desk.ok("jj-window", f"/intake/cases/{withdrawn.id}/withdraw", note)
    parts = [{"region": TOWNSHIP, "nature": "help"}] * 2
    desk.ok("jj-triage", f"/routing/cases/{split.id}/split", {"parts": parts, "matters": {"matters": [MATTER] * 2}})
    order = {"kind": "ordinary", "region": COUNTY, "unit": HOUSING, "cases": [ordered.id], "due": FAR, **note}
    issued = desk.ok("jj-supervisor", "/supervision/orders", order)
    desk.until(ordered.id, orders=[issued["id"]])
    housing, supervisor = ("jj-housing", "answer-order"), "jj-supervisor"
    for person, name in (housing, (supervisor, "refuse-answer"), housing, (supervisor, "accept-answer")):
        desk.ok(person, f"/supervision/orders/{issued['id']}/{name}", note)
    hand_over = {"region": COUNTY, "from_person": "jj-housing", "to_person": "jj-housing-1", "reason": BOTH}
    assert desk.post("jj-housing", "/routing/hand-over", hand_over).status_code == 200


def all_that_is_refused(desk: Desk) -> list[bytes]:
    """Content in requests that are malformed, forbidden or against the law; what was answered."""
    case = desk.waiting()
    path = f"/routing/cases/{case.id}"
    bodies: list[tuple[str, str, Any]] = [
        ("jj-window", "/intake/cases", {**DEMAND, "title": BOTH * 100}),
        ("jj-window", "/intake/cases", {**DEMAND, "text": BOTH * 1000}),
        ("jj-window", "/intake/cases", {**DEMAND, BOTH: CHINESE, CHINESE: LATIN}),
        ("jj-window", "/intake/cases", {**DEMAND, "nature": BOTH, "region": DIGITS, "time": BOTH, "channel": BOTH}),
        ("jj-window", "/intake/cases", {**DEMAND, "parties": [{BOTH: 1}, BOTH], "title": {BOTH: BOTH}}),
        ("jj-window", "/intake/cases", {**DEMAND, "first_asked": LATIN, "complained_unit": BOTH}),
        ("jj-window", "/intake/cases", {**DEMAND, "time": FAR}),
        ("fc-window", "/intake/cases", DEMAND),
        ("nobody", "/intake/cases", DEMAND),
        (LATIN, "/intake/cases", DEMAND),
        ("jj-director", f"{path}/settle", {"outcome": "solved", "reply": NOTE, "basis": "条例"}),
        ("jj-director", f"{path}/reopen", {"note": NOTE}),
        ("jj-director", f"{path}/triage", {"unit": BOTH, "subject": BOTH}),
        ("jj-director", f"{path}/no-such-command", {"note": NOTE}),
        ("jj-director", f"/routing/cases/{BOTH}/close", {"basis": BOTH}),
        ("jj-supervisor", "/supervision/orders", {"kind": BOTH, "cases": [BOTH], "note": NOTE}),
        ("jj-director", "/routing/hand-over", {"region": COUNTY, "from_person": LATIN, "reason": BOTH}),
    ]
    answers = [desk.post(person, to, body) for person, to, body in bodies]
    raw = (
        ("application/json", f'{{"title": "{BOTH}", '.encode()),
        ("application/json", BOTH.encode("utf-16")),
        ("text/plain", BOTH.encode()),
        ("application/x-www-form-urlencoded", f"title={BOTH}".encode()),
        ("multipart/form-data; boundary=x", f"--x\r\nContent-Disposition: form-data; name={LATIN}\r\n\r\n".encode()),
        ("application/json", BOTH.encode() * 40_000),
    )
    for kind, data in raw:
        headers = {"Content-Type": kind}
        answers += [desk.send("POST", "jj-window", to, content=data, headers=headers) for to in BIRTHS]
    upload = {"file": (f"{BOTH}.png", BOTH.encode(), "nonsense")}
    answers.append(desk.send("POST", "jj-window", f"/intake/cases/{case.id}/attachments", files=upload))
    queries = f"/intake/public/{BOTH}", f"/intake/public/{case.number}", f"/routing/queue?page={BOTH}&cursor={BOTH}"
    in_header, in_address = {"Case-Secret": BOTH.encode()}, {"secret": BOTH, "after": BOTH}
    answers += [desk.send("GET", "jj-triage", query, headers=in_header) for query in queries]
    answers += [desk.client.get(query, params=in_address) for query in queries]
    key = {"Idempotency-Key": f"{LATIN} with spaces"}
    answers.append(desk.send("POST", "jj-window", "/intake/cases", json=DEMAND, headers=key))
    assert all(400 <= answer.status_code < 500 for answer in answers), [(a.url.path, a.status_code) for a in answers]
    return [answer.content for answer in answers]


async def all_that_is_submitted(stack: Stack) -> None:
    """Content in submissions over NATS: taken, refused by the law, malformed; until each has its receipt."""
    async with stack.connection() as admin:
        port = admin.client.connected_url.port if admin.client.connected_url else 0
    url = f"nats://{DEMO_PLATFORM.user}:{stack.passwords()[DEMO_PLATFORM.user]}@127.0.0.1:{port}"
    platform = await nats.connect(url, inbox_prefix=DEMO_PLATFORM.inbox_prefix.encode())
    event = {"specversion": "1.0", "source": "demo", "type": "command.register"}
    demand = {**DEMAND, "channel": "app"}
    sent = [
        json.dumps(event | {"id": "good", "data": demand}),
        json.dumps(event | {"id": "bad", "data": {**demand, "nature": BOTH, BOTH: LATIN}}),
        json.dumps(event | {"id": "strange", "type": "command.rumour", "data": demand}),
        json.dumps(event | {"id": "escaped", "data": {"title": BOTH}}, ensure_ascii=True),
        f'{{"id": "half", "data": {{"title": "{BOTH}',
        BOTH,
    ]
    answers = []
    for data in sent:
        ack = await platform.request("submit.demo.51.01.04.017.000", data.encode())
        answers.append(int(json.loads(ack.data)["seq"]))
    await platform.close()
    end = time.monotonic() + 20
    async with stack.connection() as nats_connection:
        while len(await Streams(nats_connection).read("RECEIPTS", ">")) < len(sent):
            assert time.monotonic() < end, "a submission ended in silence"
            await asyncio.sleep(0.05)


def test_nothing_written_refused_or_submitted_stands_in_the_clear_and_search_still_finds_it(
    stack: Stack, desk: Desk, collector: Collector, gateway: Collector
) -> None:
    secret = gateway_to(desk, gateway.url)
    case = all_that_is_written(desk)
    problems = all_that_is_refused(desk)
    asyncio.run(all_that_is_submitted(stack))
    last = desk.waiting()
    for word in CORES:
        told = desk.get("jj-director", "/reporting/cases", q=word, after=last.position, limit=200).json()
        assert case in [one["id"] for one in told["cases"]], f"the search for {word} finds the case"
    until(lambda: len(collector.kept) > 10_000, "traces arrive", 20)
    until(lambda: gateway.kept.count(DIGITS.encode()) >= 3, "the gateway is told the resident's number", 20)
    metrics = {f"metrics of {s}": desk.get(None, f"/{s}/metrics").content for s in Owner}
    more = {"traces": bytes(collector.kept), **{f"problem {at}": told for at, told in enumerate(problems)}, **metrics}
    assert stack.stop() == 0
    stack.start(log_level="debug")  # what was in memory is on disk now
    found = asyncio.run(everywhere(stack, more))
    assert not found, "\n".join(f"{leak.source}: {leak.encoding}" for leak in found[:40])
    assert secret_leaks(stack, secret) == []


@pytest.mark.deep
@pytest.mark.timeout(300)
def test_a_parked_message_says_what_and_why_without_the_content(stack: Stack) -> None:
    clock = SystemClock()
    meta = Meta(
        command_id="poison", time=clock.now(), recorded_at=clock.now(),
        actor=Actor(person="jj-window", post="window-clerk", unit=f"{COUNTY}-centre", centre=COUNTY, region=COUNTY),
    )  # fmt: skip
    facts = COMMANDS["register"].facts.model_validate({
        "channel": "visit", "region": TOWNSHIP, "nature": "help", "matter": MATTER, "first_asked": "jj-window",
        "first_asked_unit": f"{COUNTY}-centre", "contact_time": meta.time,
    })  # fmt: skip
    address = Address("case", TOWNSHIP, new_id(TOWNSHIP, "poison"))

    async def park() -> list[bytes]:
        vault = MemoryVault(MasterKeys((bytes(32),)), clock)
        await vault.new_keys(None, [(address.id, address.region)])
        async with stack.log() as log, stack.connection() as nats_connection:
            handler = CommandHandler(log=for_owner(log, Owner.INTAKE), vault=vault, runtime=Runtime.of(clock))
            assert isinstance(await handler.handle(command(address, meta, "register", facts)), Committed)
            end = time.monotonic() + 90
            while not (parked := await Streams(nats_connection).read("PARKED", ">")):
                assert time.monotonic() < end, f"a message that cannot be worked is parked: {stack.text[-3000:]}"
                await asyncio.sleep(0.5)
        return [one.data for one in parked]

    told = json.loads(asyncio.run(park())[0])
    assert (told["type"], told["reason"]) == ("case.registered", "KeyMissing")
    assert asyncio.run(everywhere(stack, {})) == []


@pytest.mark.parametrize("writing", sorted(forms(LATIN)))
@pytest.mark.parametrize("core", [CHINESE, LATIN, DIGITS], ids=["Chinese", "Latin", "digits"])
def test_the_search_finds_content_in_every_writing(tmp_path: Path, core: str, writing: str) -> None:
    place = tmp_path / "deep" / "file"
    place.parent.mkdir()
    place.write_bytes(b"\x00\xff before" + forms(core)[writing] + b"after \x00")
    assert f"{core} as {writing}" in [leak.encoding for leak in leaks(files(tmp_path))]


def test_the_search_finds_what_is_planted_in_a_table_a_message_an_object_a_file_and_the_output(stack: Stack) -> None:
    async def plant() -> None:
        connection = await asyncpg.connect(stack.postgres_dsn())
        await connection.execute("create table public.planted (told bytea, words text)")
        await connection.execute("insert into public.planted values ($1, $2)", LATIN.encode(), CHINESE)
        await connection.close()
        async with stack.connection() as nats_connection:
            streams = Streams(nats_connection)
            await streams.publish("progress.planted.1", BOTH.encode())
            await streams.publish("progress.planted.2", b"-", {"Title": LATIN})
            await streams.put("planted", BOTH.encode() * 10)

    asyncio.run(plant())
    assert {leak.source for leak in leaks(asyncio.run(tables(stack)))} == {"table public.planted"}
    in_streams = {leak.source.partition(" at ")[0] for leak in leaks(asyncio.run(messages(stack)))}
    assert in_streams == {"stream PROGRESS", "stream OBJ_ATTACHMENTS", "object planted"}
    (stack.data / "logs" / "planted.log").write_text(BOTH)
    assert any("planted.log" in leak.source for leak in leaks(files(stack.data)))
    with open(stack.output, "a") as output:
        output.write(BOTH)
    assert "output of the process" in {leak.source for leak in asyncio.run(everywhere(stack, {}))}


def test_the_collector_of_traces_sees_what_spans_say(collector: Collector) -> None:
    until(lambda: b"/cases" in collector.kept or b"http" in collector.kept, "traces that were searched", 10)
