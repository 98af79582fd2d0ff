"""Every setting is read: one that nobody reads is a promise to the operator that nothing keeps.

A read is an attribute of something that is declared as Settings, or that a function returning Settings gave.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from infra.dev.checks.base import Breach, Module, last_name

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
    return isinstance(annotation, ast.Name) and annotation.id == CLASS


def _declared(module: Module) -> Iterator[str]:
    """Names of arguments, variables and fields that are declared as Settings."""
    yield from (node.arg for node in module.of(ast.arg) if _is_settings(node.annotation))
    yield from (last_name(node.target) for node in module.of(ast.AnnAssign) if _is_settings(node.annotation))


def _giving(module: Module) -> Iterator[str]:
    """Names of functions that return Settings."""
    return (node.name for node in module.functions if _is_settings(node.returns))


def _assigned(module: Module, givers: Iterable[str]) -> Iterator[str]:
    for node in module.of(ast.Assign):
        if isinstance(node.value, ast.Call) and last_name(node.value.func) in givers:
            yield from map(last_name, node.targets)


def _read(module: Module, holders: set[str], givers: set[str]) -> Iterator[str]:
    """Names read from Settings."""
    inside = {node for part in _body(module.tree) for node in ast.walk(part)} if module.path == SETTINGS_FILE else set()
    for node in module.of(ast.Attribute):
        if isinstance(node.ctx, ast.Load):
            source = node.value
            named = last_name(source.func) in givers if isinstance(source, ast.Call) else last_name(source) in holders
            if named or (node in inside and last_name(source) == "self"):
                yield node.attr
