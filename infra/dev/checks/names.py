"""Names: no public name means two things, and no name says nothing.

The breaches that stand from before are counted in `names.yaml` beside this file. The counts may only fall: a name that
is not in the file, or stands more often than the file says, is a breach, and so is a count that is too high.
`python -m infra.dev.house_rules --shrink` writes the counts anew when their sum has not risen.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

import yaml

from infra.dev.checks.base import Breach, Module

COUNTS_FILE = "infra/dev/checks/names.yaml"
SHRINK = "python -m infra.dev.house_rules --shrink"
_PRODUCT = ("shared/*", "services/*", "infra/*")
JUDGED = (*_PRODUCT, "tests/support/*")
# Names that stand in several modules by design, and why.
SAME_BY_DESIGN = {
    "SERVICE": "each service exports one",
    "STATEMENTS": "the statements of the .sql file beside a module",
    "REACTIONS": "the reactions of a service, in its policy.py",
    "ENRICHERS": "the enrichers of a service, in its enrichers.py",
    "router": "the routes of a module",
    "messages": "the messages of a service, in its messages.py",
    "take": "the handler of submissions in a messages.py",
    "build": "makes a service",
    "main": "the entry point of a command",
    "check": "the entry point of a house rule",
}
MEANINGLESS = ("told", "said", "one", "some", "found", "wanted", "kept", "asked", "place")


@dataclass(frozen=True)
class Allowed:
    """The counts that stand from before: definitions by name, empty names by file."""

    twice: Mapping[str, int]
    empty: Mapping[str, int]

    @classmethod
    def read(cls, root: Path) -> Allowed:
        """The counts of the file in the checkout at `root`."""
        counts = yaml.safe_load((root / COUNTS_FILE).read_text())
        return cls(counts["twice"] or {}, counts["empty"] or {})

    def text(self) -> str:
        """The file with these counts."""
        lines = ["# Counts that may only fall: see names.py. The file is written by", f"# `{SHRINK}`."]
        for title, counts in (("twice", self.twice), ("empty", self.empty)):
            lines += [f"{title}:" if counts else f"{title}: {{}}"]
            lines += [f"  {name}: {count}" for name, count in sorted(counts.items())]
        return "\n".join(lines) + "\n"


def definitions(modules: Sequence[Module]) -> dict[str, list[tuple[Module, ast.AST]]]:
    """The public classes, functions and constants of the product by name, where several modules define them."""
    nodes: defaultdict[str, dict[str, tuple[Module, ast.AST]]] = defaultdict(dict)
    for module in modules:
        if module.within(_PRODUCT):
            for node in module.tree.body:
                for name in _defined(node):
                    if _is_public(name) and name not in SAME_BY_DESIGN:
                        nodes[name].setdefault(module.path, (module, node))
    return {name: list(by_path.values()) for name, by_path in sorted(nodes.items()) if len(by_path) > 1}


def _is_public(name: str) -> bool:
    """Whether other modules may use the name: one letter is a type variable, or the short form of a table."""
    return len(name) > 1 and not name.startswith("_")


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def empty_names(module: Module) -> list[tuple[ast.AST, str]]:
    """Variables, arguments, attributes and functions whose name is one of MEANINGLESS."""
    names: list[tuple[ast.AST, str | None]] = [
        *((node, node.id) for node in module.of(ast.Name) if isinstance(node.ctx, ast.Store)),
        *((node, node.attr) for node in module.of(ast.Attribute) if isinstance(node.ctx, ast.Store)),
        *((node, node.arg) for node in module.of(ast.arg)),
        *((node, node.name) for node in module.functions),
        *((node, node.name) for node in module.of(ast.ExceptHandler)),
        *((node, node.name) for node in module.of(ast.MatchAs)),
        *((node, node.asname) for node in module.of(ast.alias)),
    ]
    return [(node, name) for node, name in names if name in MEANINGLESS]


def count_names(modules: Sequence[Module]) -> Allowed:
    """The counts as they are."""
    return _counts(definitions(modules), _empty_by_path(modules))


def _empty_by_path(modules: Sequence[Module]) -> dict[str, list[tuple[ast.AST, str]]]:
    return {module.path: nodes for module in modules if module.within(JUDGED) and (nodes := empty_names(module))}


def _counts(twice: Mapping[str, Sized], empty: Mapping[str, Sized]) -> Allowed:
    return Allowed({name: len(nodes) for name, nodes in twice.items()}, {path: len(n) for path, n in empty.items()})


def check_names(modules: Sequence[Module], allowed: Allowed) -> Iterator[Breach]:
    """The breaches in `modules` beyond what is allowed, and the counts that are too high."""
    twice, empty = definitions(modules), _empty_by_path(modules)
    for name, places in twice.items():
        if len(places) > allowed.twice.get(name, 1):
            where = ", ".join(module.path for module, _ in places)
            module, node = places[-1]
            yield module.at(node, f"{name} is the name of several things ({where}): name each for what it is")
    for path, nodes in empty.items():
        if len(nodes) > allowed.empty.get(path, 0):
            names = ", ".join(f"{name} {count}" for name, count in sorted(Counter(name for _, name in nodes).items()))
            line = min(getattr(node, "lineno", 1) for node, _ in nodes)
            yield Breach(path, line, f"names that say nothing ({names}): use the noun, as payload, facts or row")
    now = _counts(twice, empty)
    for before, after in ((allowed.twice, now.twice), (allowed.empty, now.empty)):
        for name, count in before.items():
            if after.get(name, 0) < count:
                yield Breach(
                    COUNTS_FILE, 1, f"{name}: {count} is too high, {after.get(name, 0)} are left: run `{SHRINK}`"
                )


def check(root: Path, modules: Sequence[Module]) -> Iterator[Breach]:
    """The breaches of the checkout at `root`."""
    return check_names(modules, Allowed.read(root))


def shrunk(modules: Sequence[Module], allowed: Allowed) -> Allowed:
    """The counts as they are, for the file. Raises ValueError when a sum has risen, or another name stands twice."""
    now = count_names(modules)
    risen = [name for name, count in now.twice.items() if count > allowed.twice.get(name, 1)]
    if risen:
        raise ValueError(f"names of several things that are not in {COUNTS_FILE}: {', '.join(risen)}")
    if sum(now.empty.values()) > sum(allowed.empty.values()):
        raise ValueError(f"{sum(now.empty.values())} names say nothing, {sum(allowed.empty.values())} are allowed")
    return now
