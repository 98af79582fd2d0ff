"""People at work while everything is killed: each request is noted before it is sent and each answer when it came."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import httpx

from shared.case.base import derived_id
from tests.support.client import COUNTY, ERASE, HOUSING, LONG_AGO, MATTER, NOTE, SETTLE, UNRULED, Desk, new_key
from tests.support.short_limits import HASTY, ago
from tests.support.stack import POLL_S, Stack

CALLERS = 4
STEPS = {
    "sign-for": ("jj-housing", "routing", {"unit": HOUSING, "person": "jj-housing-1"}),
    "progress": ("jj-housing-1", "routing", {"unit": HOUSING, "note": NOTE}),
    "settle": ("jj-housing-1", "routing", SETTLE),
    "supplement": ("jj-window", "intake", {"note": NOTE}),
    "urge": ("jj-supervisor", "supervision", {"unit": HOUSING, "note": NOTE}),
    "close": ("jj-director", "routing", {"time": LONG_AGO}),
    "request-erasure": ("jj-records", "supervision", ERASE),
    "erase": ("jj-records-1", "supervision", ERASE),
}
LIFE = ("sign-for", "progress", "supplement", "urge", "settle", "close", "request-erasure", "erase")
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8)  # how much of it is lived: every failpoint is to be passed often in seconds
FILE_SHARE = 0.3
ANSWERS_S_MAX = 60.0
REFUSED_PAUSE_S = 0.05
REFUSALS_COUNT_MAX = 5000  # of all callers, a minute of nothing else
ASKED_AGAIN_S_MAX = 30.0  # a server that was just killed has its files to read on a busy machine
# Letters that come in so late that every rung of the ladder is due, where limits of hours are in force.
LATE_SHARE, LATE_DAYS = 0.2, 5


@dataclass
class Sent:
    """One request, and its answer when there was one."""

    person: str
    path: str
    what: str  # what its command id is derived from, beside the person and the key
    body: Any
    key: str
    file: bytes | None = None
    answer: dict[str, Any] | None = None

    @property
    def command_id(self) -> str:
        who = f"centre {COUNTY}" if self.what == "register" else self.person  # the key of a registration is its own
        return derived_id("http", who, self.what, self.key)

    def send(self, desk: Desk) -> httpx.Response:
        headers = {"Idempotency-Key": self.key}
        if self.file is None:
            return desk.send("POST", self.person, self.path, json=self.body, headers=headers)
        form = {"case": json.dumps(self.body)}
        files = {"files": ("a.bin", self.file, "application/octet-stream")}
        return desk.send("POST", self.person, self.path, data=form, files=files, headers=headers)


class Load:
    """Callers that work until told to stop or until nobody answers."""

    def __init__(self, stack: Stack, seed: int = 0) -> None:
        self.stack = stack
        self.sent: list[Sent] = []
        self._stop = threading.Event()
        self._broken: list[BaseException] = []
        self._refusals = 0
        self._threads = [threading.Thread(target=self._work, args=(Random(seed + n),)) for n in range(CALLERS)]

    @property
    def acknowledged(self) -> list[Sent]:
        return [one for one in self.sent if one.answer is not None]

    @contextmanager
    def running(self) -> Iterator[None]:
        """People are at work for the length of the block. Raises what none of them may be answered."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
            if self._broken:
                raise self._broken[0]

    def wait_for(self, answers: int) -> None:
        """Until so many requests were acknowledged. Fails with what became of the others."""
        end = time.monotonic() + ANSWERS_S_MAX
        while len(self.acknowledged) < answers:
            counts = f"{len(self.acknowledged)} of {len(self.sent)} requests, {self._refusals} times 503"
            assert not self._broken, f"a caller was answered wrong, after {counts}: {self._broken[0]}"
            assert any(thread.is_alive() for thread in self._threads), f"nobody answers any more, after {counts}"
            assert time.monotonic() < end, f"{answers} answers did not come in {ANSWERS_S_MAX:.0f} s: {counts}"
            time.sleep(POLL_S)

    def _work(self, random: Random) -> None:
        desk = Desk(self.stack.url, timeout_s=5)
        try:
            for turn in count():
                if self._stop.is_set() or not self._case(desk, random, turn):
                    return
        except Exception as error:
            self._broken.append(error)
        finally:
            desk.close()

    def _case(self, desk: Desk, random: Random, turn: int) -> bool:
        """One case through part of its life. False when nobody answers any more."""
        born = self._note(_registration(random, turn))
        if not self._send(desk, born):
            return False
        if born.answer is None:
            return True
        id = born.answer["id"]
        for name in _life(random, born):
            person, service, body = STEPS[name]
            step = Sent(person, f"/{service}/cases/{id}/{name}", f"{name} {id}", body, new_key())
            for _ in range(50):  # a rule assigns it in a moment; until then signing is refused
                if self._stop.is_set():
                    return False
                if not self._send(desk, step if step in self.sent else self._note(step)):
                    return False
                if step.answer is not None or name != "sign-for":
                    break
            if step.answer is None:
                break
        return True

    def _note(self, one: Sent) -> Sent:
        self.sent.append(one)
        return one

    def _send(self, desk: Desk, one: Sent) -> bool:
        try:
            answer = one.send(desk)
        except httpx.TimeoutException:  # a server is being started again: nobody knows what became of it
            self._stop.wait(REFUSED_PAUSE_S)
            return True
        except httpx.TransportError:
            return False
        if answer.status_code in (200, 201):
            one.answer = answer.json()
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        if answer.status_code == 503:
            self._refusals += 1
            assert self._refusals <= REFUSALS_COUNT_MAX, f"503 again and again: {answer.text}"
            self._stop.wait(REFUSED_PAUSE_S)
        return True


