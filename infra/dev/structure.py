"""`python -m infra.dev.structure`: the structure of a checkout in figures, from its imports.

`--root` names another checkout, so that two commits can be compared. Rooms are the folders of the second level
(`shared/kit`, `services/intake`, `infra/cli`). Programs (`__main__.py`) are left out: they are started and stand above
everything.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.dev import CHECKOUT
from infra.dev.imports import PRODUCT, ImportGraph, is_inside, read_graph

ORDER = (*("shared.case", "shared.log", "shared.reference", "shared.kit", "shared.client", "shared.web"), *PRODUCT)
Arrows = Mapping[str, frozenset[str]]


def room(module: str, depth: int = 2) -> str:
    """The folder of a module, `depth` levels deep: `shared.kit` for `shared.kit.clock`."""
    return ".".join(module.split(".")[:depth])


def arrows_between(graph: ImportGraph, depth: int) -> dict[str, frozenset[str]]:
    """The rooms that the modules of each room import, itself left out."""
    rooms: defaultdict[str, set[str]] = defaultdict(set)
    for name, imported in graph.imports.items():
        if not graph.sources[name].is_program:
            rooms[room(name, depth)] |= {room(other, depth) for other in imported} - {room(name, depth)}
    return {name: frozenset(others) for name, others in rooms.items()}


def circles(rooms: Arrows) -> list[list[str]]:
    """Groups of rooms that all reach each other (strongly connected components of more than one room)."""
    reach = {name: _reached(rooms, name) for name in rooms}
    groups = {frozenset({name, *(other for other in reach[name] if name in reach.get(other, ()))}) for name in rooms}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reached(rooms: Arrows, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for name in rooms.get(waiting.pop(), frozenset()) - reached:
            reached.add(name)
            waiting.append(name)
    return reached


def floors(rooms: Arrows) -> int:
    """How many rooms the longest way down passes; a circle counts as one room."""
    group = {name: tuple(names) for names in circles(rooms) for name in names}
    merged = {name: group.get(name, (name,)) for name in rooms}
    below: defaultdict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for name, others in rooms.items():
        below[merged[name]] |= {merged[other] for other in others if other in merged} - {merged[name]}

    @cache
    def height(name: tuple[str, ...]) -> int:
        return 1 + max((height(other) for other in below[name]), default=0)

    return max((height(name) for name in set(merged.values())), default=0)


def upward(rooms: Arrows) -> list[tuple[str, str]]:
    """Arrows from a lower room to a higher one, by the order shared < services < infra and the order in shared."""
    ranks = {name: number for number, name in enumerate(ORDER)}

    def rank(name: str) -> int:
        return ranks.get(name, ranks.get(room(name, 1), len(ORDER)))

    return sorted((name, other) for name, others in rooms.items() for other in others if rank(name) < rank(other))


def users(graph: ImportGraph) -> dict[str, frozenset[str]]:
    """For each module of shared the services that use it, themselves or through other modules of shared."""
    modules: defaultdict[str, list[str]] = defaultdict(list)
    for name, source in graph.sources.items():
        if name.startswith("services.") and not source.is_program:
            modules[name.split(".")[1]].append(name)
    reached = {service: graph.reached_from(names, "shared") for service, names in modules.items()}
    return {
        name: frozenset(service for service in modules if name in reached[service])
        for name, source in graph.sources.items()
        if is_inside(name, "shared") and not source.is_package and not source.is_program
    }


@dataclass(frozen=True)
class Size:
    """Files and lines of a folder, Python only."""

    files: int
    lines: int


def sizes_of(graph: ImportGraph) -> dict[str, Size]:
    """The size of each room."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for name, source in graph.sources.items():
        folder = room(name) if "." in name else name
        files[folder] += 1
        lines[folder] += source.lines
    return {folder: Size(files[folder], lines[folder]) for folder in sorted(files)}


def report(graph: ImportGraph) -> Iterator[str]:
    """The lines of the report."""
    yield "Floors: shared < services < infra"
    yield from _shape(arrows_between(graph, 1))
    yield "Rooms: the folders of the second level"
    yield from _shape(arrows_between(graph, 2))
    yield "Size of each folder (Python files, lines)"
    sizes = sizes_of(graph)
    for folder, size in sizes.items():
        yield f"  {folder.replace('.', '/'):<26} {size.files:>4} {size.lines:>7}"
    yield f"  {'all':<26} {sum(s.files for s in sizes.values()):>4} {sum(s.lines for s in sizes.values()):>7}"
    yield from _used(graph)


def _shape(rooms: Arrows) -> Iterator[str]:
    up, rings = upward(rooms), circles(rooms)
    yield f"  rooms {len(rooms)}, floors {floors(rooms)}, arrows {sum(map(len, rooms.values()))}"
    yield f"  arrows that run back up: {len(up)}{_listed(f'{a} -> {b}' for a, b in up)}"
    yield f"  circles: {len(rings)}{_listed(' <-> '.join(ring) for ring in rings)}"


def _listed(texts: Iterable[str]) -> str:
    text = "; ".join(texts)
    return f" ({text})" if text else ""


def _used(graph: ImportGraph) -> Iterator[str]:
    yield "Modules of shared that fewer than two services use (lines)"
    alone = {name: owners for name, owners in users(graph).items() if len(owners) < 2}
    totals: Counter[str] = Counter()
    for name, owners in sorted(alone.items(), key=lambda item: (sorted(item[1]), item[0])):
        lines = graph.sources[name].lines
        owner = next(iter(owners), "no service")
        totals[f"{room(name).replace('.', '/')}, {owner}"] += lines
        yield f"  {name:<44} {owner:<12} {lines:>5}"
    yield "  in sum: " + ("; ".join(f"{text}: {lines}" for text, lines in sorted(totals.items())) or "none")
    lines = sum(graph.sources[name].lines for name, owners in alone.items() if len(owners) == 1)
    yield f"Lines of shared used by one service alone: {lines}"


def main(words: list[str]) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m infra.dev.structure", description=__doc__)
    parser.add_argument("--root", type=Path, default=CHECKOUT, help="the checkout to look at")
    print("\n".join(report(read_graph(parser.parse_args(words).root))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
