"""Where a module stands: shared is for two services or for law, and no import runs back up or in a circle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.dev.checks.base import Breach, Module
from infra.dev.imports import PRODUCT, ImportGraph, graph_of, is_inside
from infra.dev.structure import arrows_between, circles, upward, users

LAW = ("shared.case", "shared.log", "shared.reference")
# Packages and modules of shared that fewer than two services use, and the reason for each.
NOT_SHARED: Mapping[str, str] = {
    "shared.kit.feed_item": "supervision writes the items, shared.client reads them",
    "shared.client": "for the programs of platforms, supervisors and auditors, which are no services of ours",
}


def check_rooms(graph: ImportGraph) -> Iterator[Breach]:
    """A breach for each module of shared that belongs elsewhere. Imports through other modules of shared count."""
    for name, services in users(graph).items():
        if len(services) < 2 and not any(is_inside(name, package) for package in (*LAW, *NOT_SHARED)):
            owner = f"only services/{next(iter(services))} uses it" if services else "no service uses it"
            advice = "move it there" if services else "move it to infra or to tests/support"
            yield Breach(graph.sources[name].path, 1, f"{owner}: {advice}; shared is for two services")


def check_arrows(graph: ImportGraph) -> Iterator[Breach]:
    """A breach for each import between folders that runs back up, and for each circle of folders."""
    rooms = arrows_between(graph, 2)
    for lower, higher in upward(rooms):
        yield Breach(lower.replace(".", "/"), 1, f"imports {higher}, which stands above it: move what both need down")
    for circle in circles(rooms):
        yield Breach(circle[0].replace(".", "/"), 1, f"is in a circle of imports: {' <-> '.join(circle)}")


def check(root: Path, modules: Sequence[Module]) -> Iterator[Breach]:
    """The breaches of the checkout at `root`."""
    graph = graph_of(module for module in modules if module.path.partition("/")[0] in PRODUCT)
    yield from check_rooms(graph)
    yield from check_arrows(graph)
