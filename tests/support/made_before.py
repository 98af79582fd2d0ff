"""The data folder in tests/data/made_before.tar.xz: `python -m tests.support.made_before` makes it anew.

All of caseflow runs for a minute. People, a platform, an import and timers bring nearly every event type onto the log.
Then it stops cleanly and the folder is packed. made_before.json beside it states the content of the folder.
A changed program must read the folder as it is. The folder is made anew only to add a new event type.
"""

from __future__ import annotations

import asyncio
import base64
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import nats

from infra.servers.folder import Folder
from infra.servers.partners import DEMO_PLATFORM
from infra.servers.programs import postgres_programs, postgres_runner
from shared.log.streams import Streams
from shared.log.topology import FEED
from shared.reference.calendars import CalendarRow
from shared.reference.documents import Document, DocumentKind
from shared.reference.load import demo_documents
from shared.reference.publish import publish, with_years
from tests.support.client import CITY, COUNTY, ERASE, HOUSING, MATTER, NOTE, POLICE, SETTLE, TOWNSHIP, Case, Desk
from tests.support.command import ROOT
from tests.support.platforms import SUBJECT
from tests.support.receivers import Receiver, receiving
from tests.support.short_limits import HASTY, LONG, begun, in_handling, publish_short_limits, until_clock
from tests.support.stack import Stack, stack_in, until
from tests.support.stack_judge import assert_clean

ARCHIVE = ROOT / "tests" / "data" / "made_before.tar.xz"
FACTS = ARCHIVE.with_name("made_before.json")
SAMPLE, MAPPING = (ROOT / "tests" / "support" / f"messages.{ending}" for ending in ("csv", "yaml"))
LISTENER = "cd-supervisor"
HAPPY = {"contacted": True, "outcome": "solved", "satisfaction": "satisfied"}
UNHAPPY = {"contacted": True, "outcome": "unsolved", "satisfaction": "dissatisfied", "note": NOTE}
BACK = {"unit": HOUSING, "basis": "不属于本部门职责", "note": NOTE}
HELD = {"hold": "legal", "note": NOTE}
PICTURE = base64.b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
FILE = ("楼道照片.png", PICTURE, "image/png")
CALENDARS_S = 40.0  # a published calendar is applied twice, HEARD_S_MAX seconds apart
LEFT_OUT = ("run", "logs", "lock", "rebuild", "postgres/postmaster.opts")  # each start makes them


def on(desk: Desk, service: str, case: Case) -> Callable[..., dict[str, Any]]:
    """Commands of a service on a case: `ask("jj-window", "withdraw", note=NOTE)`."""

    def ask(person: str, name: str, /, **facts: Any) -> dict[str, Any]:
        return desk.ok(person, f"/{service}/cases/{case.id}/{name}", facts)

    return ask


def lives_of_cases(desk: Desk) -> Case:
    """Cases closed, sent back, reopened, withdrawn or declined; returns the case whose timeline is compared."""
    whole = desk.handled()
    intake, routing = on(desk, "intake", whole), on(desk, "routing", whole)
    routing("jj-housing-1", "progress", unit=HOUSING, note=NOTE, contacted=True)
    routing("jj-housing-1", "settle", **SETTLE)
    intake("jj-callback", "call-back", **UNHAPPY)
    desk.until(whole.id, status="handling")
    routing("jj-housing-1", "settle", **SETTLE)
    intake("jj-callback", "call-back", **HAPPY)
    desk.until(whole.id, status="closed")
    intake("jj-window", "rate", satisfaction="satisfied")

    on(desk, "routing", desk.closed())("jj-director", "reopen", note=NOTE)
    on(desk, "intake", desk.waiting())("jj-window", "withdraw", note=NOTE)
    declined = {"reason": "in_litigation", "legal_path": "锦江区人民法院", "note": NOTE}
    on(desk, "routing", desk.waiting())("jj-triage", "decline", **declined)
    answered = desk.register(nature="consultation", answer="公租房每年三月申请。")
    on(desk, "intake", answered)("jj-callback", "call-back", **UNHAPPY)
    desk.until(answered.id, status="awaiting_triage")
    return whole


