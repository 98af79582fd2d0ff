"""The house rules hold, and each finds its breach and says what to use instead."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.dev import CHECKOUT, house_rules
from infra.dev.checks import citations, commits, names, requirements, rooms, settings
from infra.dev.checks.base import Module
from infra.dev.house_rules import MODULE_RULES, EventFacts

KIT = "shared/kit/x.py"


def messages(path: str, code: str) -> list[str]:
    module = Module(path, code)
    return [str(breach) for rule in MODULE_RULES if rule is not house_rules.docstrings for breach in rule(module)]


def test_the_house_is_tidy() -> None:
    breaches = house_rules.breaches(CHECKOUT)
    assert not breaches, "\n".join(map(str, breaches))


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
    message = messages(KIT, code)[-1]
    assert message.startswith(f"{KIT}:2: ")
    assert instead in message
    assert not messages("shared/kit/clock.py", code)
    assert not messages(KIT, "def f(clock, time, random):\n    return clock.now(), time.time(), random.random()")


def test_sizes() -> None:
    long = "def long():\n" + "    pass\n" * 60
    assert messages(KIT, long) == [f"{KIT}:1: long has 61 lines, at most 60: name a part of it"]
    assert not messages(KIT, "def f():\n" + "    pass\n" * 59)
    assert not messages(KIT, "x = 1\n" * 4000), "a file is as long as its one subject"


@pytest.mark.parametrize(
    ("driver", "allowed"),
    [
        ("asyncpg", "shared/kit/sql.py"),
        ("nats", "shared/log/connection.py"),
        ("faststream", "shared/kit/messaging.py"),
    ],
)
def test_drivers(driver: str, allowed: str) -> None:
    (message,) = messages("services/intake/http.py", f"from {driver}.errors import Error")
    assert f"{driver}.errors belongs in " in message
    assert not messages(allowed, f"import {driver}")


def test_subscribers() -> None:
    (message,) = messages("services/intake/jobs.py", "async def f(log):\n    await log.durable('LOG_5101', 'mine')")
    assert message.endswith(
        "jobs.py:2: .durable() outside kit/reactions.py: give the ReactionRunner a Reaction instead"
    )
    assert not messages("shared/kit/reactions.py", "log.durable('LOG_5101', 'mine')")


@pytest.mark.parametrize(
    "call", ["application.data.log.load(address)", "self.handler.state(address)", "log.at(position)"]
)
def test_states_pass_the_gate(call: str) -> None:
    (message,) = messages("services/intake/http.py", f"async def f(): await {call}")
    assert "passes by the gate: use Application.load" in message
    assert not messages("services/supervision/jobs.py", f"async def f(): await {call}")


def test_commands_pass_the_steps() -> None:
    (message,) = messages("infra/importing/x.py", "async def f(a): await a.handler.handle(1)")
    assert "passes by the steps of a command: use Application.execute" in message


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
    (message,) = messages(KIT, f"run({text!r})")
    assert "name the statement in a .sql file" in message


@pytest.mark.parametrize("text", ["select one of them", "update the law", "create a folder", "delete it", "with care"])
def test_words_are_no_sql(text: str) -> None:
    assert not messages(KIT, f"say({text!r})")


def test_docstrings() -> None:
    module = Module(KIT, "class A: pass\ndef f(): pass\ndef _g(): pass")
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
    (message,) = messages(KIT, code)
    assert instead in message
    assert not messages("shared/case/events/routing.py", code)


def test_what_is_no_list_of_events() -> None:
    assert not messages(
        KIT, "isinstance(event, e.Closed | e.Declined)\nx = (e.Closed, 1)\ny = {e.Closed: f, e.Declined: g}"
    )


def test_later() -> None:
    word = "TO" + "DO"
    assert [str(f) for f in house_rules.unfinished("a.sql", f"select 1\n-- {word} more")] == [
        f"a.sql:2: {word}: do it now, or file an issue and say nothing here"
    ]


def test_anatomy() -> None:
    services = {"intake": ["app.py", "helpers.py"], "routing": ["http.py"]}
    (breach,) = house_rules.anatomy(services, {})
    assert "say in services/intake/README.md what `helpers.py` is for" in str(breach)
    assert not list(house_rules.anatomy(services, {"intake": "| `helpers.py` | helps |"}))


WHOLE = EventFacts("case.closed", 2, "routing", documented=True, commands=("routing",), allowed=True)
SAMPLES = ("case.closed.v1.json", "case.closed.v2.json")


def test_a_whole_event() -> None:
    assert not list(house_rules.whole_events([WHOLE], SAMPLES))


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
    (breach,) = house_rules.whole_events([event], samples)
    assert f"case.closed {message}" in str(breach)


BROUGHT = {
    "nats-py": frozenset({"nats", "nats.js"}),
    "opentelemetry-sdk": frozenset({"opentelemetry.sdk.trace"}),
    "tzdata": frozenset({"tzdata"}),
    "hypothesis": frozenset({"hypothesis"}),
    "pyyaml": frozenset({"yaml"}),
}
PRODUCT_LIST = "# the log\nNATS_py[nkeys]  # its client\nopentelemetry-sdk\ntzdata\n"
LOCK = "nats-py==1 \\\n    --hash=sha256:0\nopentelemetry-sdk==1\ntzdata==1\nhypothesis==1\n"
IMPORTS = {
    "shared/log/x.py": "import os\nfrom nats import js\nfrom opentelemetry.sdk import trace\nimport shared.case",
    "tests/x.py": "import hypothesis",
}


def requirement_messages(product: str = PRODUCT_LIST, lock: str = LOCK, **imports: str) -> list[str]:
    files = IMPORTS | {path.replace("__", "/") + ".py": code for path, code in imports.items()}
    modules = [Module(path, code) for path, code in files.items()]
    texts = {"requirements.in": product, "requirements-dev.in": "hypothesis\n", "requirements.lock": lock}
    return [str(breach) for breach in requirements.check_requirements(modules, texts, BROUGHT)]


def test_requirements_that_fit() -> None:
    assert requirement_messages(infra__dev__x="import hypothesis, nats") == []


@pytest.mark.parametrize("code", ["import yaml", "from yaml import x", "import hypothesis"])
def test_what_the_product_imports_is_required(code: str) -> None:
    name = code.split()[1]
    assert requirement_messages(shared__kit__x=code) == [
        f"{KIT}:1: {name} is imported and not required: add it to requirements.in"
    ]


def test_a_part_of_a_shared_package_is_required_by_itself() -> None:
    (message,) = requirement_messages(shared__kit__x="from opentelemetry import context")
    assert message == f"{KIT}:1: opentelemetry is imported and not required: add it to requirements.in"


def test_what_tools_import_is_required() -> None:
    (message,) = requirement_messages(infra__dev__x="import yaml")
    assert message == "infra/dev/x.py:1: yaml is imported and not required: add it to requirements-dev.in"


def test_what_is_required_is_imported_or_has_a_reason() -> None:
    assert requirement_messages(PRODUCT_LIST + "PyYAML\n", LOCK + "pyyaml==1\n") == [
        "requirements.in:1: pyyaml is required and not imported: remove it, or say why in NOT_IMPORTED"
    ]
    assert requirement_messages(shared__kit__x="import tzdata") == [
        "requirements.in:1: tzdata is imported: take it out of NOT_IMPORTED (infra/dev/checks/requirements.py)"
    ]


def test_requirements_are_pinned_without_an_address() -> None:
    assert requirement_messages(lock=LOCK.replace("tzdata==1\n", "--index-url https://a.b/c\n")) == [
        "requirements.lock:1: tzdata is not pinned: run `make lock`",
        "requirements.lock:4: an address of a package index: the lock holds names and hashes only",
    ]


SETTINGS = """
class Settings:
    port: int
    pg_dsn: str
    master_key: str
    idle: int

    def dsn(self, role): return self.pg_dsn

    @property
    def key_file(self): return self.master_key
