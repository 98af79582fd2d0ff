"""The YAML of a mapping as plain values with their lines, so that each fault is reported with its line."""

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
    """The mapping cannot be used. The text has one line for each fault, with its position and a remedy."""


def nearest_name_hint(name: str, names: Sequence[str]) -> str:
    """A hint at the name that was probably meant."""
    close = get_close_matches(name, names, n=1, cutoff=0.4)
    return f"did you mean {close[0]!r}?" if close else "it has " + ", ".join(names[:COLUMNS_SHOWN_MAX])


@dataclass(frozen=True, slots=True)
class MappingTree:
    """The values of a mapping: dicts, lists and text. `lines` gives the line of each path in it, from 1."""

    path: Path
    value: dict[str, Any]
    lines: dict[MappingPath, int] = field(default_factory=dict)

    def at(self, path: Sequence[str | int]) -> str:
        """`file:line` of a path in the mapping, or of the nearest path around it."""
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        return f"{self.path}:{self.lines[known]}" if known else str(self.path)

    def faults(
        self, error: ValidationError, fields: Callable[[MappingPath], Sequence[str]], help: str
    ) -> Iterator[str]:
        """The faults, one line each. `fields` gives the names that are allowed at a path, `help` the page to read."""
        for fault in error.errors(include_url=False, include_context=False):
            path = fault["loc"]
            name = ".".join(str(part) for part in path)
            if fault["type"] == "extra_forbidden":
                reason = f"unknown {name!r}; {nearest_name_hint(str(path[-1]), fields(path[:-1]))}"
            elif fault["type"] == "missing":
                reason = f"{name} is missing; see {help}"
            else:
                reason = f"{name + ': ' if name else ''}{fault['msg'].removeprefix('Value error, ')}"
            yield f"{self.at(path)}: {reason}"


def read_mapping_tree(path: Path, begin: str) -> MappingTree:
    """The values of a mapping. `begin` names its first fields, for messages. Raises BadMapping, OSError."""
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


def _plain(node: yaml.Node | None, path: MappingPath, lines: dict[MappingPath, int], seen: set[int]) -> Any:
    """Nodes as dicts, lists and text, so that a code stays a code and `no` a word. Raises YAMLError."""
    if node is None:
        return None
    lines.setdefault(path, node.start_mark.line + 1)
    if node.tag.endswith(":null"):
        return None
    if len(path) > _DEPTH_MAX:
        raise yaml.MarkedYAMLError(problem=f"nested more than {_DEPTH_MAX} deep", problem_mark=node.start_mark)
    if id(node) in seen:
        raise yaml.MarkedYAMLError(problem="aliases are not read; write the value out", problem_mark=node.start_mark)
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines, seen) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return node.value
    tree: dict[str, Any] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in tree:
            raise yaml.MarkedYAMLError(problem=f"{name} stands twice", problem_mark=key.start_mark)
        lines[(*path, name)] = key.start_mark.line + 1
        tree[name] = _plain(value, (*path, name), lines, seen)
    return tree