def units_at_work(desk: Desk) -> None:
    """Co-handlers, another person, hand-backs, a ruling, other centres."""
    for ends in ("co-report", "end-co-handling"):
        case = desk.waiting()
        routing = on(desk, "routing", case)
        routing("jj-triage", "triage", unit=HOUSING, co_units=[POLICE])
        routing("jj-triage", "assign", unit=HOUSING, co_units=[POLICE], basis="职责清单")
        routing("jj-housing", "sign-for", unit=HOUSING, person="jj-housing-1")
        routing("jj-police", "sign-for", unit=POLICE, person="jj-police-1")
        routing("jj-housing", "reassign", unit=HOUSING, person="jj-housing")
        routing("jj-police-1" if ends == "co-report" else "jj-triage", ends, unit=POLICE, note=NOTE)
    routing = on(desk, "routing", desk.assigned())
    routing("jj-housing", "hand-back", **BACK)
    routing("jj-director", "rule", unit=HOUSING, basis="三定方案", note=NOTE)
    case = desk.waiting(region="510104017001", person="jgy-grid-1", channel="grid")
    supervision = on(desk, "supervision", case)
    supervision("jgy-director", "escalate", to=COUNTY, note=NOTE)
    supervision("jj-director", "hand-down", to="510104022000", note=NOTE)
    on(desk, "routing", case)("cxl-triage", "transfer", to="510104018000", note=NOTE)
    on(desk, "supervision", desk.handled())("jj-supervisor", "urge", unit=HOUSING, note=NOTE)
    desk.waiting(region="510703000000", person="fc-window")


def residents(desk: Desk) -> Case:
    """Supplements, corrections, repeats, merged and split cases; returns the case that stays open for a command."""
    open_case = desk.waiting()
    intake = on(desk, "intake", open_case)
    intake("jj-window", "supplement", note=NOTE)
    corrected = {"title": "改正后", "text": "实际是邻居漏水。"}
    intake("jj-window", "correct", nature="dispute", matter=corrected, note=NOTE)
    survivor, merged = desk.assigned(), desk.waiting(title="电梯又坏了", text="没人管。")
    repeat = {"channel": "call", "matter": corrected, "reporter": {"parties": [{"name": "李四娘"}]}}
    repeat["contact_time"] = desk.timeline(survivor.id)["timeline"][0]["facts"]["contact_time"]
    on(desk, "intake", survivor)("jj-window", "attach", **repeat)
    on(desk, "intake", survivor)("jj-window", "attach", **repeat, merged_from=merged.id)
    desk.until(merged.id, status="merged")
    parts = [{"region": TOWNSHIP, "nature": "complaint"}, {"region": "510104022000", "nature": "help"}]
    matters = {"matters": [{"title": "物业", "text": "物业乱收费"}, {"title": "低保", "text": "想申请低保"}]}
    on(desk, "routing", desk.waiting())("jj-triage", "split", parts=parts, matters=matters)
    return open_case


def with_files(desk: Desk) -> str:
    """Register a case with a file; returns the case id."""
    form = {"case": json.dumps(MATTER)}
    sent = desk.send("POST", "jj-window", "/intake/cases-with-attachments", data=form, files=[("files", FILE)])
    sent.raise_for_status()
    return str(sent.json()["id"])


def held_and_erased(desk: Desk) -> None:
    """A hold and its release, an erasure, and a hold that stays."""
    supervision = on(desk, "supervision", desk.ended_long_ago())
    for ends in ("end-release-request", "release"):
        if ends == "end-release-request":
            supervision("jj-director", "hold", **HELD)
        supervision("jj-deputy", "request-release", basis="案件已结")
        supervision("jj-director", ends, **({"note": NOTE} if ends != "release" else {"hold": "legal"}))
    for ends in ("end-erasure-request", "erase"):
        supervision("jj-records", "request-erasure", **ERASE)
        supervision("jj-records-1", ends, **({"note": NOTE} if ends != "erase" else ERASE))
    on(desk, "supervision", desk.closed())("jj-director", "hold", **HELD)


def orders(desk: Desk) -> None:
    """Orders: answered, refused, accepted, withdrawn, overdue, and refused by a closed case."""
    common = {"kind": "listed", "region": COUNTY, "unit": HOUSING, "note": NOTE}

    def order(due: datetime, *cases: Case) -> Callable[[str, str], None]:
        body = common | {"cases": [case.id for case in cases], "due": due.isoformat()}
        id = desk.ok("jj-supervisor", "/supervision/orders", body)["id"]
        for case in cases[:1]:
            desk.until(case.id, orders=[id])

        def ask(person: str, name: str) -> None:
            desk.ok(person, f"/supervision/orders/{id}/{name}", {"note": NOTE})

        return ask

    far = datetime.now(UTC) + timedelta(days=5)
    entry = order(far, desk.handled(), desk.closed())
    for person, name in (
        ("jj-housing", "answer-order"), ("jj-supervisor", "refuse-answer"),
        ("jj-housing", "answer-order"), ("jj-supervisor", "accept-answer"),
    ):  # fmt: skip
        entry(person, name)
    order(far, desk.assigned())("jj-supervisor", "withdraw-order")
    order(datetime.now(UTC) + timedelta(seconds=2), desk.assigned())


