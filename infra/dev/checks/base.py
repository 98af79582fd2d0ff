"""The terms of the house rules: a module under judgement, and a breach of a rule."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar, cast

Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True, order=True)
class Breach:
    """One rule broken at one place."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Module:
    """A Python file under judgement: its path from the root, its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The tree of the text. Raises SyntaxError."""
        return ast.parse(self.text, self.path)

    @cached_property
    def _nodes(self) -> dict[type[ast.AST], list[ast.AST]]:
        nodes: defaultdict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        for node in walk(self.tree):
            nodes[type(node)].append(node)
        return nodes

    def of(self, kind: type[Node]) -> list[Node]:
        """The nodes of this class in the tree."""
        return cast(list[Node], self._nodes.get(kind, []))

    @property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function."""
        return [*self.of(ast.FunctionDef), *self.of(ast.AsyncFunctionDef)]

    @property
    def imports(self) -> list[ast.Import | ast.ImportFrom]:
        """Every import statement."""
        return [*self.of(ast.Import), *self.of(ast.ImportFrom)]

    @property
    def is_package(self) -> bool:
        """Whether it is the module of a folder."""
        return self.path.endswith("/__init__.py")

    @property
    def is_program(self) -> bool:
        """Whether it is started (`python -m ...`) and can be imported by nobody."""
        return self.path.endswith("/__main__.py")

    @property
    def name(self) -> str:
        """Its dotted name from the root."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return len(self.text.splitlines())

    def within(self, patterns: tuple[str, ...]) -> bool:
        """Whether its path matches one of the patterns (`*` crosses folders)."""
        return _any_of(patterns).match(self.path) is not None

    def at(self, node: ast.AST, message: str) -> Breach:
        """A breach at a node."""
        return Breach(self.path, getattr(node, "lineno", 1), message)


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)))


def walk(tree: ast.AST) -> list[ast.AST]:
    """Every node but the contexts (`ast.Load`), which nobody asks for; half the time of `ast.walk`."""
    nodes = [tree]
    for node in nodes:
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                nodes += [part for part in value if isinstance(part, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                nodes.append(value)
    return nodes


def last_name(node: ast.AST | None) -> str:
    """The last name of an expression: `settings` for `self._kit.settings`, without leading underscores."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_")


def read_texts(root: Path, folders: Iterable[str], endings: tuple[str, ...]) -> dict[str, str]:
    """The texts below these folders and at the root, by their path from there."""
    files = [*(path for folder in folders for path in (root / folder).rglob("*")), *root.iterdir()]
    return {
        path.relative_to(root).as_posix(): path.read_text("utf-8")
        for path in sorted(files)
        if path.name.endswith(endings) and path.is_file()
    }


def read_modules(root: Path, folders: Iterable[str]) -> list[Module]:
    """The Python files below these folders."""
    return [Module(path, text) for path, text in read_texts(root, folders, (".py",)).items()]


def line_of(match: re.Match[str]) -> int:
    """The number of the line where a match begins."""
    return match.string.count("\n", 0, match.start()) + 1
