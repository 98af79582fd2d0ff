"""Who imports whom in a checkout, read from the source without running it.

An import is an edge from a module to a module of the same checkout. Imports for type checking only are left out, as
import-linter leaves them out. A module loaded by name (`importlib.import_module(f"services.{owner}.app")`) counts too:
the parts that a formatted string leaves open match any one part of a module's name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.dev.checks.base import Module, last_name, read_modules, walk

PRODUCT = ("shared", "services", "infra")


@dataclass(frozen=True)
class ImportGraph:
    """The modules of a checkout by name, and the modules that each of them imports."""

    sources: Mapping[str, Module]
    imports: Mapping[str, frozenset[str]]

    def reached_from(self, starts: Iterable[str], within: str) -> set[str]:
        """The modules below the package `within` that `starts` import, themselves or through modules of `within`.

        The `__init__` of a package above a module is not counted as reached with it.
        """
        reached: set[str] = set()
        waiting = list(starts)
        while waiting:
            for name in self.imports[waiting.pop()]:
                if is_inside(name, within) and name not in reached:
                    reached.add(name)
                    waiting.append(name)
        return reached


def is_inside(name: str, package: str) -> bool:
    """Whether a dotted name is the package or lies in it."""
    return name == package or name.startswith(package + ".")


def read_graph(root: Path, packages: Iterable[str] = PRODUCT) -> ImportGraph:
    """The graph of the checkout at `root`. Raises SyntaxError for a file that is not Python."""
    return graph_of(read_modules(root, packages))


def graph_of(modules: Iterable[Module]) -> ImportGraph:
    """The graph of these modules."""
    sources = {module.name: module for module in modules}
    return ImportGraph(sources, {name: frozenset(_imported(module, sources)) for name, module in sources.items()})


def _imported(module: Module, sources: Mapping[str, Module]) -> Iterator[str]:
    typing = [node for node in module.of(ast.If) if last_name(node.test) == "TYPE_CHECKING"]
    for_types = {node for block in typing for statement in block.body for node in walk(statement)}
    for node in module.imports:
        if node not in for_types:
            yield from (name for name in _names(node, module) if name in sources and name != module.name)
    for call in module.of(ast.Call):
        yield from _loaded_by_name(call, sources)


def _names(node: ast.Import | ast.ImportFrom, source: Module) -> list[str]:
    """The dotted names that an import statement may mean: `from a import b` means `a` and perhaps `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parts = source.name.split(".")
        parts = parts[: len(parts) - node.level + source.is_package]
        base = ".".join([*parts, base] if base else parts)
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def _loaded_by_name(call: ast.Call, sources: Mapping[str, Module]) -> Iterator[str]:
    if last_name(call.func) != "import_module" or not call.args:
        return
    pattern = re.compile(_pattern(call.args[0]))
    yield from (module for module in sources if pattern.fullmatch(module))


def _pattern(node: ast.expr) -> str:
    """A pattern for the module names that a string means; one that matches nothing for any other expression."""
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(part) if isinstance(part, ast.Constant) else r"[^.]+" for part in node.values)
    return r"(?!)"