def clocks(desk: Desk) -> None:
    """Extensions and pauses, granted and refused; overdue cases on the ladder; an overdue that is annulled."""
    supervision, case = on_clocked(desk)
    due = datetime.fromisoformat(until_clock(desk, case, "handle")["due"])
    more = {"stage": "handle", "due": (due + timedelta(days=3)).isoformat(), "note": NOTE}
    pause = {"stage": "handle", "cause": "hearing", "note": NOTE}
    supervision("jj-housing-1", "request-extension", **more)
    supervision("jj-supervisor", "extend", **more)
    supervision("jj-housing-1", "request-pause", **pause)
    supervision("jj-supervisor", "suspend", **pause, until=(due + timedelta(days=5)).isoformat())
    supervision("jj-supervisor", "resume", stage="handle")
    supervision, _ = on_clocked(desk)
    supervision("jj-housing-1", "request-extension", **more)
    supervision("jj-supervisor", "refuse-extension", stage="handle", note=NOTE)
    supervision("jj-housing-1", "request-pause", **pause)
    supervision("jj-supervisor", "refuse-pause", stage="handle", note=NOTE)

    climbs = begun(desk, HASTY, channel="letter", time=ago(days=5))
    begun(desk, HASTY, channel="letter", time=ago(hours=1, minutes=30))  # warned, not overdue
    late = in_handling(desk, HASTY, signed_ago=timedelta(hours=4, minutes=30))
    desk.until(climbs.id, in_charge="510000000000")
    until(lambda: "case.ordered" in desk.types(late.id), "an order covers the overdue case")
    on(desk, "routing", late)("jj-housing-1", "settle", **SETTLE, time=ago(hours=4))
    until(lambda: "case.overdue_annulled" in desk.types(late.id), "the overdue of a case settled in time is annulled")


def on_clocked(desk: Desk) -> tuple[Callable[..., dict[str, Any]], Case]:
    """Supervision's commands on a case whose deadline may be extended."""
    case = in_handling(desk, LONG)
    return on(desk, "supervision", case), case


def ago(**long: float) -> str:
    return (datetime.now(UTC) - timedelta(**long)).isoformat()


async def submitted(stack: Stack) -> None:
    """The platform of the demo submits a registration, a supplement and a refused command, and reads each receipt."""
    ports = json.loads(next((stack.data / "run").glob("nats-server_*.ports")).read_text())
    user = DEMO_PLATFORM.user
    client = await nats.connect(
        ports["nats"][0], user=user, password=stack.passwords()[user],
        inbox_prefix=DEMO_PLATFORM.inbox_prefix.encode(),
    )  # fmt: skip

    async def submit(id: str, name: str, payload: Any, case: str | None = None) -> dict[str, Any]:
        event = {"specversion": "1.0", "id": id, "source": "demo", "type": f"command.{name}", "data": payload}
        await client.request(SUBJECT, json.dumps(event | ({"subject": case} if case else {})).encode())
        while True:
            answer = await client.request(f"$JS.API.DIRECT.GET.RECEIPTS.receipt.demo.{id}", b"")
            if answer.data:
                receipt: dict[str, Any] = json.loads(answer.data)["data"]
                return receipt
            await asyncio.sleep(0.05)

    number = (await submit("made-1", "register", MATTER | {"channel": "app"}))["number"]
    await submit("made-2", "supplement", {"note": NOTE}, number)
    await submit("made-3", "close", {}, number)
    await client.close()


async def new_calendar(stack: Stack) -> None:
    """Publish two weeks of holidays from tomorrow on, so that each limit in working days is recomputed."""
    today = datetime.now(UTC).date()
    in_force = next(document for document in demo_documents() if document.kind is DocumentKind.CALENDARS)
    (row,) = (row for row in in_force.rows if isinstance(row, CalendarRow) and row.year == str(today.year))
    days = sorted({*row.holidays, *(today + timedelta(days=n) for n in range(1, 15))})
    days = [day for day in days if day.year == today.year and day not in row.makeup]
    newer = row.model_copy(update={"holidays": tuple(days)})
    document = Document(kind=DocumentKind.CALENDARS, region=in_force.region, note="", rows=(newer,))
    async with stack.connection() as connection:
        await publish(Streams(connection), [with_years(document, in_force)])


def imported(stack: Stack) -> None:
    """Import the sample of historic rows."""
    file = shutil.copy(SAMPLE, stack.data.parent / "sample.csv")
    rejected = stack.data.parent / "rejected.csv"
    result = stack.run("import", str(file), "--mapping", str(MAPPING), "--rejected", str(rejected))
    assert result.returncode == 0, result.stderr


