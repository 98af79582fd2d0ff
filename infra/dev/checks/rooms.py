"""A module of shared is used by two services or is law (`case/`, `log/`, `reference/`); any other has one owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.dev.checks.base import Breach, Module
from infra.dev.imports import ImportGraph, is_inside, read_graph
from infra.dev.structure import users

LAW = ("shared.case", "shared.log", "shared.reference")
# Packages and modules of shared that fewer than two services use, and the reason for each.
NOT_SHARED: Mapping[str, str] = {
    "shared.client": "for the programs of platforms, supervisors and auditors, which are no services of ours",
}


def check_rooms(graph: ImportGraph) -> Iterator[Breach]:
    """A breach for each module of shared that belongs elsewhere. Imports through other modules of shared count."""
    for name, services in users(graph).items():
        if len(services) < 2 and not any(is_inside(name, package) for package in (*LAW, *NOT_SHARED)):
            owner = f"only services/{next(iter(services))} uses it" if services else "no service uses it"
            advice = "move it there" if services else "move it to infra or to tests/support"
            yield Breach(graph.sources[name].path.as_posix(), 1, f"{owner}: {advice}; shared is for two services")


def check(root: Path, modules: Sequence[Module]) -> Iterator[Breach]:
    """The breaches of the checkout at `root`."""
    return check_rooms(read_graph(root))
