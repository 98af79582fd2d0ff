"""Who may import whom: the contracts in pyproject.toml hold, and cover every service."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("shared/case/x.py", "import shared.case", ""),
        ("services/intake/app.py", "import services.routing.app", "services share the language"),
        ("shared/kit/x.py", "import tests", "nobody imports tests"),
        ("shared/log/x.py", "import shared.kit", "shared: web"),
        ("shared/reference/row.py", "import shared.reference.documents", "reference: uses"),
        ("shared/kit/x.py", "import services", "three floors"),
        ("services/intake/app.py", "import infra", "three floors"),
        ("services/intake/policy.py", "import services.intake.app", "in a service"),
        ("shared/case/x.py", "import time", "the law is pure"),
        ("shared/case/x.py", "import shared.reference", "the law is pure"),
        ("services/intake/policy.py", "import asyncio", "policies import"),
        ("services/routing/policy.py", "import shared.log", "policies import"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, line: str, broken: str) -> None:
    """The contracts themselves, on a small tree that is right but for one import; the first is right too."""
    packages = ["shared", *(f"shared/{name}" for name in ("kit", "reference", "log", "case")), "services"]
    services = [name.replace(".", "/") for name in contract("in a service")["containers"]]
    for package in (*packages, *services, "infra", "tests"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    for name in ("clock", "service", "sql", "vault"):
        (tmp_path / "shared" / "kit" / f"{name}.py").touch()
    for name in ("documents", "row"):
        (tmp_path / "shared" / "reference" / f"{name}.py").touch()
    for service in services:
        for name in ("app", "policy", "listing", "search"):
            (tmp_path / service / f"{name}.py").touch()
    deadlines = tmp_path / "services" / "supervision" / "deadlines"
    deadlines.mkdir()
    for name in ("__init__", "reckoning"):
        (deadlines / f"{name}.py").touch()
    config = tmp_path / "pyproject.toml"
    config.write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / file).write_text(line + "\n")
    done = lint(tmp_path, config)
    assert done.returncode == bool(broken), done.stdout
    verdicts = [row for row in done.stdout.splitlines() if "BROKEN" in row]
    assert any(broken in row for row in verdicts) == bool(broken), done.stdout
