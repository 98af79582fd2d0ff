"""The YAML of a mapping as plain values, with the line of each, so that whatever is wrong is named with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

MAPPING_BYTES_MAX = 1024 * 1024
_DEPTH_MAX = 8
COLUMNS_SHOWN_MAX = 30

MappingPath = tuple[str | int, ...]


class BadMapping(ValueError):
    """The mapping cannot be used; the text names the place in it and what to do, one line for each fault."""


def nearest_name_hint(name: str, names: Sequence[str]) -> str:
    """A hint at the name that was meant."""
    close = get_close_matches(name, names, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else "it has " + ", ".join(names[:COLUMNS_SHOWN_MAX])


@dataclass(frozen=True, slots=True)
class MappingTree:
    """The values of a mapping: dicts, lists and text. `lines` has the line of each place in it, from 1."""

    path: Path
    value: dict[str, Any]
    lines: dict[MappingPath, int] = field(default_factory=dict)

    def at(self, place: Sequence[str | int]) -> str:
        """`file:line` of a place, or of the nearest one around it."""
        here = tuple(place)
        while here and here not in self.lines:
            here = here[:-1]
        return f"{self.path}:{self.lines[here]}" if here else str(self.path)

    def faults(
        self, error: ValidationError, fields: Callable[[MappingPath], Sequence[str]], help: str
    ) -> Iterator[str]:
        """What does not fit, one line each. `fields` are the names allowed at a place, `help` tells where to read."""
        for fault in error.errors(include_url=False, include_context=False):
            loc = fault["loc"]
            place = ".".join(str(part) for part in loc)
            if fault["type"] == "extra_forbidden":
                told = f"unknown {place!r}; {nearest_name_hint(str(loc[-1]), fields(loc[:-1]))}"
            elif fault["type"] == "missing":
                told = f"{place} is missing; see {help}"
            else:
                told = f"{place + ': ' if place else ''}{fault['msg'].removeprefix('Value error, ')}"
            yield f"{self.at(loc)}: {told}"


def read_mapping_tree(path: Path, begin: str) -> MappingTree:
    """A mapping's values; `begin` says what it begins with. Raises BadMapping, OSError."""
    if path.stat().st_size > MAPPING_BYTES_MAX:
        raise BadMapping(f"{path}: larger than {MAPPING_BYTES_MAX} bytes; is this the mapping?")
    lines: dict[MappingPath, int] = {}
    try:
        value = _plain(yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader), (), lines, set())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or type(error).__name__
        raise BadMapping(f"{path}{f':{mark.line + 1}' if mark else ''}: is not YAML ({problem})") from None
    if not isinstance(value, dict):
        raise BadMapping(f"{path}: is no mapping; begin with {begin}")
    return MappingTree(path, value, lines)


def _plain(node: yaml.Node | None, place: MappingPath, lines: dict[MappingPath, int], seen: set[int]) -> Any:
    """Nodes as dicts, lists and text: a code stays a code, `no` a word. Raises YAMLError."""
    if node is None:
        return None
    lines.setdefault(place, node.start_mark.line + 1)
    if node.tag.endswith(":null"):
        return None
    if len(place) > _DEPTH_MAX:
        raise yaml.MarkedYAMLError(problem=f"nested more than {_DEPTH_MAX} deep", problem_mark=node.start_mark)
    if id(node) in seen:
        raise yaml.MarkedYAMLError(problem="aliases are not read; write the value out", problem_mark=node.start_mark)
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(one, (*place, index), lines, seen) for index, one in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return node.value
    tree: dict[str, Any] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in tree:
            raise yaml.MarkedYAMLError(problem=f"{name} stands twice", problem_mark=key.start_mark)
        lines[(*place, name)] = key.start_mark.line + 1
        tree[name] = _plain(value, (*place, name), lines, seen)
    return tree