"""


@pytest.mark.parametrize(
    ("code", "unread"),
    [
        ("def f(own: Settings): own.port, own.idle", []),
        ("class Kit:\n    settings: Settings\ndef f(kit): return kit.settings.idle, kit.settings.port", []),
        ("def given() -> Settings: ...\nown = given()\nown.port, given().idle", []),
        ("def f(own: Settings, mine): own.port, mine.idle, idle", ["idle"]),
        ("def f(own: Settings): own.idle = own.port", ["idle"]),
    ],
)
def test_each_setting_is_read(code: str, unread: list[str]) -> None:
    texts = {"shared/kit/settings.py": SETTINGS, "services/intake/app.py": code, "tests/x.py": "own.idle"}
    modules = [Module(path, text) for path, text in texts.items()]
    assert [str(breach) for breach in settings.check(CHECKOUT, modules)] == [
        f"shared/kit/settings.py:6: nothing reads the setting {name}: read it or remove it" for name in unread
    ]


@pytest.mark.parametrize(
    ("code", "user", "message"),
    [
        ("import shared.kit.x", "", ""),
        ("", "import shared.kit.x", "only services/a uses it: move it there; shared is for two services"),
        ("", "", "no service uses it: move it to infra or to tests/support; shared is for two services"),
    ],
)
def test_shared_is_for_two_services(code: str, user: str, message: str) -> None:
    files = {
        "shared/kit/both.py": code, "shared/kit/x.py": "", "shared/case/x.py": "", "shared/log/x.py": "",
        "shared/client/x.py": "", "services/a/app.py": f"import shared.kit.both\n{user}",
        "services/b/app.py": "import shared.kit.both",
    }  # fmt: skip
    modules = [Module(path, text) for path, text in files.items()]
    assert [str(breach) for breach in rooms.check(CHECKOUT, modules)] == [f"{KIT}:1: {message}"] * bool(message)


def test_no_import_runs_back_up_or_in_a_circle() -> None:
    files = {
        "shared/case/x.py": "import shared.kit.x",
        "shared/kit/x.py": "import shared.case.x",
        "services/a/app.py": "import shared.kit.x",
        "services/b/app.py": "import shared.kit.x",
    }
    modules = [Module(path, text) for path, text in files.items()]
    assert [str(breach) for breach in rooms.check(CHECKOUT, modules)] == [
        "shared/case:1: imports shared.kit, which stands above it: move what both need down",
        "shared/case:1: is in a circle of imports: shared.case <-> shared.kit",
    ]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("log: name the errors", ""),
        ("services/intake, kit: feed both", ""),
        ("log: " + "x" * 67, ""),
        ("log: " + "x" * 68, "73 characters, at most 72: the reason belongs in the body"),
        ("Name the errors", "write it as `area: imperative`, in small letters"),
        ("log: Name the errors", "write it as `area: imperative`, in small letters"),
        ("log: named the errors", "say what the commit does in the imperative, not 'named'"),
        ("log: names the errors", "say what the commit does in the imperative, not 'names'"),
        ("log: naming the errors", "say what the commit does in the imperative, not 'naming'"),
        ("log: one name for the errors", "say what the commit does in the imperative, not 'one'"),
    ],
)
def test_subjects_of_commits(subject: str, message: str) -> None:
    expected = [f"commit 1a2b3c4:1: {subject!r}: {message}"] if message else []
    assert [str(breach) for breach in commits.check_subject("1a2b3c4", subject)] == expected


def test_commits_are_judged_from_the_rule_on(tmp_path: Path) -> None:
    assert list(commits.check(tmp_path, [])) == [], "without a history nothing is judged"
    git = ("git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y")

    def commit(subject: str) -> None:
        subprocess.run((*git, "commit", "--quiet", "--allow-empty", "-m", subject), check=True)

    subprocess.run((*git, "init", "--quiet", "--initial-branch=main"), check=True)
    commit("Begun")
    subprocess.run((*git, "branch", "parallel"), check=True)
    (tmp_path / commits.RULE).parent.mkdir(parents=True)
    (tmp_path / commits.RULE).touch()
    subprocess.run((*git, "add", "."), check=True)
    commit("house_rules: check subjects")
    commit("log: name the errors")
    commit("Repaired")
    subprocess.run((*git, "checkout", "--quiet", "parallel"), check=True)
    commit("Made without the rule")
    subprocess.run((*git, "merge", "--quiet", "-m", "Merged", "main"), check=True)
    (breach,) = commits.check(tmp_path, [])
    assert "'Repaired': write it as" in str(breach)


def judged(allowed: names.Allowed, **files: str) -> list[str]:
    texts = {path.replace("__", "/") + ".py": text for path, text in files.items()}
    modules = [Module(path, text) for path, text in texts.items()]
    return [str(breach) for breach in names.check_names(modules, allowed)]


NOTHING = names.Allowed({}, {})


@pytest.mark.parametrize("code", ["class Pace: ...", "def Pace(): ...", "Pace = 1", "Pace: int = 1", "x, Pace = 1, 2"])
def test_no_public_name_means_two_things(code: str) -> None:
    assert judged(NOTHING, shared__kit__x="class Pace: ...", services__a__app=code) == [
        "services/a/app.py:1: Pace is the name of several things (shared/kit/x.py, services/a/app.py): "
        "name each for what it is"
    ]
    assert judged(NOTHING, shared__kit__x="class Pace: ...", tests__support__x=code) == []
    assert judged(names.Allowed({"Pace": 2}, {}), shared__kit__x="Pace = 1", services__a__app=code) == []


def test_a_name_may_be_private_or_the_same_by_design() -> None:
    assert judged(NOTHING, shared__kit__x="_A = 1\nSERVICE = 1", services__a__app="_A = 2\nSERVICE = 2") == []
    assert judged(NOTHING, shared__kit__x="def f():\n    A = 1", services__a__app="A = 2\nA = 3") == []


@pytest.mark.parametrize(
    ("code", "listed"),
    [
        ("told = 1", "told 1"),
        ("def f(place, *, kept: int): ...", "kept 1, place 1"),
        ("for one in (): pass", "one 1"),
        ("[some for some in ()]", "some 1"),
        ("self.wanted = 1", "wanted 1"),
        ("class A:\n    asked: int\n    def found(self): ...", "asked 1, found 1"),
        ("try: pass\nexcept ValueError as said: pass", "said 1"),
        ("one.place, f(told=1), some.kept", ""),
        ("first_asked = places = some_one = 1", ""),
    ],
)
def test_names_that_say_nothing(code: str, listed: str) -> None:
    messages = [message.partition(": ")[2] for message in judged(NOTHING, tests__support__x=code)]
    assert messages == [f"names that say nothing ({listed}): use the noun, as payload, facts or row"] * bool(listed)
    assert judged(NOTHING, tests__unit__x=code) == []


def test_counts_of_names_only_fall() -> None:
    allowed = names.Allowed({"Pace": 2}, {KIT: 2})
    assert judged(allowed, shared__kit__x="told = one = Pace = 1", services__a__app="Pace = 2") == []
    more = judged(allowed, shared__kit__x="told = one = kept = Pace = 1", services__a__app="Pace = 2")
    assert more == [f"{KIT}:1: names that say nothing (kept 1, one 1, told 1): use the noun, as payload, facts or row"]
    fewer = judged(allowed, shared__kit__x="told = 1")
    run = "run `python -m infra.dev.house_rules --shrink`"
    assert fewer == [
        f"infra/dev/checks/names.yaml:1: Pace: 2 is too high, 0 are left: {run}",
        f"infra/dev/checks/names.yaml:1: {KIT}: 2 is too high, 1 are left: {run}",
    ]


def test_shrinking_follows_a_move_and_never_grows() -> None:
    def module(path: str, text: str) -> Module:
        return Module(path, text)

    moved = names.shrunk([module("services/a/app.py", "told = 1")], names.Allowed({}, {KIT: 2}))
    assert moved == names.Allowed({}, {"services/a/app.py": 1})
    with pytest.raises(ValueError, match="2 names say nothing, 1 are allowed"):
        names.shrunk([module(KIT, "told = one = 1")], names.Allowed({}, {KIT: 1}))
    with pytest.raises(ValueError, match=r"several things that are not in .*: Pace"):
        names.shrunk([module(KIT, "Pace = 1"), module("infra/x.py", "Pace = 2")], NOTHING)


def test_the_counts_are_written_as_they_are_read(tmp_path: Path) -> None:
    (tmp_path / names.COUNTS_FILE).parent.mkdir(parents=True)
    for allowed in (NOTHING, names.Allowed({"Pace": 2}, {KIT: 1})):
        (tmp_path / names.COUNTS_FILE).write_text(allowed.text())
        assert names.Allowed.read(tmp_path) == allowed


TREE = citations.Checkout(
    frozenset(
        "docs docs/time.md docs/decisions docs/decisions/0001-a.md shared shared/kit/clock.py services/intake "
        "services/intake/README.md services/intake/policy.py CONTRIBUTING.md".split()
    )
)


@pytest.mark.parametrize(
    "line",
    [
        "see docs/time.md, `shared/kit/clock.py`, `kit/clock.py` and `services/intake/`",
        "`services/<name>/policy.py`, `services/*/policy.py`, `docs/decisions/<number>-<title>.md`",
        "`secrets/master.key` and `application/json` are no files of ours; neither is https://a.b/docs/none.md",
        "clause 5.1.3 a, Weifang 12345, article 26, RFC 9457; the issue of an order; specification/x",
    ],
)
def test_citations_that_lead_somewhere(line: str) -> None:
    assert list(citations.check_citations({"shared/kit/x.py": line}, TREE)) == []


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("see docs/none.md", "docs/none.md"),
        ("`shared/kit/pace.py` tells", "shared/kit/pace.py"),
        ("`kit/pace.py`", "kit/pace.py"),
        ("`services/*/stream.py`", "services/*/stream.py"),
    ],
)
def test_a_cited_document_exists(line: str, lost: str) -> None:
    (breach,) = citations.check_citations({"shared/kit/x.py": f"fine\n{line}"}, TREE)
    assert str(breach) == f"shared/kit/x.py:2: {lost} does not exist: name the file that says it now"


def test_links_of_pages_lead_somewhere() -> None:
    page = "[a](time.md) [b](../CONTRIBUTING.md#x) [c](decisions/0001-a.md) [d](https://x.y) [e](#here) [f](feeds.md)"
    (breach,) = citations.check_citations({"docs/page.md": page}, TREE)
    assert "feeds.md does not exist" in str(breach)
    assert not list(citations.check_citations({"docs/page.py": page}, TREE))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('"Feeds" in the design', "in the design"),
        ('(design, "Facts in the open")', "(design"),
        ("as house.md says", "house.md"),
        ("domain 1.a'': reminders", "domain 1"),
        ("sections 1.a of the domain", "sections 1.a of the domain"),
        ("as in spec/clauses", "spec/"),
        ("see issue 7", "issue 7"),
    ],
)
def test_nothing_outside_of_the_repository_is_cited(line: str, words: str) -> None:
    (breach,) = citations.check_citations({"docs/page.md": line}, TREE)
    assert f"{words!r} cites " in str(breach)
    assert "cite a page of ours, a clause or an article" in str(breach)
