"""How an event of an older version is read as today's: `upcast_vX_vY` functions, each a step of one version.

Empty until a version 2 is released. The samples of every released version are read back by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

# (type, from version) -> the data as version + 1 would have written it
UPCASTS: dict[tuple[str, int], Upcast] = {}


def upcast(type: str, version: int, data: dict[str, Any], to: int) -> dict[str, Any]:
    """Bring `data` of `version` step by step to version `to`. Raises KeyError when a step is missing."""
    for step in range(version, to):
        data = UPCASTS[(type, step)](data)
    return data
