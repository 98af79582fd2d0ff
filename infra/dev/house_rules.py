"""The house rules that no linter has.

`python -m infra.dev.house_rules` prints `file:line: message` for each breach and ends with 1 when there is one;
`--shrink` lowers the counts of breaches that stand from before (infra/dev/checks/names.yaml).

A message names what to use instead. Who may import whom stands in pyproject.toml (import-linter).
"""

from __future__ import annotations

import ast
import gc
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.dev import CHECKOUT
from infra.dev.checks import citations, commits, names, requirements, rooms, settings
from infra.dev.checks.base import Breach, Module, last_name, line_of, read_modules, read_texts
from shared.case import events as all_events
from shared.case.base import Event
from shared.case.catalogue import EVENTS
from shared.case.commands import COMMANDS
from shared.case.lifecycle import TRANSITIONS
from shared.case.orders import ORDER_TRANSITIONS

FUNCTION_LINES_MAX = 60
FOLDERS = ("shared", "services", "infra", "tests", "docs")
TEXTS = (".py", ".sql", ".yaml", ".toml", ".sh", ".md", ".in", ".css", ".html", ".js", "Makefile")

# The only place that asks the machine for time and chance; infra starts processes, tests wait for real servers.
AMBIENT_ALLOWED = ("shared/kit/clock.py", "infra/*", "tests/*")
AMBIENT = {
    "datetime.now": "clock.now()",
    "datetime.utcnow": "clock.now()",
    "datetime.today": "clock.now()",
    "date.today": "clock.now()",
    "time.time": "clock.now()",
    "time.time_ns": "clock.now()",
    "time.monotonic": "clock.monotonic()",
    "time.monotonic_ns": "clock.monotonic()",
    "time.perf_counter": "clock.monotonic()",
    "time.sleep": "await clock.sleep()",
    "asyncio.sleep": "await clock.sleep()",
    "random": "clock.random()",
    "secrets": "clock.token_bytes()",
    "os.urandom": "clock.token_bytes()",
    "uuid.uuid1": "clock.new_id()",
    "uuid.uuid4": "clock.new_id()",
}
DRIVERS = {
    "asyncpg": ("shared/kit/sql.py", "tests/*"),
    "nats": ("shared/log/*", "tests/*"),
    "faststream": (
        *("shared/kit/messaging.py", "shared/client/*", "services/*/messages.py", "infra/dev/*", "docs/examples/*"),
        "tests/*",
    ),
}
SUBSCRIBING = ("subscribe", "subscriber", "pull_subscribe", "durable", "durable_raw")
SUBSCRIBING_ALLOWED = (
    *("shared/log/*", "shared/kit/reactions.py"),
    *("shared/kit/service.py", "shared/kit/messaging.py"),  # the edge: submissions, and what partners hear
    "tests/*",
)
# Whoever answers a caller reads an aggregate through the gate of the application layer, and commands go in by it.
GATED = tuple(
    f"services/*/{name}"
    for name in (
        "http.py",
        "messages.py",
        "enrichers.py",
        "event_stream.py",
        "views.py",
        "queries.py",
        "feed/*",
        "web/*",
    )
)
GATE_EXEMPT = ("services/supervision/feed/writer.py",)  # derives the feed of a whole installation from the log
READING = ("load", "at", "state", "state_since")
DECIDING_ALLOWED = ("shared/kit/application.py", "shared/kit/command_handler.py", "tests/*")
SQL_ALLOWED = ("tests/*",)
SQL = re.compile(
    r"\s*(select\s.+\sfrom|insert\s+into|update\s+\S+\s+set|delete\s+from|with\s+\w+\s+as|truncate\s|call\s+\w+\s*\("
    r"|(create|alter|drop)\s+(table|index|schema|role|database|view|function|extension|policy|materialized)|grant\s+\w+\s+on"
    r"|lock\s+table|copy\s+\w+\s+(from|to)\s|set\s+(local|role|session)\s|select\s+\w+\s*\()",
    re.IGNORECASE | re.DOTALL,
)
EVENT_NAMES_ALLOWED = ("shared/case/events/*", "infra/dev/asyncapi.py", "tests/*")
LATER = re.compile(r"\b(?:FIX[M]E|TO[D]O|XX[X])\b")
ANATOMY = (
    *("__init__.py", "__main__.py", "README.md", "app.py", "http.py", "messages.py", "policy.py", "read_model.py"),
    *("queries.py", "queries.sql", "jobs.py", "views.py", "web", "migrations", "enrichers.py", "operations.yaml"),
)


def sizes(module: Module) -> Iterator[Breach]:
    """Functions short enough to be read at once. A file is as long as its one subject."""
    for node in module.functions:
        count = (node.end_lineno or node.lineno) - node.lineno + 1
        if count > FUNCTION_LINES_MAX:
            yield module.at(node, f"{node.name} has {count} lines, at most {FUNCTION_LINES_MAX}: name a part of it")


