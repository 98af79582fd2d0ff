"""The terms of the house rules: a module under judgement, and a breach of a rule."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property


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
    """A Python file under judgement: its path from the root, its text, its tree."""

    path: str
    text: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree; several rules look through them."""
        return tuple(ast.walk(self.tree))

    def within(self, patterns: Iterable[str]) -> bool:
        """Whether its path matches one of the patterns (`*` crosses folders)."""
        return any(fnmatch(self.path, pattern) for pattern in patterns)

    def at(self, node: ast.AST, message: str) -> Breach:
        """A breach at a node."""
        return Breach(self.path, getattr(node, "lineno", 1), message)
