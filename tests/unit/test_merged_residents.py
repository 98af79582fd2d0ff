"""Who reported a merged case is answered by the case in which it goes on, and learns of no other reporter.

The decision table: the state of the merged case, the state of the case in which it goes on, and what the reporter asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.intake.http import MERGED_READ_COUNT_MAX, new_secret
from services.intake.policy import MASK
from shared.case.base import Address
from shared.kit.application import History
from shared.kit.problems import Forbidden
from tests.support import DEEP
from tests.support.merging import DESK, Merging, Reporter

HANDLING = ("triage", "assign", "sign-for")
SETTLED = (*HANDLING, "settle")
CLOSED = (*SETTLED, "close")
ASIDE = {"note": {"text": "not the same matter"}}


@dataclass(frozen=True)
class Row:
    """The commands on the surviving case after the merge, and what follows for the reporter of the merged case.

    `status` and `reply` are those of the look-up; `rate` and `supplement` are `done` or the code of a refusal.
    """

    name: str
    survivor: tuple[str, ...]
    status: str
    reply: bool
    rate: str
    supplement: str


TABLE = (
    Row("in progress", (), "awaiting_triage", False, "wrong_status", "done"),
    Row("handled", HANDLING, "handling", False, "wrong_status", "done"),
    Row("settled", SETTLED, "settled", True, "done", "done"),
    Row("sent back", (*SETTLED, "send-back"), "handling", False, "wrong_status", "done"),
    Row("closed", CLOSED, "closed", True, "done", "case_closed"),
    Row("reopened", (*CLOSED, "reopen"), "awaiting_triage", False, "wrong_status", "done"),
    Row("erased", (*CLOSED, "erase"), "closed", False, "erased", "erased"),
    Row("declined", ("decline",), "declined", False, "case_closed", "case_closed"),
    Row("withdrawn", ("withdraw",), "withdrawn", False, "case_closed", "case_closed"),
    Row("split", ("split",), "split", False, "case_split", "case_split"),
)


@cache
def merging() -> Merging:
    """One intake for all tests here: each has cases of its own."""
    return Merging()


async def merged(chain: int) -> tuple[Merging, list[Reporter]]:
    """Cases, each merged into the one before: the first survives, the last is that of the reporter who asks."""
    world = merging()
    reporters = [await world.register(f"报告人{n}号", f"1390000111{n}") for n in range(1 + chain)]
    for later, earlier in zip(reversed(reporters[1:]), reversed(reporters[:-1]), strict=True):
        await world.merge(later, earlier)
    return world, reporters


@pytest.mark.parametrize("chain", [1, 2])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_a_merged_reporter_is_answered_by_the_surviving_case(row: Row, chain: int) -> None:
    world, (survivor, *_, last) = await merged(chain)
    await world.bring(survivor, *row.survivor)
    answer = await world.looked_up(last)
    assert answer.status_code == 200, answer.text
    case = answer.json()
    assert (case["number"], case["status"], case["reply"] is not None) == (last.number, row.status, row.reply)
    steps = [step["step"] for step in case["steps"]]
    assert steps[:2] == ["registered", "merged"]
    assert (case["declined"] is not None) is (row.status == "declined")
    assert [step["time"] for step in case["steps"]] == sorted(step["time"] for step in case["steps"])
    assert await world.rate(last, "dissatisfied") == row.rate
    assert await world.supplement(last, "还有一点") == row.supplement


@pytest.mark.parametrize("chain", [1, 2])
async def test_words_on_a_merged_case_are_on_both_cases_once_and_no_step_of_the_other_reporter(chain: int) -> None:
    world, (survivor, *between, last) = await merged(chain)
    assert await world.supplement(last, "补充一句") == "done"
    await world.react(last)
    await world.bring(survivor, *SETTLED)
    assert await world.rate(last, "dissatisfied", "没有解决") == "done"
    await world.react(last)
    types = await world.types(survivor)
    assert [types.count(name) for name in ("supplemented", "rated")] == [1, 1]
    assert (await world.types(last))[-2:] == ["supplemented", "rated"]
    for case in between:
        assert "supplemented" not in await world.types(case)
    seen = [step["step"] for step in (await world.looked_up(survivor)).json()["steps"]]
    assert "supplemented" not in seen
    assert "supplemented" in [step["step"] for step in (await world.looked_up(last)).json()["steps"]]
    state = (await world.application.load_for_service(survivor.address)).state
    assert state.satisfaction == "dissatisfied"


async def test_an_undone_merge_leads_back_to_the_own_case_which_has_what_its_reporter_said() -> None:
    world, (survivor, last) = await merged(1)
    await world.supplement(last, "补充一句")
    await world.bring(survivor, *SETTLED)
    await world.undo(last)
    case = (await world.looked_up(last)).json()
    assert (case["status"], case["reply"]) == ("awaiting_triage", None)
    assert [step["step"] for step in case["steps"]] == ["registered", "merged", "supplemented", "unmerged"]
    assert await world.rate(last, "satisfied") == "wrong_status"
    assert await world.supplement(last, "又一句") == "done"
    await world.react(last)
    assert (await world.types(survivor)).count("supplemented") == 0, "said after the merge was undone"


async def test_an_erased_merged_case_is_not_there_any_more() -> None:
    world, (survivor, last) = await merged(1)
    await world.bring(last, "erase")
    assert (await world.looked_up(last)).status_code == 404
    assert (await world.looked_up(survivor)).status_code == 200


@pytest.mark.parametrize("aside", [{"stand_aside": (DESK.person,)}, {"complained_unit": DESK.unit}], ids=str)
@pytest.mark.parametrize("at", [0, 1], ids=["the last", "between"])
async def test_who_is_barred_from_the_surviving_case_reaches_it_through_no_merged_one(
    aside: dict[str, Any], at: int
) -> None:
    """They write nothing into it, learn no status of it, and are given no secret that shows it; the resident rates."""
    world = merging()
    reporters = [await world.register(f"报告人{n}号", f"1390000111{n}") for n in range(3)]
    *earlier, last = reporters
    await world.put(earlier[at].address, "correct", **aside)
    await world.merge(last, earlier[1])
    await world.merge(earlier[1], earlier[0])
    for commands in (HANDLING, ("settle",), ("close",)):
        await world.bring(earlier[0], *commands)
        assert await world.supplement(last, "回避的人写的话") == "access.refused"
        with pytest.raises(Forbidden):
            await new_secret(last.address.id, DESK, world.application)
        assert (await world.looked_up(last)).status_code == 200, "the secret of the resident is as it was"
    assert await world.rate(last, "dissatisfied") == "done"
    assert "supplemented" not in await world.types(last)


async def test_who_is_barred_from_no_case_of_the_chain_supplements_and_has_a_secret_issued() -> None:
    world, (_, _, last) = await merged(2)
    assert await world.supplement(last, "补充一句") == "done"
    last.secret = (await new_secret(last.address.id, DESK, world.application)).secret
    assert (await world.looked_up(last)).status_code == 200


@pytest.mark.parametrize(
    "survivor", [(), CLOSED, ("decline",), ("withdraw",), ("split",), "merge", "merge and close"], ids=str
)
async def test_words_that_were_taken_arrive_however_the_case_moved_on_meanwhile(survivor: Any) -> None:
    world = merging()
    first, second, last = [await world.register(f"报告人{n}号", f"1390000111{n}") for n in range(3)]
    await world.merge(last, second)
    assert await world.supplement(last, "补充一句") == "done"
    ends = second
    if isinstance(survivor, str):
        await world.merge(second, first)
        ends, survivor = first, CLOSED if "close" in survivor else ()
    await world.bring(ends, *survivor)
    status = (await world.application.load_for_service(ends.address)).state.status
    await world.react(last)
    for case in (first, second):
        assert (await world.types(case)).count("supplemented") == (case is ends)
    assert (await world.application.load_for_service(ends.address)).state.status is status


@pytest.mark.parametrize(
    ("survivor", "arrives_as"),
    [(("send-back",), "supplemented"), (("close",), "rated"), (("close", "reopen"), "supplemented")],
    ids=str,
)
@pytest.mark.parametrize("text", ["没有解决", ""])
async def test_a_rating_that_was_taken_arrives_or_its_words_do(
    survivor: tuple[str, ...], arrives_as: str, text: str
) -> None:
    world, (first, last) = await merged(1)
    await world.bring(first, *SETTLED)
    assert await world.rate(last, "dissatisfied", text) == "done"
    await world.bring(first, *survivor)
    await world.react(last)
    types = [name for name in await world.types(first) if name in ("rated", "supplemented")]
    assert types == [arrives_as] * (bool(text) or arrives_as == "rated"), "the result that it rates is undone already"


HIDDEN: dict[str, tuple[str, dict[str, Any]]] = {
    "home": ("青云巷7号2单元301", {"address": "青云巷7号2单元301"}),
    "a home in parts": ("青云巷 7号 2单元-301", {"address": "青云巷7号2单元301"}),
    "a phone in groups": ("138 0013 8000", {"phone": "13800138000"}),
    "a phone with hyphens": ("138-0013-8000", {"phone": "13800138000"}),
    "a phone that was noted in groups": ("13800138000", {"phone": "138-0013 8000"}),
    "an id number in groups": ("510104 19900101 123X", {"id_number": "51010419900101123X"}),
    "a surname": ("欧", {"name": "欧某"}),
    "a double surname": ("欧阳", {"name": "欧阳某"}),
}


@pytest.mark.parametrize("title", ["先生", "女士", "同志", "老师"])
@pytest.mark.parametrize("name", HIDDEN)
async def test_a_reply_shows_nothing_of_the_other_reporter_however_it_is_written(name: str, title: str) -> None:
    marker, party = HIDDEN[name]
    world = merging()
    first = await world.register(**{"name": "甲某", "phone": "13911112222"} | party)
    last = await world.register("乙某", "13933334444", address="白塔路9号")
    await world.merge(last, first)
    await world.bring(first, *HANDLING)
    text = f"{marker}{title}您好，白塔路9号的乙{title}也已答复。"
    await world.put(first.address, "settle", reply={"text": text})
    assert (await world.looked_up(last)).json()["reply"] == text.replace(marker, MASK, 1)
    assert marker in (await world.looked_up(first)).json()["reply"], "their own words are theirs to read"


async def test_the_place_of_another_reporters_matter_is_masked_and_that_of_the_own_correction_is_not() -> None:
    world = merging()
    matter = {"title": "漏水", "text": "漏水", "address": "青云巷7号"}
    first = await world.register("甲某", "13911112222", matter=matter)
    last = await world.register("乙某", "13933334444")
    await world.put(last.address, "correct", matter=matter | {"address": "白塔路9号"})
    await world.merge(last, first)
    await world.bring(first, *HANDLING)
    await world.put(first.address, "settle", reply={"text": "青云巷7号、白塔路9号均已修好。"})
    assert (await world.looked_up(last)).json()["reply"] == f"{MASK}、白塔路9号均已修好。"


async def test_the_merged_cases_of_a_look_up_are_read_together_and_a_bounded_number_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = merging()
    first, *others = [await world.register(f"报告人{n}号", f"1390000{n:04}") for n in range(MERGED_READ_COUNT_MAX + 5)]
    for other in others:
        await world.merge(other, first)
    await world.bring(first, *SETTLED)
    read, reading, most = world.application.history_for_service, 0, 0

    async def counted(address: Address) -> History:
        nonlocal reading, most
        reading, most = reading + 1, max(most, reading + 1)
        await asyncio.sleep(0)
        history = await read(address)
        reading -= 1
        return history

    monkeypatch.setattr(world.application, "history_for_service", counted)
    assert (await world.looked_up(first)).status_code == 200
    assert most == MERGED_READ_COUNT_MAX


ACTS = st.lists(
    st.sampled_from(["settle", "send-back", "supplement own", "supplement other", "rate own", "rate other", "undo"]),
    max_size=6,
)
PARTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=5)


def replied(reporters: Sequence[Reporter], parts: Sequence[tuple[int, int]]) -> str:
    """A reply that names reporters by name and phone."""
    return "您好：" + "，".join(reporters[n].words[word] for n, word in parts) + "。已修好。"


@settings(max_examples=200 if DEEP else 20, deadline=None)
@given(acts=ACTS, parts=PARTS, chain=st.sampled_from([1, 2]))
async def test_no_reporter_reads_anything_of_another(acts: list[str], parts: list[tuple[int, int]], chain: int) -> None:
    """Whatever is said and done: each reporter's words are on no answer to another, however the reply names them."""
    world, reporters = await merged(chain)
    first, last = reporters[0], reporters[-1]
    await world.bring(first, *HANDLING)
    reply = replied(reporters, [(n, word) for n, word in parts if n < len(reporters)])
    supplements = {first.number: ["先生补充的话"], last.number: ["后来补充的话"]}
    for act in acts:
        name, _, whose = act.partition(" ")
        reporter = first if whose == "own" else last
        status = (await world.application.load_for_service(first.address)).state.status
        if name == "supplement":
            await world.supplement(reporter, supplements[reporter.number][0])
            await world.react(reporter)
        elif name == "rate":
            if await world.rate(reporter, "dissatisfied", supplements[reporter.number][0]) == "done":
                await world.react(reporter)
        elif name == "settle" and status == "handling":
            await world.put(first.address, "settle", reply={"text": reply})
        elif name == "send-back" and status == "settled":
            await world.put(first.address, "send-back")
        elif name == "undo" and "unmerged" not in await world.types(last):
            await world.undo(last)
    for reporter in reporters:
        answer = await world.looked_up(reporter)
        assert answer.status_code == 200
        others = [other for other in reporters if other is not reporter]
        words = [word for other in others for word in (*other.words, *supplements.get(other.number, ()))]
        assert [word for word in words if word in answer.text] == []
        assert all(other.number not in answer.text and other.address.id not in answer.text for other in others)
