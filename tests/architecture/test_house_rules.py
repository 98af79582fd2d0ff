"""The house rules hold, and each finds its breach and says what to use instead."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from infra.dev import house_rules
from infra.dev.house_rules import ROOT, RULES, EventFacts, Module

KIT = "shared/kit/x.py"


def found(path: str, code: str) -> list[str]:
    module = Module(path, code, ast.parse(code))
    return [str(finding) for rule in RULES if rule is not house_rules.docstrings for finding in rule(module)]


def test_the_house_is_tidy() -> None:
    findings = house_rules.check(ROOT)
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("from datetime import datetime\ndatetime.now()", "clock.now()"),
        ("import datetime as d\nd.datetime.now(d.UTC)", "clock.now()"),
        ("from datetime import date\ndate.today()", "clock.now()"),
        ("import time\ntime.time()", "clock.now()"),
        ("from time import monotonic\nmonotonic()", "clock.monotonic()"),
        ("import time\nf(timer=time.perf_counter)", "clock.monotonic()"),
        ("import asyncio\nasyncio.sleep(1)", "clock.sleep()"),
        ("import time\ntime.sleep(1)", "clock.sleep()"),
        ("import random\nrandom.choice([1])", "clock.random()"),
        ("from random import Random\nRandom(1)", "clock.random()"),
        ("import secrets\nsecrets.token_hex()", "clock.token_bytes()"),
        ("import os\nos.urandom(8)", "clock.token_bytes()"),
        ("import uuid\nuuid.uuid4()", "clock.new_id()"),
    ],
)
def test_ambient_time_and_chance(code: str, instead: str) -> None:
    message = found(KIT, code)[-1]
    assert message.startswith(f"{KIT}:2: ")
    assert instead in message
    assert not found("shared/kit/clock.py", code)
    assert not found(KIT, "def f(clock, time, random):\n    return clock.now(), time.time(), random.random()")


def test_sizes() -> None:
    long = "def long():\n" + "    pass\n" * 60
    assert found(KIT, long) == [f"{KIT}:1: long has 61 lines, at most 60: name a part of it"]
    assert not found(KIT, "def f():\n" + "    pass\n" * 59)
    assert not found(KIT, "x = 1\n" * 4000), "a file is as long as its one subject"


@pytest.mark.parametrize(
    ("driver", "allowed"),
    [
        ("asyncpg", "services/intake/store.py"),
        ("nats", "shared/log/connection.py"),
        ("faststream", "shared/kit/reactions.py"),
    ],
)
def test_drivers(driver: str, allowed: str) -> None:
    (message,) = found("services/intake/http.py", f"from {driver}.errors import Error")
    assert f"{driver}.errors belongs in " in message
    assert not found(allowed, f"import {driver}")


def test_subscribers() -> None:
    (message,) = found("services/intake/stream.py", "async def f(log):\n    await log.durable('LOG_5101', 'mine')")
    assert message.endswith("stream.py:2: .durable() outside kit/reactions.py: give the Reactor a Reaction instead")
    assert not found("shared/kit/reactions.py", "log.durable('LOG_5101', 'mine')")


@pytest.mark.parametrize(
    "text",
    [
        "select a from b where c = $1",
        "\n    INSERT INTO t VALUES (1)",
        "update t set a = 1",
        "delete from t",
        "create table t ()",
        "select pg_advisory_lock($1)",
        "set role intake",
        "with a as (select 1) select 1",
    ],
)
def test_sql_in_python(text: str) -> None:
    (message,) = found(KIT, f"run({text!r})")
    assert "name the statement in a .sql file" in message


@pytest.mark.parametrize("text", ["select one of them", "update the law", "create a folder", "delete it", "with care"])
def test_words_are_no_sql(text: str) -> None:
    assert not found(KIT, f"say({text!r})")


def test_docstrings() -> None:
    module = Module(KIT, "", ast.parse("class A: pass\ndef f(): pass\ndef _g(): pass"))
    assert [str(f).split(": ")[1] for f in house_rules.docstrings(module)] == [
        "the module has no docstring",
        "A has no docstring",
        "f has no docstring",
    ]


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ('x = recorded.type == "case.closed"', "name the class, e.Closed"),
        ('x = {"case.assigned+co": 1}', "name the class, e.Assigned"),
        ("x = frozenset({e.Closed, e.Declined})", "derive it in shared/case/catalogue.py"),
        ("isinstance(event, (e.Closed, e.Declined))", "derive it in shared/case/catalogue.py"),
    ],
)
def test_event_names(code: str, instead: str) -> None:
    (message,) = found(KIT, code)
    assert instead in message
    assert not found("shared/case/events/routing.py", code)


def test_what_is_no_list_of_events() -> None:
    assert not found(
        KIT, "isinstance(event, e.Closed | e.Declined)\nx = (e.Closed, 1)\ny = {e.Closed: f, e.Declined: g}"
    )


def test_later() -> None:
    word = "TO" + "DO"
    assert [str(f) for f in house_rules.later("a.sql", f"select 1\n-- {word} more")] == [
        f"a.sql:2: {word}: do it now, or file an issue and say nothing here"
    ]


def test_anatomy() -> None:
    services = {"intake": ["app.py", "helpers.py"], "routing": ["store.py"]}
    (finding,) = house_rules.anatomy(services, {})
    assert "say in services/intake/README.md what `helpers.py` is for" in str(finding)
    assert not list(house_rules.anatomy(services, {"intake": "| `helpers.py` | helps |"}))


WHOLE = EventFacts("case.closed", 2, "routing", documented=True, commands=("routing",), allowed=True)
SAMPLES = ("case.closed.v1.json", "case.closed.v2.json")


def test_a_whole_event() -> None:
    assert not list(house_rules.events([WHOLE], SAMPLES))


@pytest.mark.parametrize(
    ("event", "samples", "message"),
    [
        (replace(WHOLE, documented=False), SAMPLES, "has no docstring"),
        (replace(WHOLE, commands=()), SAMPLES, "is emitted by no command"),
        (replace(WHOLE, commands=("intake",)), SAMPLES, "is emitted by another owner than routing"),
        (replace(WHOLE, allowed=False), SAMPLES, "stands in no table of transitions"),
        (WHOLE, SAMPLES[:1], "has no released sample shared/case/samples/case.closed.v2.json"),
    ],
)
def test_an_event_that_is_not_whole(event: EventFacts, samples: tuple[str, ...], message: str) -> None:
    (finding,) = house_rules.events([event], samples)
    assert f"case.closed {message}" in str(finding)
