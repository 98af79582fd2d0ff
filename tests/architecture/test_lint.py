"""The linters are content: ruff in every run, mypy at length; `make lint` adds import-linter and the house rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str) -> None:
    done = subprocess.run((sys.executable, "-m", *command), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]


def test_ruff() -> None:
    run("ruff", "check", "--output-format=concise", ".")


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_mypy() -> None:
    run("mypy")