def ambient(module: Module) -> Iterator[Breach]:
    """No clock, chance or sleep but through the Clock port."""
    if module.within(AMBIENT_ALLOWED):
        return
    names = _imported(module)
    for node in (*module.of(ast.Attribute), *module.of(ast.Name)):
        if name := _full_name(node, names):
            for forbidden, instead in AMBIENT.items():
                if f".{forbidden}." in f".{name}.":
                    yield module.at(node, f"{forbidden} cannot be repeated by a test: take a Clock, use {instead}")
                    break


def drivers(module: Module) -> Iterator[Breach]:
    """Database and stream drivers only behind the files that wrap them."""
    for node in module.imports:
        for name in _imports(node):
            allowed = DRIVERS.get(name.partition(".")[0])
            if allowed and not module.within(allowed):
                yield module.at(node, f"{name} belongs in {', '.join(allowed)}: use what these offer")


def subscribers(module: Module) -> Iterator[Breach]:
    """Whatever consumes the log goes through kit/reactions.py, with its acknowledgements, delays and parking."""
    if module.within(SUBSCRIBING_ALLOWED):
        return
    for node in module.of(ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in SUBSCRIBING:
            yield module.at(
                node, f".{node.func.attr}() outside kit/reactions.py: give the ReactionRunner a Reaction instead"
            )


def gate(module: Module) -> Iterator[Breach]:
    """One way in for commands, and one way to a state for a caller: the application layer."""
    for node in module.of(ast.Call):
        if not isinstance(node.func, ast.Attribute):
            continue
        receiver = last_name(node.func.value)
        called = f"{receiver}.{node.func.attr}"
        reads = receiver in ("log", "handler") and node.func.attr in READING
        if reads and module.within(GATED) and not module.within(GATE_EXEMPT):
            yield module.at(node, f"{called}() passes by the gate: use Application.load, history or load_as_resident")
        if called == "handler.handle" and not module.within(DECIDING_ALLOWED):
            yield module.at(node, f"{called}() passes by the steps of a command: use Application.execute or decide")


def sql(module: Module) -> Iterator[Breach]:
    """Statements are named and described in .sql files."""
    if module.within(SQL_ALLOWED):
        return
    for node in module.of(ast.Constant):
        if isinstance(node.value, str) and SQL.match(node.value):
            yield module.at(node, "SQL in Python: name the statement in a .sql file and call it through kit/sql.py")


def docstrings(module: Module) -> Iterator[Breach]:
    """Modules, public classes and functions say what they are for."""
    if not module.within(("shared/*", "services/*", "infra/*")):
        return
    public = [
        node
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    for node in (module.tree, *public):
        if _has_summary(node):
            continue
        if not ast.get_docstring(node) and (node is not module.tree or module.tree.body):
            what = "the module" if isinstance(node, ast.Module) else node.name
            yield module.at(node, f"{what} has no docstring: say what it is for, units, errors raised, clause")


def event_names(module: Module) -> Iterator[Breach]:
    """Code names the class of an event: no text with its type, no list of events that the catalogue could derive."""
    if module.within(EVENT_NAMES_ALLOWED):
        return
    for node in module.of(ast.Constant):
        if isinstance(node.value, str) and (cls := EVENTS.get(node.value.partition("+")[0])):
            yield module.at(node, f'"{node.value}" in Python: name the class, e.{cls.__name__}')
    lists: list[ast.Tuple | ast.List | ast.Set] = [*module.of(ast.Tuple), *module.of(ast.List), *module.of(ast.Set)]
    for group in lists:
        if sum(map(_is_event, group.elts)) > 1:
            yield module.at(group, "a list of events: derive it in shared/case/catalogue.py from a row or a transition")


def _is_event(node: ast.AST) -> bool:
    """Whether it is an event class by its usual name, `e.Registered`."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "e"


MODULE_RULES: tuple[Callable[[Module], Iterator[Breach]], ...] = (
    sizes, ambient, drivers, subscribers, gate, sql, docstrings, event_names,
)  # fmt: skip


def _has_summary(node: ast.AST) -> bool:
    """Whether a function is a route, which says in its summary what it is for."""
    calls = [call for call in getattr(node, "decorator_list", ()) if isinstance(call, ast.Call)]
    return any(keyword.arg == "summary" for call in calls for keyword in call.keywords)


# The rules that look at the whole checkout.
CHECKS: tuple[Callable[[Path, Sequence[Module]], Iterator[Breach]], ...] = (
    requirements.check,
    settings.check,
    rooms.check,
    names.check,
    commits.check,
)


def unfinished(path: str, text: str) -> Iterator[Breach]:
    """What is not done is an issue, not a note in the code."""
    for match in LATER.finditer(text):
        yield Breach(path, line_of(match), f"{match[0]}: do it now, or file an issue and say nothing here")


def anatomy(services: Mapping[str, Iterable[str]], readmes: Mapping[str, str]) -> Iterator[Breach]:
    """Know one service, know four: the same names mean the same in each, and its README names any other.

    `services`: the file and folder names of each; `readmes`: the text of each README.md.
    """
    for service, inside in services.items():
        for name in sorted(set(inside) - set(ANATOMY)):
            if f"`{name}`" not in readmes.get(service, ""):
                yield Breach(
                    f"services/{service}/{name}", 1,
                    f"no service has a file of this name by rule: say in services/{service}/README.md what `{name}` is "
                    f"for, or use one of {', '.join(ANATOMY)}",
                )  # fmt: skip


@dataclass(frozen=True)
class EventFacts:
    """What the rules ask of one event type of the catalogue."""

    type: str
    version: int
    owner: str
    documented: bool
    commands: tuple[str, ...]  # owners of the commands that emit it
    allowed: bool  # a table of transitions names it


def whole_events(facts: Iterable[EventFacts], samples: Iterable[str]) -> Iterator[Breach]:
    """Every event is documented, emitted by a command of its owner, allowed by a table, and sampled in each version."""
    there = set(samples)
    for event in facts:
        expected = [f"{event.type}.v{version}.json" for version in range(1, event.version + 1)]
        broken = [
            (not event.documented, "has no docstring: say what happened, and by which clause"),
            (not event.commands, "is emitted by no command: give it one in shared/case/commands.py, or remove it"),
            (any(owner != event.owner for owner in event.commands), f"is emitted by another owner than {event.owner}"),
            (
                not event.allowed,
                "stands in no table of transitions: say in shared/case/lifecycle.py when it may happen",
            ),
        ]
        broken += [
            (name not in there, f"has no released sample shared/case/samples/{name}: add it") for name in expected
        ]
        for wrong, message in broken:
            if wrong:
                yield Breach("shared/case/events", 1, f"{event.type} {message}")


def declared_events() -> dict[str, type[Event]]:
    """Every event declared in shared/case/events by its type, whether the catalogue has a row for it or not."""
    classes = (cls for cls in vars(all_events).values() if isinstance(cls, type) and issubclass(cls, Event))
    return {cls.TYPE: cls for cls in classes if "TYPE" in vars(cls)}


def catalogue() -> list[EventFacts]:
    """The facts of the events as they are."""
    in_tables = {event for _, event, *_ in (*TRANSITIONS, *ORDER_TRANSITIONS)}
    return [
        EventFacts(
            type=name,
            version=cls.VERSION,
            owner=cls.OWNER,
            documented=bool(cls.__dict__.get("__doc__")),
            commands=tuple(spec.owner for spec in COMMANDS.values() if spec.event is cls),
            allowed=cls in in_tables,
        )
        for name, cls in declared_events().items()
    ]


@contextmanager
def no_collections() -> Iterator[None]:
    """Let Python look for no circles: among the many nodes of trees that takes a third of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@no_collections()
def breaches(root: Path) -> list[Breach]:
    """Every breach in the tree at `root`; the catalogue is that of the program itself."""
    texts = read_texts(root, FOLDERS, TEXTS)
    modules = [Module(path, text) for path, text in texts.items() if path.endswith(".py")]
    broken = [breach for module in modules for rule in MODULE_RULES for breach in rule(module)]
    broken += (breach for path, text in texts.items() for breach in unfinished(path, text))
    broken += citations.check_citations(texts, citations.Checkout.read(root, FOLDERS))
    folders = [path for path in sorted((root / "services").glob("*")) if path.is_dir() and path.name[0] not in "_."]
    inside = {folder.name: [p.name for p in folder.iterdir() if p.name != "__pycache__"] for folder in folders}
    readmes = {folder.name: (folder / "README.md").read_text() for folder in folders if (folder / "README.md").exists()}
    broken += anatomy(inside, readmes)
    broken += whole_events(catalogue(), (path.name for path in (root / "shared" / "case" / "samples").glob("*.json")))
    broken += (breach for check in CHECKS for breach in check(root, modules))
    return sorted(set(broken))


def _imports(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.module and not node.level else []


def _imported(module: Module) -> dict[str, str]:
    """Full name by the name it goes by in the module."""
    names: dict[str, str] = {}
    for node in module.imports:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _full_name(node: ast.expr, names: Mapping[str, str]) -> str | None:
    """`dt.now` as `datetime.datetime.now` after `from datetime import datetime as dt`; None when not imported."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (value := _full_name(node.value, names)):
        return f"{value}.{node.attr}"
    return None


def main(words: Sequence[str]) -> int:
    """Print the breaches in the checkout, 1 when there are any; or with `--shrink` lower the counts of names.yaml."""
    if "--shrink" in words:
        try:
            allowed = names.shrunk(read_modules(CHECKOUT, FOLDERS), names.Allowed.read(CHECKOUT))
        except ValueError as error:
            print(error)
            return 1
        (CHECKOUT / names.COUNTS_FILE).write_text(allowed.text())
        return 0
    broken = breaches(CHECKOUT)
    for breach in broken:
        print(breach)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
