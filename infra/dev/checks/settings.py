"""Every setting is read: one that nobody reads is a promise to the operator that nothing keeps.

A read is an attribute of something that is declared as Settings, or that a function returning Settings gave.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from infra.dev.checks.base import Breach, Module

SETTINGS_FILE, CLASS = "shared/kit/settings.py", "Settings"
_PRODUCT = ("shared/*", "services/*", "infra/*")


def check(root: Path, modules: Sequence[Module]) -> Iterator[Breach]:
    """A breach for each field of Settings in `modules` that the product does not read."""
    product = [module for module in modules if module.within(_PRODUCT)]
    fields = {name: node for module in product if module.path == SETTINGS_FILE for name, node in _fields(module.tree)}
    holders = {name for module in product for name in _declared(module)}
    givers = {name for module in product for name in _giving(module)}
    holders |= {name for module in product for name in _assigned(module, givers)}
    used = {name for module in product for name in _read(module, holders, givers)}
    for name, node in fields.items():
        if name not in used:
            yield Breach(SETTINGS_FILE, node.lineno, f"nothing reads the setting {name}: read it or remove it")


def _body(tree: ast.Module) -> list[ast.stmt]:
    """The statements of the class Settings; none where it does not stand."""
    return next((node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == CLASS), [])


def _fields(tree: ast.Module) -> Iterator[tuple[str, ast.AnnAssign]]:
    for node in _body(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node


def _is_settings(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation).strip("'\"") in (CLASS, f"{CLASS} | None")


def _declared(module: Module) -> Iterator[str]:
    """Names of arguments, variables and fields that are declared as Settings."""
    for node in module.nodes:
        if isinstance(node, ast.arg) and _is_settings(node.annotation):
            yield node.arg
        elif isinstance(node, ast.AnnAssign) and _is_settings(node.annotation):
            yield _last(node.target)


def _giving(module: Module) -> Iterator[str]:
    """Names of functions that return Settings."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_settings(node.returns):
            yield node.name


def _assigned(module: Module, givers: Iterable[str]) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _last(node.value.func) in givers:
            yield from (_last(target) for target in node.targets)


def _read(module: Module, holders: set[str], givers: set[str]) -> Iterator[str]:
    """Names read from Settings."""
    inside = {node for part in _body(module.tree) for node in ast.walk(part)} if module.path == SETTINGS_FILE else set()
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            source = node.value
            named = _last(source.func) in givers if isinstance(source, ast.Call) else _last(source) in holders
            if named or (node in inside and _last(source) == "self"):
                yield node.attr


def _last(node: ast.expr) -> str:
    """The last name of an expression: `settings` for `self._kit.settings`, without leading underscores."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_")