def work(stack: Stack, receiver: Receiver) -> dict[str, Any]:
    """Do all work in the order of its dependencies; returns the facts that a test compares."""
    with closing(Desk(stack.url)) as desk:
        publish_short_limits(desk, stack)
        watching = {"url": receiver.url, "kinds": ["overdue"], "region": CITY}
        desk.ok("cd-supervisor", "/supervision/webhooks", watching)
        texting = {"url": receiver.url, "kinds": ["notice"], "region": CITY, "numbers": True}
        desk.ok("sms-demo", "/supervision/webhooks", texting)
        for _ in range(2):
            whole = lives_of_cases(desk)
            units_at_work(desk)
            open_case = residents(desk)
        with_files(desk)
        held_and_erased(desk)
        orders(desk)
        clocks(desk)
        asyncio.run(submitted(stack))
        imported(stack)
        asyncio.run(new_calendar(stack))
        time.sleep(CALENDARS_S)
        assert_clean(stack)
        return {
            "whole": {"id": whole.id, "timeline": desk.timeline(whole.id)["timeline"]},
            "open": {"id": open_case.id, "number": open_case.number, "secret": open_case.secret},
            "feed": replayed(desk, asyncio.run(end_of_feed(stack))),
        }


async def end_of_feed(stack: Stack) -> int:
    async with stack.connection() as connection:
        return await Streams(connection).end(FEED)


def replayed(desk: Desk, last: int) -> list[list[Any]]:
    """The feed of the city from its first item to the sequence `last`: sequence, kind and case of each item."""
    headers = {"Authorization": f"Bearer demo-{LISTENER}", "Last-Event-ID": "0", "Accept": "text/event-stream"}
    items: list[list[Any]] = []
    block: dict[str, str] = {}
    with desk.client.stream("GET", "/supervision/feed", headers=headers, timeout=60) as answer:
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
                continue
            if "data" in block:
                items.append([int(block["id"]), block["event"], json.loads(block["data"])["subject"]])
            if int(block.get("id", 0)) >= last:
                return items
            block = {}
    raise AssertionError("the feed ended by itself")


def counted(text: str) -> dict[str, int]:
    """The count of each event type in the output of `caseflow events`."""
    types = Counter(json.loads(line)["type"] for line in text.splitlines())
    return dict(sorted(types.items()))


def tables(stack: Stack) -> list[list[str]]:
    """Rebuild the read models; returns name, row count and checksum of each table."""
    result = stack.run("rebuild")
    assert result.returncode == 0, result.stderr
    return rebuilt(result.stdout)


def rebuilt(text: str) -> list[list[str]]:
    """Name, rows and checksum of each table in the output of `caseflow rebuild`; fails when a table has changed."""
    lines = text.splitlines()
    assert all(line.endswith("  as before") for line in lines), text
    return [[name, rows, checksum] for name, rows, _, _, checksum, *_ in map(str.split, lines)]


def shrink(stack: Stack) -> None:
    """Remove the files that each start makes, and the write-ahead log, which a clean stop makes superfluous."""
    for name in LEFT_OUT:
        path = stack.data / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    folder = Folder(stack.data.resolve())
    reset = (str(postgres_programs() / "pg_resetwal"), "-D", str(folder.postgres))
    subprocess.run((*postgres_runner(folder).prefix, *reset), cwd="/", check=True, stdout=subprocess.DEVNULL)


def pack(stack: Stack) -> None:
    """Pack the folder, with user and group 0 on each file."""
    options = lzma.PRESET_EXTREME | 9
    with lzma.open(ARCHIVE, "w", preset=options) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(stack.data, "data", filter=owned_by_nobody)


def owned_by_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


async def main() -> None:
    """Make the folder, pack it, and write its facts."""
    at = subprocess.run(("git", "rev-parse", "HEAD"), cwd=ROOT, check=True, capture_output=True, text=True)
    ARCHIVE.parent.mkdir(exist_ok=True)
    with stack_in("before", fresh=True) as stack:
        async with receiving() as receiver:
            await asyncio.to_thread(stack.start)
            facts = await asyncio.to_thread(work, stack, receiver)
            assert await asyncio.to_thread(stack.stop) == 0, stack.text[-3000:]
        types = counted((await asyncio.to_thread(stack.run, "events")).stdout)
        await asyncio.to_thread(shrink, stack)
        await asyncio.to_thread(pack, stack)
        facts["tables"] = await asyncio.to_thread(tables, stack)
    facts |= {"commit": at.stdout.strip(), "events": sum(types.values()), "types": types}
    lines = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items())
    FACTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    sys.stdout.write(f"{facts['events']} events, {ARCHIVE.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    asyncio.run(main())
