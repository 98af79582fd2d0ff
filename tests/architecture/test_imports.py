"""Who may import whom: the contracts in pyproject.toml hold, and cover every service."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def lint(folder: Path, contracts: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path[:0] = [{str(folder)!r}]; from importlinter.cli import lint_imports_command as c; c()"
    command = (sys.executable, "-P", "-c", code, "--no-cache", "--config", str(contracts))
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def contract(name: str) -> dict[str, Any]:
    return next(c for c in CONTRACTS if name in c["name"])


def test_the_contracts_hold() -> None:
    done = lint(ROOT, ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_every_service_is_layered() -> None:
    services = {f"services.{path.parent.name}" for path in (ROOT / "services").glob("*/__init__.py")}
    assert set(contract("in a service")["containers"]) == services


RIGHT = ("shared/case/x.py", "shared.case", "")
BREACHES = [
    ("services/intake/app.py", "services.routing.app", "services share the language"),
    ("shared/kit/x.py", "tests", "nobody imports tests"),
    ("shared/log/x.py", "shared.kit", "shared: web"),
    ("shared/reference/row.py", "shared.reference.documents", "reference: uses"),
    ("shared/kit/x.py", "services", "three floors"),
    ("services/intake/app.py", "infra", "three floors"),
    ("services/intake/policy.py", "services.intake.app", "in a service"),
    ("shared/case/x.py", "time", "the law is pure"),
    ("shared/case/x.py", "shared.reference", "the law is pure"),
    ("services/intake/policy.py", "asyncio", "policies import"),
    ("services/routing/policy.py", "shared.log", "policies import"),
]


def lint_tree(folder: Path, imports: Iterable[tuple[str, str, str]]) -> subprocess.CompletedProcess[str]:
    """Lint a small tree that is right but for these imports."""
    packages = ["shared", *(f"shared/{name}" for name in ("kit", "reference", "log", "case")), "services"]
    services = [name.replace(".", "/") for name in contract("in a service")["containers"]]
    for package in (*packages, *services, "services/supervision/deadlines", "infra", "tests"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
    modules = {
        "shared/kit": ("clock", "service", "sql", "vault"),
        "shared/reference": ("documents", "row"),
        "services/supervision/deadlines": ("reckoning",),
        **dict.fromkeys(services, ("app", "policy", "listing", "search")),
    }
    for package, names in modules.items():
        for name in names:
            (folder / package / f"{name}.py").touch()
    for file, imported, _ in imports:
        with (folder / file).open("a") as module:
            module.write(f"import {imported}\n")
    config = folder / "pyproject.toml"
    config.write_text((ROOT / "pyproject.toml").read_text())
    return lint(folder, config)


def test_a_right_tree_passes(tmp_path: Path) -> None:
    done = lint_tree(tmp_path, [RIGHT])
    assert done.returncode == 0, done.stdout


def test_each_breach_is_found(tmp_path: Path) -> None:
    """Each import is reported by its own contract."""
    done = lint_tree(tmp_path, [RIGHT, *BREACHES])
    assert done.returncode == 1, done.stdout
    reports = dict(re.findall(r"^(.+)\n-+\n((?:.*\n)*?)(?=.+\n-+\n|\Z)", done.stdout, re.M))
    for file, imported, name in BREACHES:
        arrow = rf"{file.removesuffix('.py').replace('/', '.')} -> {imported} \(l\.\d+\)"
        assert re.search(arrow, reports[contract(name)["name"]]), (arrow, done.stdout)
