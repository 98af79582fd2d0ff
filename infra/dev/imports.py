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

PRODUCT = ("shared", "services", "infra")


@dataclass(frozen=True)
class Source:
    """A Python module: its dotted name, its file, its lines and its tree."""

    name: str
    path: Path
    lines: int
    tree: ast.Module
    is_package: bool

    @property
    def is_program(self) -> bool:
        """Whether it is started (`python -m ...`) and can be imported by nobody."""
        return self.path.name == "__main__.py"


@dataclass(frozen=True)
class ImportGraph:
    """The modules of a checkout by name, and the modules that each of them imports."""

    sources: Mapping[str, Source]
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
    files = [file for package in packages for file in sorted((root / package).rglob("*.py"))]
    texts = {file.relative_to(root): file.read_text("utf-8") for file in files}
    return graph_of(source_of(path, text, ast.parse(text, str(path))) for path, text in texts.items())


def source_of(path: Path, text: str, tree: ast.Module) -> Source:
    """The module of a file, named from the root."""
    parts = path.with_suffix("").parts
    is_package = parts[-1] == "__init__"
    return Source(".".join(parts[:-1] if is_package else parts), path, len(text.splitlines()), tree, is_package)


def graph_of(modules: Iterable[Source]) -> ImportGraph:
    """The graph of these modules."""
    sources = {source.name: source for source in modules}
    return ImportGraph(sources, {name: frozenset(_imported(source, sources)) for name, source in sources.items()})


def _imported(source: Source, sources: Mapping[str, Source]) -> Iterator[str]:
    for node in _running(source.tree):
        for name in _names(node, source):
            if name in sources and name != source.name:
                yield name
        if isinstance(node, ast.Call):
            yield from _loaded_by_name(node, sources)


def _running(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node but those below `if TYPE_CHECKING:`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _names(node: ast.AST, source: Source) -> list[str]:
    """The dotted names that an import statement may mean: `from a import b` means `a` and perhaps `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = source.name.split(".")
        parts = parts[: len(parts) - node.level + source.is_package]
        base = ".".join([*parts, base] if base else parts)
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def _loaded_by_name(call: ast.Call, sources: Mapping[str, Source]) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name != "import_module" or not call.args:
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
