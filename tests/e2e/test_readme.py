"""The README's block, run as it is written."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.support.stack import Stack

README = Path(__file__).parents[2] / "README.md"
RUN_S_MAX = 60
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def steps(text: str) -> list[str]:
    """The steps of people and of routing; the clocks are set meanwhile, at no fixed line."""
    return [line for line in text.splitlines() if line.startswith("case.") and "deadlines_set" not in line]


def test_a_case_is_sent_and_closed_as_the_readme_says(stack: Stack) -> None:
    blocks = BLOCK.findall(README.read_text("utf-8"))
    (commands,) = [text for language, text in blocks if language == "sh" and "/intake/cases" in text]
    (shown,) = [text for _, text in blocks if text.startswith("case.registered")]
    environment = {**os.environ, "CASEFLOW_PORT": str(stack.port)}
    run = subprocess.run(
        ("bash", "-c", commands), env=environment, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert steps(run.stdout) == steps(shown)