def _life(random: Random, born: Sent) -> tuple[str, ...]:
    """What people do with a case; one that no rule takes waits at the triage desk, a late one is the clock's."""
    if "subject" in born.body:
        return ()
    if born.body["title"] == UNRULED["title"]:
        return ("supplement",)
    return LIFE[: random.choice(LENGTHS)]


def _registration(random: Random, turn: int) -> Sent:
    text = {"text": f"第{turn}件：{random.random()}"}
    if random.random() < LATE_SHARE:
        late = {"nature": "dispute", "subject": HASTY, "channel": "letter", "time": ago(days=LATE_DAYS)}
        return Sent("jj-window", "/intake/cases", "register", UNRULED | text | late, new_key())
    body = random.choice((MATTER, MATTER, UNRULED)) | text | {"contact_time": LONG_AGO}
    if body["title"] == MATTER["title"]:
        body["text"] += "电梯坏了。"
    file = random.randbytes(3000) if random.random() < FILE_SHARE else None
    path = "/intake/cases-with-attachments" if file else "/intake/cases"
    return Sent("jj-window", path, "register", body, new_key(), file)


def check(stack: Stack, load: Load) -> Counter[str]:
    """Every acknowledged command is on the log once and none twice; sent again, each gives the answer that it gave.

    Returns how many commands were acknowledged, lost an answer, or never happened before.
    """
    tally: Counter[str] = Counter()
    before = asyncio.run(commands(stack))
    with closing(Desk(stack.url)) as desk:
        for one in load.sent:
            tally[_again(desk, one, before[one.command_id])] += 1
    after = asyncio.run(commands(stack))
    assert max(after.values()) == 1, "a command stands twice"
    assert all(after[id] == 1 for id in before)
    return tally


def _again(desk: Desk, one: Sent, stood: int) -> str:
    """Send it again, `stood` being how often it stands on the log; what had become of it."""
    assert stood == 1 if one.answer else stood <= 1, f"{one.path} stands {stood} times: {one.answer}"
    again = one.send(desk)
    end = time.monotonic() + ASKED_AGAIN_S_MAX
    while again.status_code == 503 and time.monotonic() < end:  # as the answer advises
        time.sleep(0.5)
        again = one.send(desk)
    told = again.json()
    if again.status_code == 410:
        assert told["code"] in ("content.erased", "erased")  # the first answer went with the content
    elif stood:
        assert again.status_code in (200, 201), f"{one.path}: {again.status_code} {again.text}"
        assert told["event"] is None
        same = ("id", "number", "secret") if one.answer else ()
        assert [told.get(name) for name in same] == [(one.answer or {}).get(name) for name in same]
    assert again.status_code < 500, again.text
    return "acknowledged" if one.answer else "unanswered, done" if stood else "not done"


async def commands(stack: Stack) -> Counter[str]:
    """How often each command id stands on each aggregate of the log, the highest of all aggregates."""
    found: Counter[tuple[str, str]] = Counter()
    async with stack.log() as log:
        for stream in log.streams():
            end = await log.end(stream)
            if end == 0:
                continue
            async for batch in log.follow(stream, 0):
                found.update((recorded.meta.command_id, recorded.address.subject) for recorded in batch)
                if batch[-1].position and batch[-1].position.sequence >= end:
                    break
    highest: Counter[str] = Counter()
    for (id, _), times in found.items():
        highest[id] = max(highest[id], times)
    return highest
