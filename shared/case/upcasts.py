"""The conversion of events of older versions to the current one: `upcast_vX_vY` functions, each for one version.

The table is empty until a version 2 is released. A test reads the samples of every released version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

# (type, version) -> the conversion of its data to version + 1
UPCASTS: dict[tuple[str, int], Upcast] = {}


def upcast(type: str, version: int, data: dict[str, Any], to: int) -> dict[str, Any]:
    """The data of `version` converted to version `to`. Raises KeyError when a conversion is missing."""
    for step in range(version, to):
        data = UPCASTS[(type, step)](data)
    return data
