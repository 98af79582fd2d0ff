"""The judge: a log that came about by the law is clean, and whatever is done to it behind the law's back is found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.case.base import Address, Position, Recorded, event_id, new_id
from shared.case.commands import COMMANDS
from shared.case.state import standing
from shared.kit.seal import seal_fields, unseal_fields
from shared.log import fsck
from shared.log.fsck import FsckFinding, FsckLookups, FsckReport
from shared.log.memory import MemoryLog
from shared.log.port import Damaged, Malformed
from tests.support.clock import FakeClock
from tests.support.law import DUE, ERASABLE, LI, ORDER_SITUATIONS, SITUATIONS, START, WHERE, Ask, ask, event, history

SECOND = replace(WHERE, id=new_id(WHERE.region, "second"))
TEN_YEARS_ON = "ten years on"
KEY = b"k" * 32
STREAM = "LOG_5101"


class World:
    """A log with one or two aggregates on it, and the keys of their content."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = MemoryLog(("5101", "5107"), self.clock)
        self.keys: dict[str, bytes | None] = {}

    def sealed(self, recorded: Recorded[Any]) -> Recorded[Any]:
        id = recorded.address.id
        self.keys.setdefault(id, KEY)
        if any(isinstance(getattr(recorded.event, name), str) for name in recorded.known.PRIVATE):
            return recorded
        return replace(recorded, event=seal_fields(recorded.known, KEY, id, recorded.id, self.clock))

    async def write(self, recorded: Recorded[Any]) -> Position:
        positions = [one.position.sequence for one in await self.log.load(recorded.address) if one.position]
        return await self.log.append(self.sealed(recorded), max(positions, default=0))

    async def tell(self, situation: str) -> World:
        for recorded in history(situation):
            await self.write(recorded)
        return self

    async def force(self, asked: Ask, address: Address = WHERE, **changes: Any) -> Position:
        """Write what is asked for, whatever the law says of it."""
        meta = asked.command.meta
        made = Recorded(event_id(meta.command_id, address.subject), address, meta, event(asked))
        return await self.write(replace(made, **changes))

    def alter(self, place: int, **changes: Any) -> None:
        """Change a stored event, as nobody can."""
        events = self.log._streams[STREAM].events
        was = events[place]
        events[place] = replace(was, **changes)
        own = self.log._by_subject[was.address.subject]
        own[own.index(was)] = events[place]

    async def check(self, settled: bool = False, **questions: Any) -> FsckReport:
        async def keys(ids: Collection[str]) -> dict[str, bytes | None]:
            return {id: self.keys[id] for id in ids if id in self.keys}

        ask = FsckLookups(**({"keys": keys, "unseal": unseal_fields} | questions))
        return await fsck.check_log(self.log, ask, settled=settled)

    async def rules(self, settled: bool = False, **questions: Any) -> list[str]:
        return [finding.rule for finding in (await self.check(settled, **questions)).findings]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("situation", [*SITUATIONS, *ORDER_SITUATIONS])
async def test_every_situation_of_the_law_is_clean(world: World, situation: str) -> None:
    report = await (await world.tell(situation)).check()
    assert report.clean, [str(one) for one in report.findings]
    assert report.events == len(history(situation))
    assert report.aggregates == (1 if history(situation) else 0)


async def test_what_the_law_refuses_is_found(world: World) -> None:
    await world.tell("handled")
    at = await world.force(ask("hand-back", unit="510104001000-water"))
    (finding,) = (await world.check()).findings
    assert (finding.rule, finding.position, finding.aggregate) == ("refused_by_law", str(at), WHERE.id)
    assert "not_responsible_unit" in finding.details
    assert finding.advice in str(finding)


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize("name", ["progress", "assign", "settle", "urge"])
async def test_whatever_handles_a_closed_case_is_found(world: World, name: str) -> None:
    await world.tell("closed")
    await world.force(ask(name))
    assert await world.rules() == ["after_closing"]


async def test_an_event_before_its_birth_is_found(world: World) -> None:
    await world.force(ask("progress"))
    assert await world.rules() == ["refused_by_law"]


async def test_a_command_that_stands_twice_is_found(world: World) -> None:
    await world.tell("registered")
    first = (await world.log.load(WHERE))[0]
    await world.write(replace(first, id=first.id, position=None))
    assert await world.rules() == ["applied_twice"]


async def test_an_id_that_follows_from_nothing_is_found(world: World) -> None:
    await world.tell("registered")
    await world.force(ask("supplement"), id="0c2b0a52-0000-4000-8000-000000000000")
    assert await world.rules(unseal=None) == ["wrong_event_id"]


async def test_an_event_by_another_service_is_found(world: World) -> None:
    await world.tell("registered")
    await world.force(ask("supplement", by="service-routing"))
    assert await world.rules() == ["wrong_owner"]


async def test_an_event_in_a_strange_place_is_found(world: World) -> None:
    elsewhere = Address("case", "510703000000", WHERE.id)
    await world.force(ask("register", region="510703000000"), address=elsewhere)
    assert await world.rules() == ["misplaced"]


async def test_content_in_the_clear_is_found(world: World) -> None:
    await world.tell("registered")
    world.alter(0, event=event(ask("register")))
    assert "not_sealed" in await world.rules(unseal=None)


async def test_content_without_its_key_is_found(world: World) -> None:
    await world.tell("settled")
    world.keys.clear()
    assert await world.rules() == ["key_missing"]


async def test_a_key_destroyed_without_an_erasure_is_found(world: World) -> None:
    await world.tell("closed")
    world.keys[WHERE.id] = None
    assert await world.rules() == ["key_destroyed"]


async def test_a_key_destroyed_after_its_erasure_is_right(world: World) -> None:
    await world.tell("erased")
    world.keys[WHERE.id] = None
    assert await world.rules(settled=True) == []


async def test_an_erasure_whose_key_still_stands_is_found_once_all_is_settled(world: World) -> None:
    await world.tell("erased")
    assert await world.rules() == []
    assert await world.rules(settled=True) == ["key_not_destroyed"]


async def test_an_erasure_and_a_release_from_before_requests_existed_are_right(world: World) -> None:
    """One person released and erased, at once: the law for new commands is stricter than that for old events."""
    await world.tell("closed and held")
    await world.force(ask("release", requested_by=None))
    await world.force(ask("erase", requested_by=None))
    world.keys[WHERE.id] = None
    assert await world.rules(settled=True) == []


@pytest.mark.parametrize(
    ("situation", "asked"),
    [
        ("closed", ask("erase")),
        ("closed, erasure requested", ask("erase")),
        ("closed, erasure requested", ask("erase", at=ERASABLE, by=LI)),
        ("closed and held", ask("release")),
        ("closed and held, release requested", ask("release", by=LI)),
        ("closed and held", ask("erase", requested_by=None)),
    ],
    ids=["not requested", "too early", "by one person", "release not requested", "release by one person", "held"],
)
async def test_an_erasure_or_release_against_the_law_is_found(world: World, situation: str, asked: Ask) -> None:
    await world.tell(situation)
    await world.force(asked)
    assert await world.rules() == ["refused_by_law"]


@pytest.mark.parametrize(
    ("situation", "asked"),
    [
        ("closed, erasure requested, then reopened", ask("erase", requested_by=None)),
        ("closed and held, release requested", ask("release", requested_by=None)),
    ],
)
async def test_after_the_first_request_of_a_stream_nobody_erases_or_releases_alone(
    world: World, situation: str, asked: Ask
) -> None:
    """The program that wrote the request knew requests, and so did every one after it."""
    for recorded in history(situation):
        await world.write(replace(recorded, address=SECOND, id=event_id(recorded.meta.command_id, SECOND.subject)))
    await world.tell("closed and held" if asked.name == "release" else "closed")
    await world.force(asked)
    assert await world.rules(unseal=None) == ["refused_by_law"]


@pytest.mark.clause("5.1.3a")
@pytest.mark.parametrize(
    "changed",
    [
        {"clocks": "[]"},
        {"status": "assigned"},
        {"since": START - timedelta(days=1)},
        {"clocks": TEN_YEARS_ON},
        {},
    ],
    ids=["no clocks", "another status", "another start", "another due moment", "as it stood"],
)
async def test_the_undoing_of_a_merge_to_another_place_is_found(world: World, changed: dict[str, Any]) -> None:
    await world.tell("clocked")
    await world.force(ask("merge"))
    facts = standing(await world.log.load(WHERE))
    if changed.get("clocks") == TEN_YEARS_ON:
        changed = {"clocks": facts["clocks"].replace(f"{DUE:%Y-%m-%d}", f"{DUE:%Y-%m-%d}".replace("2026", "2036"))}
        assert changed["clocks"] != facts["clocks"]
    await world.force(Ask("unmerge", facts | changed))
    assert await world.rules() == (["wrong_undoing"] if changed else [])


async def test_a_seal_that_does_not_open_is_found(world: World) -> None:
    await world.tell("registered")
    world.keys[WHERE.id] = b"x" * 32
    assert await world.rules() == ["seal_broken"]


async def test_a_case_without_a_claim_is_found(world: World) -> None:
    await world.tell("handled")

    async def claimed(subjects: Collection[str]) -> list[str]:
        return []

    assert await world.rules(claimed=claimed) == ["claim_missing"]


async def test_an_order_that_its_case_never_heard_of_is_found_once_all_is_settled(world: World) -> None:
    await world.tell("handled")
    await world.tell("issued")
    assert await world.rules() == []
    assert await world.rules(settled=True) == ["order_unheard"]


@pytest.mark.parametrize("order", ["order with a refusing case", "issued"])
async def test_an_order_is_heard_or_refused(world: World, order: str) -> None:
    await world.tell("ordered" if order == "issued" else "closed")
    await world.tell(order)
    assert await world.rules(settled=True) == []


async def test_an_attached_case_that_goes_on_by_itself_is_found_once_all_is_settled(world: World) -> None:
    other = Address("case", WHERE.region, new_id(WHERE.region, "other case"))
    await world.tell("absorbed another")
    assert await world.rules(settled=True) == []  # no such case: the merge was refused
    await world.force(ask("register"), address=other)
    assert await world.rules(settled=True) == ["not_merged"]
    await world.force(ask("merge", into=WHERE.id), address=other)
    assert await world.rules(settled=True) == []


async def test_an_aggregate_that_an_event_must_create_is_looked_for(world: World) -> None:
    await world.tell("split")
    part = Address("case", WHERE.region, new_id(WHERE.region, "part"))
    created_by = {"created_by": lambda one: [part] if one.type == "case.split" else []}
    assert await world.rules(settled=True, **created_by) == ["not_followed"]
    await world.force(ask("register"), address=part)
    assert await world.rules(settled=True, **created_by) == []


async def test_a_message_that_is_no_event_is_found_and_passed_over(world: World) -> None:
    await world.tell("settled")
    follow, at = world.log.follow, world.log.at

    async def broken_follow(stream: str, after: int) -> AsyncIterator[list[Recorded[Any]]]:
        async for batch in follow(stream, after):
            if after < 3:
                raise Malformed("LOG_5101:3 is no event of ours: no type")
            yield batch

    async def broken_at(position: Position) -> Recorded[Any] | None:
        if position.sequence == 3:
            raise Malformed("LOG_5101:3 is no event of ours: no type")
        return await at(position)

    world.log.follow, world.log.at = broken_follow, broken_at  # type: ignore[method-assign]
    report = await world.check()
    assert next((one.rule, one.position) for one in report.findings) == ("unreadable", "LOG_5101:3")
    assert report.events == len(history("settled")) - 1


async def test_a_log_that_lost_events_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.tell("settled")
    whole = world.log.end

    async def end(stream: str) -> int:
        return await whole(stream) + 2

    async def follow(stream: str, after: int) -> AsyncIterator[list[Recorded[Any]]]:
        raise Damaged(f"{stream} ends early")
        yield []

    monkeypatch.setattr(world.log, "end", end)
    monkeypatch.setattr(world.log, "follow", follow)
    assert set(await world.rules()) == {"damaged"}


async def test_a_read_model_speaks_for_itself(world: World) -> None:
    async def compare() -> AsyncIterator[FsckFinding]:
        yield FsckFinding("read_model", "", WHERE.id, "status differs")

    (finding,) = (await world.check(read_models={"routing.work": compare})).findings
    assert (finding.rule, finding.position, finding.aggregate) == ("read_model", "routing.work", WHERE.id)


async def test_few_states_in_memory_judge_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsck, "STATES_COUNT_MAX", 1)
    monkeypatch.setattr(fsck, "SEEN_BYTES", 1)  # everything seems to have been seen
    numbers = range(4)
    others = [Address("case", WHERE.region, new_id(WHERE.region, f"case {number}")) for number in numbers]
    for name in ("register", "triage", "assign", "sign-for"):
        for address in others:
            await world.force(ask(name), address=address)
    report = await world.check()
    assert report.clean, [str(one) for one in report.findings]
    assert (report.events, report.aggregates) == (16, 4)
    await world.force(ask("register"), address=others[0])
    assert await world.rules() == ["refused_by_law"]


async def test_progress_is_told_to_the_end(world: World) -> None:
    await world.tell("closed")
    told: list[tuple[str, int, int]] = []
    await fsck.check_log(world.log, progress=lambda *one: told.append(one))
    assert told[-1] == (STREAM, len(history("closed")), len(history("closed")))


async def test_every_rule_says_what_to_do() -> None:
    assert all(advice.endswith(".") for advice in fsck.FSCK_RULES.values())
    assert set(COMMANDS) == set(fsck._COMMAND_OF.values())
